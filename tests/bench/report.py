"""How results read: tables with medians and spreads, ratios to the peers, and which bars are met."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.rounds import Result, Spread
from tests.bench.scenarios import BARS, OURS, Bar, N, P

_LEGEND = f"""\
| contender | what it is |
|---|---|
| {OURS} | Postern: a relay on SQLite and one agent with its usual tunnels, plain HTTP on loopback |
| {P} | nginx that routes by path and checks a key, in front of OpenSSH `sshd` and `ssh -R` with a session |
| {N} | the same with `ssh -N -R`, where sshd leaves Nagle's algorithm on |
| store alone | no tunnel, one round: the limit of the store and of the load generator |

Each figure is the median of its rounds, the least and the most in brackets. The contenders take rounds in turn; each
round begins with a second of load that is not counted. *server* is the relay, or nginx and sshd; *agent* is the agent,
or ssh: CPU and memory of all processes of that side. Neither the store nor the load generator is counted. All SSH
connections use aes128-gcm, which Postern prefers and with which OpenSSH is fastest."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A bar and what was measured for it; None if nothing was."""

    bar: Bar
    value: float | None

    @property
    def word(self) -> str:
        if self.value is None:
            return "not measured"
        return "met" if self.bar.met(self.value) else "**missed**"

    @property
    def aim(self) -> str:
        return f"{self.bar.sense} {self.bar.limit:g}" + (f" times {self.bar.against}" if self.bar.against else "")


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the bench: what was asked, on what machine, and what came of it."""

    command: str
    started: str
    minutes: float
    others: float  # share of the machine that other programs used meanwhile, 0 to 1
    machine: Mapping[str, str]
    results: Sequence[Result]
    failed: Mapping[str, str]

    def verdicts(self) -> list[Verdict]:
        """Of the bars whose scenario was asked for."""
        results = {result.scenario.name: result for result in self.results}
        return [Verdict(bar, _value(results[bar.scenario], bar)) for bar in BARS if bar.scenario in results]

    def markdown(self) -> str:
        parts = [
            "# Results of `make bench`",
            f"`{self.command}`, {self.started}, {self.minutes:.0f} minutes.",
            f"Other programs used {self.others:.0%} of the machine meanwhile.",
            _table(["machine", ""], self.machine.items()),
            "## Bars",
            _table(
                ["scenario", "figure", "aim", "measured", ""],
                [(v.bar.scenario, v.bar.figure, v.aim, _number(v.value), v.word) for v in self.verdicts()],
            ),
            "## Figures",
            _LEGEND,
            *(f"**{name} failed.** In {what}" for name, what in self.failed.items()),
            *(part for result in self.results for part in _section(result)),
        ]
        return "\n\n".join(parts) + "\n"

    def json(self) -> dict[str, Any]:
        return {
            "command": self.command,
            "started": self.started,
            "minutes": self.minutes,
            "others": self.others,
            "machine": dict(self.machine),
            "failed": dict(self.failed),
            "bars": [
                {**dataclasses.asdict(verdict.bar), "value": verdict.value, "verdict": verdict.word.strip("*")}
                for verdict in self.verdicts()
            ],
            "scenarios": {
                result.scenario.name: {
                    "title": result.scenario.title,
                    "rounds": result.rounds,
                    "void": result.void,
                    "spread": {
                        name: {figure: dataclasses.asdict(spread) for figure, spread in result.spread(name).items()}
                        for name in result.rounds
                    },
                }
                for result in self.results
            },
        }


def bars(run: Run) -> Iterator[str]:
    """The verdicts as plain lines."""
    for verdict in run.verdicts():
        bar, word = verdict.bar, verdict.word.strip("*")
        yield f"{word:12} {bar.scenario}: {bar.figure} {_number(verdict.value)}, aim {verdict.aim}"


def _value(result: Result, bar: Bar) -> float | None:
    mine = result.spread(OURS).get(bar.figure)
    if mine is None:
        return None
    if bar.against is None:
        return mine.median
    return _ratio(mine, result.spread(bar.against).get(bar.figure))


def _ratio(mine: Spread, theirs: Spread | None) -> float | None:
    return mine.median / theirs.median if theirs and theirs.median else None


def _section(result: Result) -> Iterator[str]:
    yield f"### {result.scenario.name}: {result.scenario.title}"
    spreads = {name: result.spread(name) for name in result.scenario.contenders if name in result.rounds}
    figures = dict.fromkeys(figure for spread in spreads.values() for figure in spread)
    peers = [name for name in (P, N) if name in spreads and OURS in spreads]
    rows = [
        (
            figure,
            *(_cell(spread.get(figure)) for spread in spreads.values()),
            *(_number(_over(spreads[OURS].get(figure), spreads[peer].get(figure))) for peer in peers),
        )
        for figure in figures
    ]
    yield _table(["", *spreads, *(f"{OURS} / {peer}" for peer in peers)], rows)
    for name, reasons in result.void.items():
        yield f"{name}: {len(reasons)} void: {'; '.join(dict.fromkeys(reasons))}"


def _over(mine: Spread | None, theirs: Spread | None) -> float | None:
    return _ratio(mine, theirs) if mine else None


def _cell(spread: Spread | None) -> str:
    if spread is None:
        return ""
    if spread.least == spread.most:
        return _number(spread.median)
    return f"{_number(spread.median)} ({_number(spread.least)} to {_number(spread.most)})"


def _number(value: float | None) -> str:
    """Three figures that count, and no more than that."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _table(head: Sequence[str], rows: Any) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
