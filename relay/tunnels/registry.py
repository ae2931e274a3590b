"""Which agents are here: the tunnels of this node, which of them the next channel goes through, who waits for one."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator

import structlog

from agent.wire.control import Drain, Message, RetryAfter, Suspect
from agent.wire.destination import Destination
from agent.wire.limits import CHANNELS_PER_TUNNEL
from relay.tunnels.clones import RETRY_SECONDS, Clones
from relay.tunnels.probing import Watch
from relay.tunnels.tunnel import Claim, Tunnel

LOST_REMEMBERED_SECONDS = 60.0
"""For so long after an agent's last tunnel was lost, requests for it are held instead of refused."""
LOST_REMEMBERED = 10_000
TUNNELS_PER_INSTANCE = 16
"""An instance has a few slots, and tunnels that are being replaced; beyond that its oldest ones are ended."""
NEAR_SECONDS = 0.005
"""Round trips below this make no difference to which tunnel is taken."""
TWIN_SECONDS = 1.0
"""When a process that bears another one's name may come back with one of its own."""
SLOWER = 2.0
"""A way that takes so many times as long is no longer preferred for being TCP."""
REPLACED = "replaced by a newer tunnel of the agent"
CLONED = (
    "another process with a copy of this agent's key is connected: was its state directory, or its machine, copied?"
)

log = structlog.get_logger()


class Registry:
    """The tunnels of this node by agent. `clock` is monotonic seconds. It keeps its tunnels (`tunnel.Keeper`).

    `on_came(tunnel)` and `on_gone(tunnel)` are called with each, `on_retired(tunnel)` when it takes no new channels any
    more, `on_clones(tunnel)` when the process of that tunnel stays and another with the same key was turned away.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, node: str = "local", clones: Clones | None = None
    ) -> None:
        self.node = node
        self.watch = Watch()
        self.on_came: Callable[[Tunnel], object] = _nothing
        self.on_gone: Callable[[Tunnel], object] = _nothing
        self.on_retired: Callable[[Tunnel], object] = _nothing
        self.on_clones: Callable[[Tunnel], object] = _nothing
        self.came = self.died = 0
        """Tunnels since the node began: all of them, and those that did not answer any more."""
        self._clock = clock
        self._clones = clones or Clones(clock)
        self._tunnels: dict[str, list[Tunnel]] = {}
        self._lost: OrderedDict[str, float] = OrderedDict()
        self._waiting: dict[str, asyncio.Event] = {}

    def __iter__(self) -> Iterator[Tunnel]:
        return (tunnel for tunnels in self._tunnels.values() for tunnel in tunnels)

    def of(self, agent: str) -> tuple[Tunnel, ...]:
        """Newest first."""
        return tuple(self._tunnels.get(agent, ()))

    def instance_online(self, agent: str, instance: str) -> bool:
        return any(tunnel.identity.instance == instance for tunnel in self.of(agent))

    def add(self, tunnel: Tunnel) -> None:
        """Take in a tunnel that has authenticated. Which one it replaces is known when it claims its slot."""
        tunnels = self._tunnels.setdefault(tunnel.identity.agent, [])
        tunnels.insert(0, tunnel)
        self.came += 1
        for surplus in list(self._siblings(tunnel))[TUNNELS_PER_INSTANCE - 1 :]:
            surplus.part("the agent has too many tunnels")
        tunnel.join(self)
        self.watch.add(tunnel)
        self._lost.pop(tunnel.identity.agent, None)
        self.on_came(tunnel)
        self.stir(tunnel.identity.agent)

    def remove(self, tunnel: Tunnel) -> None:
        """Forget a tunnel that is gone; its successor is not touched."""
        agent = tunnel.identity.agent
        tunnels = self._tunnels.get(agent, [])
        self.watch.discard(tunnel)
        if tunnel not in tunnels:
            return
        tunnels.remove(tunnel)
        if not tunnels:
            del self._tunnels[agent]
            if not tunnel.forgettable:
                self._remember(agent)
            self.stir(agent)
        self.on_gone(tunnel)

    def recall(self, agents: Iterable[str]) -> None:
        """Agents that were here before this node began: they are about to come back."""
        for agent in agents:
            if agent not in self._tunnels:
                self._remember(agent)

    def forget(self, agent: str) -> None:
        """It will not come back: whoever waits for it is told."""
        self._lost.pop(agent, None)
        self.stir(agent)

    def stir(self, agent: str) -> None:
        """Wake who waits for the agent: a tunnel came, or published something, or there is nothing to wait for."""
        event = self._waiting.pop(agent, None)
        if event:
            event.set()

    def pick(self, agent: str, destination: Destination, but: Collection[Tunnel] = ()) -> Tunnel | None:
        """The tunnel to open the next channel in: of those that publish the store, the one that answers best."""
        fit = [t for t in self._tunnels.get(agent, ()) if destination in t.published and t.usable and t not in but]
        if len(fit) < 2:
            return fit[0] if fit else None
        return min(fit, key=lambda tunnel: (tunnel.doubtful, _spare(tunnel, fit), _burden(tunnel)))

    def lost_lately(self, agent: str) -> bool:
        since = self._lost.get(agent)
        return since is not None and self._clock() - since < LOST_REMEMBERED_SECONDS

    async def change(self, agent: str) -> None:
        """Wait until something about the agent's tunnels has changed."""
        await self._waiting.setdefault(agent, asyncio.Event()).wait()

    def cut(self, predicate: Callable[[Tunnel], bool], reason: str, *, for_good: bool = False) -> int:
        """End the tunnels that answer to `predicate`; how many there were. `for_good`: they are not waited for."""
        doomed = [tunnel for tunnel in self if predicate(tunnel)]
        for tunnel in doomed:
            tunnel.forgettable = for_good
            tunnel.part(reason)
        return len(doomed)

    def drain(self, seconds: float) -> None:
        """Tell all agents that this node will be gone in so many seconds."""
        _tell(self, Drain(seconds=seconds))

    def claimed(self, tunnel: Tunnel, claim: Claim) -> None:
        """The tunnel's slot is known: it replaces the older tunnel there, or must itself give way."""
        tunnel.claim = claim
        rivals = [t for t in self._siblings(tunnel) if t.usable and t.slot == claim.slot]
        for rival in rivals:
            if not self._may_replace(tunnel, claim, rival):
                return
        for rival in rivals:
            rival.retire(REPLACED)
            rival.suspect()

    def accused(self, tunnel: Tunnel, slot: int, generation: int) -> None:
        """The agent finds its tunnel of that slot dead: look at our end of it."""
        claim = tunnel.claim
        if claim is None:
            return
        for suspected in self._siblings(tunnel):
            if suspected.claim == Claim(slot, claim.process, generation):
                suspected.suspect()

    def retired(self, tunnel: Tunnel) -> None:
        self.watch.attend(tunnel)
        self.on_retired(tunnel)

    def found_dead(self, tunnel: Tunnel) -> None:
        """It does not answer any more: its agent is told through the others, for it may not have noticed."""
        claim = tunnel.claim
        self.died += 1
        log.warning("tunnel does not answer", agent=tunnel.identity.agent, instance=tunnel.identity.instance,
                    slot=tunnel.slot)  # fmt: skip
        if claim:
            others = [t for t in self._siblings(tunnel) if t.claim and t.claim.process == claim.process]
            _tell(others, Suspect(slot=claim.slot, generation=claim.generation))
            for other in others:
                other.suspect()

    def attend(self, tunnel: Tunnel) -> None:
        self.watch.attend(tunnel)

    def _may_replace(self, tunnel: Tunnel, claim: Claim, rival: Tunnel) -> bool:
        """Whether the newcomer may take its slot from `rival`; if not, it has been dealt with."""
        theirs = rival.claim
        if theirs is None or theirs.process == claim.process:
            if theirs and theirs.generation > claim.generation:
                tunnel.retire(REPLACED)
                return False
            if theirs == claim:
                self._part_twins(stays=rival, goes=tunnel)
                return False
            return True
        instance = tunnel.identity.instance
        allowed = self._clones.replace(instance, claim.slot, theirs.process, claim.process)
        if self._clones.suspected(instance, theirs.process, claim.process):
            self._turn_away(stays=rival if not allowed else tunnel, goes=claim if not allowed else theirs)
        return allowed

    def _part_twins(self, *, stays: Tunnel, goes: Tunnel) -> None:
        """A process counts its dials, so that these are two: machines restored from one snapshot. The newcomer is sent
        to draw another name; who may stay is then seen as with any two.
        """
        log.warning("clone suspected", agent=stays.identity.agent, instance=stays.identity.instance, reason=CLONED)
        stays.disputed = True
        stays.suspect()
        goes.say(RetryAfter(seconds=TWIN_SECONDS))
        goes.part(CLONED)
        self.on_clones(stays)

    def _turn_away(self, *, stays: Tunnel, goes: Claim) -> None:
        """Two processes with one key: the one that was here first stays, the other one hears why it may not."""
        log.warning("clone suspected", agent=stays.identity.agent, instance=stays.identity.instance, reason=CLONED,
                    turned_away=goes.process)  # fmt: skip
        siblings = [stays, *self._siblings(stays)]
        for tunnel in siblings:
            if tunnel.claim and tunnel.claim.process == goes.process:
                tunnel.say(RetryAfter(seconds=RETRY_SECONDS))
                tunnel.part(CLONED)
            else:
                tunnel.disputed = True
        self.on_clones(stays)

    def _siblings(self, tunnel: Tunnel) -> Iterator[Tunnel]:
        """The other tunnels of its instance, newest first."""
        for other in self._tunnels.get(tunnel.identity.agent, ()):
            if other is not tunnel and other.identity.instance == tunnel.identity.instance:
                yield other

    def _remember(self, agent: str) -> None:
        self._lost.pop(agent, None)
        self._lost[agent] = self._clock()
        if len(self._lost) > LOST_REMEMBERED:
            self._lost.popitem(last=False)


def _spare(tunnel: Tunnel, others: Iterable[Tunnel]) -> bool:
    """Whether it is a WebSocket that only stands by: TCP of the same instance costs both ends less for each packet."""
    if tunnel.transport != "websocket":
        return False
    way = max(NEAR_SECONDS, tunnel.round_trip or 0.0)
    return any(
        other.transport == "tcp"
        and other.identity.instance == tunnel.identity.instance
        and not other.doubtful
        and other.channels < CHANNELS_PER_TUNNEL
        and (other.round_trip or 0.0) <= SLOWER * way
        for other in others
    )


def _burden(tunnel: Tunnel) -> float:
    """Less is better: few channels and a short way."""
    return (tunnel.channels + 1) * max(NEAR_SECONDS, tunnel.round_trip or 0.0)


def _tell(tunnels: Iterable[Tunnel], message: Message) -> None:
    for tunnel in tunnels:
        tunnel.say(message)


def _nothing(_tunnel: Tunnel) -> None:
    pass
