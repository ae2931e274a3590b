"""Whose turn it is at a store: fair between flows by the store's time, and never so that what is light waits for all
that is heavy.

Flows share a store as in start-time fair queueing (Goyal, Vin, Cheng 1996): a request is tagged with the later of its
flow's last end and the queue's own time, its flow's end moves on by what it will cost, and the lowest tag goes first.
So whoever asks seldom goes next, however many an export has waiting, and nobody waits for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Protocol

from relay.gateway.kinds import family_of
from relay.gateway.limiter import Limit
from relay.records import Connection

QUEUE = 256
"""Requests that may wait for their turn at one store, …"""
FLOW = 192
"""… and of one flow: there is always a place for others."""

LOOK_SECONDS = 180.0
"""A store at which somebody always is gets a look so often."""
STORES = 8192
"""Stores of which is remembered what they could do: some 2 KB each."""
REMEMBERED_SECONDS = 3600.0
"""After so long without a request nothing is known of a store any more."""


class Holder(Protocol):
    """Who holds turns: a connection, with a ceiling of its own."""

    active: int

    @property
    def ceiling(self) -> int: ...


class QueueFullError(Exception):
    """Too many wait already."""


@dataclass(eq=False, slots=True)
class Waiter:
    """A request that waits. `cost` is in seconds of the store; `give` is called once, when it has its turn."""

    flow: Hashable
    kind: Hashable
    light: bool
    cost: float
    holder: Holder
    give: Callable[[], object]
    tag: float = 0.0
    given: bool = False
    kept: bool = False
    """Whether it was given the turn that is kept for what is light."""

    def go(self, *, kept: bool) -> None:
        self.holder.active += 1
        self.given, self.kept = True, kept
        self.give()


class Queue:
    """Who waits, in the order in which they go."""

    def __init__(self) -> None:
        self._flows: dict[Hashable, deque[Waiter]] = {}
        self._ends: dict[Hashable, float] = {}
        self._time = 0.0
        self._length = 0
        self.light = 0

    def __len__(self) -> int:
        return self._length

    def put(self, waiter: Waiter) -> None:
        """Raises QueueFullError."""
        flow = self._flows.get(waiter.flow)
        if self._length >= QUEUE or (flow and len(flow) >= FLOW):
            raise QueueFullError
        waiter.tag = max(self._time, self._ends.get(waiter.flow, 0.0))
        self._ends[waiter.flow] = waiter.tag + waiter.cost
        if flow is None:
            flow = self._flows[waiter.flow] = deque()
        flow.append(waiter)
        self._count(waiter, 1)

    def take(self, *, light: bool = False) -> Waiter | None:
        """The next, if any may go: of all, or of those that are light."""
        heads = [flow[0] for flow in self._flows.values()]
        fit = [each for each in heads if (each.light or not light) and each.holder.active < each.holder.ceiling]
        if not fit:
            return None
        waiter = min(fit, key=lambda each: each.tag)
        self._time = max(self._time, waiter.tag)
        self._drop(waiter)
        return waiter

    def remove(self, waiter: Waiter) -> None:
        """It waits no longer; nothing where it does not."""
        if waiter in self._flows.get(waiter.flow, ()):
            self._drop(waiter)

    def _drop(self, waiter: Waiter) -> None:
        flow = self._flows[waiter.flow]
        flow.remove(waiter)
        if not flow:
            del self._flows[waiter.flow]
        self._count(waiter, -1)
        if not self._length:
            self._ends.clear()
        elif len(self._ends) > 2 * QUEUE:
            self._ends = {flow: self._ends[flow] for flow in self._flows}

    def _count(self, waiter: Waiter, by: int) -> None:
        self._length += by
        self.light += by * waiter.light


class Turns:
    """The turns at one store, for all connections of one account that reach it the same way. Pure.

    There are as many as the limit says, and one more that is kept for what is light: a lookup never waits for an
    export, whatever the limit. Whoever wants a turn and finds `active` below `free` takes it without more ado.
    """

    def __init__(self, now: float) -> None:
        self.limit = Limit(now, family_of)
        self.active = 0
        """Turns that are taken, but for the kept one."""
        self.kept = 0
        self.free = 0
        self.paused_until = 0.0
        self.used_at = now
        self.usual = 1.0
        """Seconds that an answer usually takes, roughly."""
        self.skipped = 0
        """Answers of which most were not learnt from, since the store is quick; both are kept by the pools."""
        self.looking = False
        """Whether the relay looks at the store, of itself."""
        self._looked_at = now
        self._queue = Queue()
        self._paused = False
        self.settle()

    @property
    def waiting(self) -> int:
        return len(self._queue)

    @property
    def idle(self) -> bool:
        return not (self.active or self.kept or self._queue)

    def take_in_pause(self) -> bool:
        """Take a turn although the store wants to be left alone. For a person who asks what is wrong with it."""
        if self._paused:
            self.active += 1
        return self._paused

    def take_kept(self) -> bool:
        """Take the turn that is kept, if it is free and nobody waits for it. For what is light alone."""
        if self.kept or self._paused or self._queue.light or self.limit.resting:
            return False
        self.kept = 1
        return True

    def begin_look(self, now: float) -> bool:
        """Whether the relay may look whether the store is well: where nobody else is, or, put off for long, beside the
        others. Nobody waits for it.
        """
        if self.looking or self._paused or not (self.idle or now - self._looked_at >= LOOK_SECONDS):
            return False
        self.looking, self._looked_at = True, now
        return True

    def give_back(self, *, kept: bool) -> None:
        """To be followed by `settle`."""
        if kept:
            self.kept = 0
        else:
            self.active -= 1

    def wait(self, waiter: Waiter) -> None:
        """Give it its turn, at once or later. Raises QueueFullError."""
        self._queue.put(waiter)
        self.limit.held_up(waiter.kind)
        self.settle()

    def give_up(self, waiter: Waiter) -> None:
        self._queue.remove(waiter)
        self.settle()

    def pause(self, until: float) -> None:
        """Nobody goes before then; `wake` must be called."""
        self._paused = True
        self.paused_until = max(self.paused_until, until)
        self.free = 0

    def wake(self, now: float) -> None:
        """To be called once a second."""
        if self._paused and now >= self.paused_until:
            self._paused = False
            self.settle()
        elif self._queue and not self._paused:
            self.limit.silent(now)
            self.settle()

    def settle(self) -> None:
        """Give turns to those who may go: to be called when the limit has changed or turns have come back."""
        if self._paused:
            return
        while self._queue and self.active < self.limit.at and (waiter := self._queue.take()):
            self.active += 1
            waiter.go(kept=False)
        if self._queue.light and not self.kept and not self.limit.resting and (waiter := self._queue.take(light=True)):
            self.kept = 1
            waiter.go(kept=True)
        if self._queue:
            self.limit.want()
        self.free = 0 if self._queue else self.limit.at


class Stores:
    """The turns at all stores. Connections share them only within an account, and by the same agent to the same
    address: they may have other keys, paths and names there, but it is the same machine that works for them.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._turns: dict[Hashable, Turns] = {}

    def of(self, connection: Connection) -> Turns:
        key = (connection.account, connection.mode, connection.agent, connection.store.destination)
        turns = self._turns.get(key)
        if turns is None:
            if len(self._turns) >= STORES:
                self._forget_one()
            turns = self._turns[key] = Turns(self._clock())
        return turns

    def sweep(self, used: Iterable[Turns]) -> None:
        """Wake those whose pause is over, forget those that have not been used for long; called once a second."""
        now = self._clock()
        for turns in used:
            turns.used_at = now
        for key, turns in list(self._turns.items()):
            turns.wake(now)
            if turns.idle and now - turns.used_at >= REMEMBERED_SECONDS:
                del self._turns[key]

    def _forget_one(self) -> None:
        idle = ((turns.used_at, key) for key, turns in self._turns.items() if turns.idle)
        _, key = min(idle, key=lambda each: each[0], default=(0.0, None))
        self._turns.pop(key, None)
