"""Tunnels over SSH connections that a test plays: it answers questions or not, opens channels or not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from agent.wire.carrier import Carrier
from agent.wire.control import FROM_AGENT, AgentHello, Bye, ControlChannel, Message, Suspect
from agent.wire.destination import Destination
from relay.tunnels.authority import Identity
from relay.tunnels.registry import Registry
from relay.tunnels.tunnel import Tunnel

AGENT, INSTANCE, REPLICA = "agt_" + "a" * 16, "ins_" + "a" * 16, "ins_" + "b" * 16
SHOP = Destination("shop.lan", 80)
ONE, TWO = "1" * 16, "2" * 16  # processes


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Ssh:
    """As much of an asyncssh server connection as a tunnel uses."""

    def __init__(self) -> None:
        self._recv_seq = self._send_seq = 0
        self._kex_complete = True
        self._transport: object | None = object()
        self._global_request_waiters: list[asyncio.Future[Any]] = []
        self.asked = 0
        self.said: list[tuple[int, str]] = []
        self.aborted = False
        self.opening: Callable[[], Any] | None = None
        self.carrier = Carrier(self)  # type: ignore[arg-type]  # played

    def get_extra_info(self, name: str) -> Any:
        return {"carrier": self.carrier}.get(name)

    def set_keepalive(self, interval: int) -> None:
        assert interval == 0, "the tunnel's own pulse is taken instead"

    def _send_global_request(self, request: bytes, *, want_reply: bool) -> None:
        assert (request, want_reply) == (b"keepalive@openssh.com", True)
        self._send_seq += 1
        self.asked += 1

    async def answer(self) -> None:
        """Answer what was asked."""
        while self._global_request_waiters:
            self._recv_seq += 1
            self._global_request_waiters.pop(0).set_result((82, None))
        await asyncio.sleep(0)

    def disconnect(self, code: int, reason: str) -> None:
        self.said.append((code, reason))
        self._transport = None

    def abort(self) -> None:
        self.aborted = True
        self._transport = None

    async def create_connection(self, factory: Callable[[], Any], *_: Any, **__: Any) -> tuple[Any, Any]:
        if self.opening:
            await self.opening()
        return None, factory()


class Chan:
    """The control channel's far end: what the relay said."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []

    def write(self, data: bytes) -> None:
        self.said += [json.loads(line) for line in data.splitlines()]

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def close(self) -> None: ...

    def abort(self) -> None: ...


class Played:
    """An agent's tunnel in a registry."""

    def __init__(self, registry: Registry, instance: str = INSTANCE, *, transport: Any = "tcp") -> None:
        self.ssh = Ssh()
        self.chan = Chan()
        ssh: Any = self.ssh
        self.tunnel = Tunnel(ssh, Identity(AGENT, instance, "atk_" + "a" * 16, 1, 2**31), "192.0.2.1", transport)
        self._control = ControlChannel(FROM_AGENT, self.tunnel)
        registry.add(self.tunnel)

    def claim(self, slot: int, process: str = ONE, generation: int = 1) -> Played:
        """Publish the shop, and say hello."""
        self.tunnel._control_asked = True
        self.tunnel.publish(SHOP)
        self._control.connection_made(self.chan)
        self._control.session_started()
        self.say(AgentHello(slot=slot, process=process, generation=generation, version="1", stores=[]))
        return self

    def say(self, message: Message) -> None:
        self._control.data_received(message.model_dump_json().encode() + b"\n")

    def bye(self) -> None:
        self.say(Bye(reason="shutting down"))

    def accuse(self, slot: int, generation: int) -> None:
        self.say(Suspect(slot=slot, generation=generation))

    def heard(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.chan.said if message["type"] == kind]
