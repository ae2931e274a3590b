"""Which agents are here: the tunnels of this node, newest first, and who waits for one."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator

from agent.wire.destination import Destination
from relay.tunnels.tunnel import Tunnel

LOST_REMEMBERED_SECONDS = 60.0
"""For so long after an agent's last tunnel was lost, requests for it are held instead of refused."""
LOST_REMEMBERED = 10_000


class Registry:
    """The tunnels of this node by agent. `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tunnels: dict[str, list[Tunnel]] = {}
        self._lost: OrderedDict[str, float] = OrderedDict()
        self._waiting: dict[str, asyncio.Event] = {}

    def __iter__(self) -> Iterator[Tunnel]:
        return (tunnel for tunnels in self._tunnels.values() for tunnel in tunnels)

    def of(self, agent: str) -> tuple[Tunnel, ...]:
        return tuple(self._tunnels.get(agent, ()))

    def instance_online(self, agent: str, instance: str) -> bool:
        return any(tunnel.identity.instance == instance for tunnel in self.of(agent))

    def add(self, tunnel: Tunnel) -> None:
        """Take in a tunnel that has authenticated. Older ones of its instance get no new channels from now on."""
        tunnels = self._tunnels.setdefault(tunnel.identity.agent, [])
        for older in tunnels:
            older.replaced |= older.identity.instance == tunnel.identity.instance
        tunnels.insert(0, tunnel)
        self._lost.pop(tunnel.identity.agent, None)
        self.stir(tunnel.identity.agent)

    def remove(self, tunnel: Tunnel) -> None:
        """Forget a tunnel that is gone; its successor is not touched."""
        agent = tunnel.identity.agent
        tunnels = self._tunnels.get(agent, [])
        if tunnel not in tunnels:
            return
        tunnels.remove(tunnel)
        if not tunnels:
            del self._tunnels[agent]
            self._lost[agent] = self._clock()
            if len(self._lost) > LOST_REMEMBERED:
                self._lost.popitem(last=False)

    def stir(self, agent: str) -> None:
        """Wake who waits for the agent: a tunnel came, or published something."""
        event = self._waiting.pop(agent, None)
        if event:
            event.set()

    def pick(self, agent: str, destination: Destination) -> Tunnel | None:
        """The tunnel to open the next channel in: of those that publish the store, the one with fewest channels."""
        fit = [t for t in self._tunnels.get(agent, ()) if destination in t.published and t.usable]
        return min(fit, key=lambda t: t.channels, default=None)

    def lost_lately(self, agent: str) -> bool:
        since = self._lost.get(agent)
        return since is not None and self._clock() - since < LOST_REMEMBERED_SECONDS

    async def change(self, agent: str) -> None:
        """Wait until something about the agent's tunnels has changed."""
        await self._waiting.setdefault(agent, asyncio.Event()).wait()

    def cut(self, predicate: Callable[[Tunnel], bool]) -> int:
        """End the tunnels that answer to `predicate`; how many there were."""
        doomed = [tunnel for tunnel in self if predicate(tunnel)]
        for tunnel in doomed:
            tunnel.cut()
        return len(doomed)
