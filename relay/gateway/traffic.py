"""What went through this node: of each connection in the last five minutes, and of all since the node began."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from relay.gateway.errors import GatewayError
from relay.gateway.exchange import Exchange
from relay.gateway.tally import Tally
from relay.records import Connection

SLICE_SECONDS = 30.0
SLICES = 10
"""Five minutes in all."""


@dataclass(frozen=True, slots=True)
class Summary:
    """Of the last five minutes. Durations are seconds from a request's head to the end of its answer."""

    requests: int
    errors: Mapping[str, int]
    """By the hop to blame (`Origin`); a store's 5xx is the store's."""
    bytes_in: int
    """Of request bodies."""
    bytes_out: int
    """Of answers' bodies."""
    p50: float | None
    p95: float | None
    series: tuple[int, ...]
    """Requests in each slice of 30 s, oldest first; the last one is not over."""
    last_success: int | None
    """When a store last answered 2xx or 3xx since this node began: unix seconds."""


class Traffic:
    """One connection's. `note` is called for each request that is over, in the loop turn in which it is."""

    __slots__ = ("_number", "_slices", "agent", "last_success", "spent")

    def __init__(self, agent: str | None) -> None:
        self.agent = agent
        self.last_success: float | None = None
        """Monotonic seconds."""
        self.spent = Tally()
        """Slices that are over, until `Ledger` adds them to its own."""
        self._number = -1
        self._slices: list[Tally] = []

    def note(self, exchange: Exchange) -> None:
        number = int(exchange.ended // SLICE_SECONDS)
        if number != self._number:
            self._turn_to(number)
        self._slices[-1].note(exchange)
        if 200 <= exchange.status < 400:
            self.last_success = exchange.ended

    def slices(self, now: float) -> list[Tally]:
        """The last ten, oldest first."""
        self._turn_to(int(now // SLICE_SECONDS))
        return [Tally()] * (SLICES - len(self._slices)) + self._slices

    def quiet(self, now: float) -> bool:
        """Whether nothing has happened for five minutes."""
        return not any(tally.requests for tally in self.slices(now))

    def open(self) -> Tally:
        """What is not in `spent` yet."""
        return self._slices[-1] if self._slices else Tally()

    def _turn_to(self, number: int) -> None:
        steps = min(number - self._number, SLICES) if self._slices else 1
        if steps <= 0:
            return
        self.spent.add(self.open())
        self._slices = (self._slices + [Tally() for _ in range(steps)])[-SLICES:]
        self._number = number


class Ledger:
    """The traffic of all connections of this node. `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._traffic: dict[str, Traffic] = {}
        self._of_agents: dict[str, set[str]] = {}
        self._spent = Tally()
        self._swept = clock()
        self.refused: Counter[tuple[str, str]] = Counter()
        """Requests that never became an exchange, by code and origin."""

    def __iter__(self) -> Iterator[str]:
        """Connections with something to tell."""
        return iter(tuple(self._traffic))

    def of(self, connection: Connection) -> Traffic:
        """Where the connection's requests are noted."""
        traffic = self._traffic.get(connection.id)
        if traffic is None or traffic.agent != connection.agent:
            self._drop(connection.id)
            traffic = self._traffic[connection.id] = Traffic(connection.agent)
            if connection.agent:
                self._of_agents.setdefault(connection.agent, set()).add(connection.id)
        return traffic

    def refuse(self, error: GatewayError) -> None:
        """Note an answer of the relay's to a request that led to no connection."""
        self.refused[error.failure.code, error.failure.origin.value] += 1

    def connection(self, connection: str) -> Summary | None:
        """None: there was nothing in the last minutes."""
        traffic = self._traffic.get(connection)
        return self._summary([traffic]) if traffic else None

    def agent(self, agent: str) -> Summary | None:
        """Of all connections through that agent."""
        return self.agents((agent,))

    def agents(self, agents: Iterable[str]) -> Summary | None:
        """Of all connections through these agents."""
        connections = [each for agent in agents for each in self._of_agents.get(agent, ())]
        return self._summary([self._traffic[each] for each in connections]) if connections else None

    def failing(self) -> list[str]:
        """Agents of whose connections' requests some have failed in the last minutes, the worst first."""
        now, errors = self._clock(), Counter[str]()
        for agent, connections in self._of_agents.items():
            tallies = (tally for each in connections for tally in self._traffic[each].slices(now))
            errors[agent] = sum(sum(tally.by_origin().values()) for tally in tallies if tally.failed)
        return [agent for agent, number in errors.most_common() if number]

    def totals(self) -> Tally:
        """Since the node began."""
        total = Tally()
        for traffic in self._traffic.values():
            if traffic.spent.requests:
                self._spent.add(traffic.spent)
                traffic.spent = Tally()
            total.add(traffic.open())
        total.add(self._spent)
        return total

    def sweep(self) -> None:
        """Forget what has been quiet; to be called often, it looks once in a slice."""
        now = self._clock()
        if now - self._swept < SLICE_SECONDS:
            return
        self._swept = now
        for connection in [id_ for id_, traffic in self._traffic.items() if traffic.quiet(now)]:
            self._drop(connection)

    def _drop(self, connection: str) -> None:
        traffic = self._traffic.pop(connection, None)
        if traffic is None:
            return
        self._spent.add(traffic.spent)
        self._spent.add(traffic.open())
        if traffic.agent:
            siblings = self._of_agents[traffic.agent]
            siblings.discard(connection)
            if not siblings:
                del self._of_agents[traffic.agent]

    def _summary(self, traffics: Iterable[Traffic]) -> Summary:
        now, all_, series = self._clock(), Tally(), [0] * SLICES
        successes = []
        for traffic in traffics:
            for place, tally in enumerate(traffic.slices(now)):
                all_.add(tally)
                series[place] += tally.requests
            if traffic.last_success is not None:
                successes.append(traffic.last_success)
        return Summary(
            requests=all_.requests,
            errors=all_.by_origin(),
            bytes_in=all_.bytes_in,
            bytes_out=all_.bytes_out,
            p50=all_.quantile(0.5),
            p95=all_.quantile(0.95),
            series=tuple(series),
            last_success=int(time.time() - (now - max(successes))) if successes else None,
        )
