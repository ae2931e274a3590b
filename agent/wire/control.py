"""The control channel: what agent and relay tell each other beside the stores' bytes, one JSON object per line.

The agent publishes the reserved name CONTROL; the relay opens one channel to it after the login, and both begin with a
hello. What is not known, types and members, is passed over, so that either end may be the newer one. What is malformed
ends the channel, never the tunnel.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, Protocol

import asyncssh
import structlog
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from agent.wire.enrolment import Line
from agent.wire.limits import STORES_PER_TUNNEL

LINE_BYTES = 16 * 1024
"""Longest line, its end included."""
STORES_BYTES = 12 * 1024
"""So much of a hello may be stores; what is published is known from SSH anyway."""
WINDOW_BYTES = 64 * 1024
"""Receive window of the channel: what the other end may send before it is read."""
UNREAD_BYTES = 64 * 1024
"""Lines that the other end has not taken; a channel that is not read is ended."""
BURST, PER_SECOND = 32.0, 2.0
"""Messages that may come at once, and in the long run; a tunnel has a handful in its whole life."""

log = structlog.get_logger()

Slot = Annotated[int, Field(ge=0, le=7)]
Generation = Annotated[int, Field(ge=1, lt=2**53)]
Seconds = Annotated[float, Field(ge=0, le=3600)]


class Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class AgentHello(Message):
    """Whose tunnel this is: the newest generation of a slot of a process replaces the older ones."""

    type: Literal["hello"] = "hello"
    slot: Slot
    process: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
    """Random, made anew by each agent process."""
    generation: Generation
    """Counts up with each dial of the slot in that process."""
    version: Line
    stores: Annotated[list[Line], Field(max_length=STORES_PER_TUNNEL)]


class RelayHello(Message):
    type: Literal["hello"] = "hello"
    node: Line


class Drain(Message):
    """The node will be gone in so many seconds: dial another, if there is one."""

    type: Literal["drain"] = "drain"
    seconds: Seconds


class RetryAfter(Message):
    """Once this tunnel is gone, do not dial before so many seconds have passed."""

    type: Literal["retry_after"] = "retry_after"
    seconds: Seconds


class Suspect(Message):
    """The sender has found the tunnel of that slot dead: look at your end of it."""

    type: Literal["suspect"] = "suspect"
    slot: Slot
    generation: Generation


class Bye(Message):
    """The sender is about to end this tunnel: open no more channels in it."""

    type: Literal["bye"] = "bye"
    reason: Line


Kinds = Mapping[str, type[Message]]
FROM_AGENT: Kinds = {"hello": AgentHello, "suspect": Suspect, "bye": Bye}
FROM_RELAY: Kinds = {"hello": RelayHello, "drain": Drain, "retry_after": RetryAfter, "suspect": Suspect, "bye": Bye}


class ControlError(ValueError):
    """The other end does not keep to the contract; the message says how."""


class Party(Protocol):
    """One end of a tunnel, as its control channel sees it."""

    def control_begun(self, control: ControlChannel, /) -> None:
        """The channel is open: say hello."""

    def control_message(self, message: Message, /) -> None: ...

    def control_ended(self, control: ControlChannel, fault: str, /) -> None:
        """The channel is gone; `fault` says what was wrong with what came, empty: nothing was."""


class ControlChannel(asyncssh.SSHTCPSession[bytes]):
    """The asyncssh session of a control channel, on either end. It raises nothing: that would end the tunnel."""

    __slots__ = ("_at", "_chan", "_clock", "_credit", "_kinds", "_party", "_rest")

    def __init__(self, kinds: Kinds, party: Party, clock: Callable[[], float] = time.monotonic) -> None:
        self._kinds = kinds
        self._party: Party | None = party
        self._clock = clock
        self._rest = b""
        self._credit, self._at = BURST, clock()

    def send(self, message: Message) -> None:
        """Say it, unless the channel is gone or the other end does not read."""
        if self._party is None or self._chan.is_closing():
            return
        if self._chan.get_write_buffer_size() > UNREAD_BYTES:
            self._end("it does not read what it is told")
            return
        self._chan.write(message.model_dump_json().encode() + b"\n")

    def close(self) -> None:
        self._end("")

    def connection_made(self, chan: Any) -> None:
        self._chan: Any = chan

    def session_started(self) -> None:
        self._guarded(lambda party: party.control_begun(self))

    def data_received(self, data: bytes, _datatype: int | None = None) -> None:
        if self._party is None:
            return
        try:
            for line in self._lines(data):
                message = self._read(line)
                if message:
                    self._guarded(lambda party, message=message: party.control_message(message))  # type: ignore[misc]  # bound now
        except ControlError as error:
            self._end(str(error))

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, _exc: Exception | None) -> None:
        self._part("")

    def _lines(self, data: bytes) -> Iterable[bytes]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if any(len(line) >= LINE_BYTES for line in (*lines, self._rest)):
            raise ControlError(f"a line is longer than {LINE_BYTES} bytes")
        for line in lines:
            if self._party is None:
                return
            self._pay()
            yield line

    def _pay(self) -> None:
        now = self._clock()
        self._credit = min(BURST, self._credit + (now - self._at) * PER_SECOND) - 1
        self._at = now
        if self._credit < 0:
            raise ControlError("too many messages")

    def _read(self, line: bytes) -> Message | None:
        """None: of a type that is not known here."""
        try:
            members = json.loads(line)
            if not isinstance(members, dict) or not isinstance(members.get("type"), str):
                raise ControlError("a line is not an object with a type")
            kind = self._kinds.get(members["type"])
            return kind.model_validate(members) if kind else None
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ControlError(f"{members['type'][:20]}: {where}: {first['msg']}") from None
        except (ValueError, RecursionError) as error:
            raise error if isinstance(error, ControlError) else ControlError("a line is not JSON") from None

    def _guarded(self, call: Callable[[Party], None]) -> None:
        if self._party is None:
            return
        try:
            call(self._party)
        except Exception:
            log.exception("a control message could not be acted on; the control channel is closed")
            self._end("")

    def _end(self, fault: str) -> None:
        self._rest = b""
        if self._party:
            self._chan.abort() if fault else self._chan.close()
        self._part(fault)

    def _part(self, fault: str) -> None:
        party, self._party = self._party, None
        if party:
            party.control_ended(self, fault)


def fitting(origins: Iterable[str]) -> list[str]:
    """As many of the stores as a hello can carry."""
    kept: list[str] = []
    left = STORES_BYTES
    for origin in origins:
        left -= len(origin) + 3
        if left < 0:
            break
        kept.append(origin)
    return kept
