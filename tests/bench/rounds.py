"""How rounds are taken in turn, what becomes of a contender that fails, and what is left of a scenario's figures."""

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import ours, peers, roads, usage
from tests.bench.load import Figures, VoidError
from tests.bench.nginx import Store
from tests.bench.programs import ContenderError
from tests.bench.roads import Road, Start
from tests.bench.scenarios import ALONE, OURS, N, P, Scenario

STARTS: Mapping[str, Start] = {
    OURS: ours.start,
    P: peers.with_session,
    N: peers.without_session,
    ALONE: roads.direct,
}
OTHERS = "used by other programs"  # share of the machine's CPU: a round on a busy machine says less
CORES = len(os.sched_getaffinity(0))
QUICK_S = 1.0  # of one round for a look
WARM_S = 1.0  # not counted: connections and channels are opened, windows and limits find their size


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over all rounds that count."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))


@dataclass(slots=True)
class Result:
    """What a scenario gave: per contender the figures of each round that counts, and why others do not."""

    scenario: Scenario
    rounds: dict[str, list[Figures]] = field(default_factory=dict)
    void: dict[str, list[str]] = field(default_factory=dict)

    def spread(self, contender: str) -> dict[str, Spread]:
        taken = self.rounds.get(contender, [])
        names = dict.fromkeys(name for figures in taken for name in figures)
        return {name: Spread.of([figures[name] for figures in taken if name in figures]) for name in names}


class Bench:
    """The store, the roads that are up, and the contenders that have failed, with what they left in their logs."""

    def __init__(self, stack: contextlib.ExitStack, *, quick: bool, tell: Callable[[str], None]) -> None:
        self.failed: dict[str, str] = {}
        self._directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="postern-bench-")))
        self._store = Store(stack, self._empty("store"))
        self._stack = stack.enter_context(contextlib.ExitStack())  # of the shared roads
        self._roads: dict[tuple[str, float], Road] = {}
        self._quick, self._tell = quick, tell

    def measure(self, scenario: Scenario, rounds: int) -> Result:
        """Rounds in turn: what disturbs the machine for a while meets all contenders alike."""
        result = Result(scenario)
        for number in range(1 if scenario.once else rounds):
            for contender in scenario.contenders:
                if contender in self.failed or (contender == ALONE and number):
                    continue
                with self._judging(contender, result, number):
                    figures = self._round(scenario, contender)
                    result.rounds.setdefault(contender, []).append(figures)
                    self._tell(f"  {number + 1} {contender:12}{_brief(figures)}")
        return result

    @contextlib.contextmanager
    def _judging(self, contender: str, result: Result, number: int) -> Iterator[None]:
        """A void round costs the round, a failure the contender."""
        try:
            yield
        except VoidError as error:
            result.void.setdefault(contender, []).append(str(error))
            self._tell(f"  {number + 1} {contender:12}void: {error}")
        except ContenderError as error:
            self.failed[contender] = f"{result.scenario.name}: {error}"
            self._tell(f"  {number + 1} {contender:12}failed: {error}")

    def _round(self, scenario: Scenario, contender: str) -> Figures:
        seconds = QUICK_S if self._quick and not scenario.once else scenario.seconds
        if scenario.own_road:
            self._close_roads()
            with contextlib.ExitStack() as stack:
                return self._measured(self._road(stack, contender, scenario.delay_ms), scenario, seconds)
        road = self._shared_road(contender, scenario.delay_ms)
        self._measured(road, scenario, WARM_S)
        return self._measured(road, scenario, seconds)

    def _measured(self, road: Road, scenario: Scenario, seconds: float) -> Figures:
        busy, at = usage.others_s(), time.monotonic()
        try:
            figures = scenario.measure(road, self._store, seconds)
        except VoidError:
            road.check_running()
            raise
        lasted = time.monotonic() - at
        return figures | {OTHERS: (usage.others_s() - busy) / lasted / CORES}

    def _shared_road(self, contender: str, delay_ms: float) -> Road:
        if any(delay != delay_ms for _, delay in self._roads):
            self._close_roads()
        if (contender, delay_ms) not in self._roads:
            self._roads[contender, delay_ms] = self._road(self._stack, contender, delay_ms)
        return self._roads[contender, delay_ms]

    def _close_roads(self) -> None:
        self._roads.clear()
        self._stack.close()

    def _road(self, stack: contextlib.ExitStack, contender: str, delay_ms: float) -> Road:
        road = STARTS[contender](stack, self._empty("road"), self._store, delay_ms)
        roads.check(road, self._store)
        return road

    def _empty(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=name, dir=self._directory))


def _brief(figures: Figures) -> str:
    told = dict([*list(figures.items())[:6], (OTHERS, figures[OTHERS])])
    return "  ".join(f"{name} {value:.4g}" for name, value in told.items())
