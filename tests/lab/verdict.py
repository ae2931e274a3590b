"""What a fault cost: noticed when, recovered when, and which requests failed, waited, or were carried out twice."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.lab.traffic import Fate

HELD_SECONDS = 1.0
"""A request that was answered well but took longer than this has been held."""

LOST = "POST 502 tunnel_lost"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One round of one fault; times in seconds from its beginning, None for what did not happen."""

    fault: str
    agent_noticed: float | None
    relay_noticed: float | None
    recovered: float | None
    """The first good answer to a request that began when the fault was over; from then on."""
    settled: float | None
    """The end of the last request that failed or was held."""
    sent: int
    failed: int
    held: int
    doubled: int
    """POSTs that the shop has seen more than once."""
    untrue: int
    """Requests whose answer said `not_sent`, and the shop has seen them."""
    missing: int
    """Requests that were answered well, and the shop has not seen them."""
    reasons: Mapping[str, int]
    """How often a failed request ended in which way, such as `POST 502 tunnel_lost`."""

    @property
    def lost(self) -> int:
        """POSTs that failed because their bytes had left when their path died."""
        return self.reasons.get(LOST, 0)

    @property
    def failed_otherwise(self) -> int:
        return self.failed - self.lost

    @classmethod
    def of(
        cls,
        fault: str,
        began: float,
        fates: Sequence[Fate],
        seen: Iterable[int],
        *,
        agent_noticed: float | None,
        relay_noticed: float | None,
        over: float | None = None,
    ) -> Verdict:
        """`began`: when the fault had come about; `over`: when it ended, if it did; `seen`: what came to the shop."""
        times = Counter(seen)
        ill = [fate for fate in fates if not fate.well]
        held = [fate for fate in fates if fate.well and fate.seconds > HELD_SECONDS]
        ended = began if over is None else over
        good = (fate.end for fate in fates if fate.well and fate.begin > ended)
        return cls(
            fault=fault,
            agent_noticed=_since(began, agent_noticed),
            relay_noticed=_since(began, relay_noticed),
            recovered=_since(ended, min(good, default=None)),
            settled=_since(began, max((fate.end for fate in ill + held), default=None)),
            sent=len(fates),
            failed=len(ill),
            held=len(held),
            doubled=sum(fate.method == "POST" and times[fate.number] > 1 for fate in fates),
            untrue=sum(fate.outcome == "not_sent" and times[fate.number] > 0 for fate in ill),
            missing=sum(fate.well and not times[fate.number] for fate in fates),
            reasons=dict(Counter(map(_reason, ill))),
        )


def table(rounds: Sequence[Verdict]) -> str:
    """Markdown: one row per fault, the median of its rounds, with the worst in brackets where they differ."""
    heads = (
        "fault",
        "agent noticed",
        "relay noticed",
        "first answer",
        "all well",
        "sent",
        "`tunnel_lost`",
        "failed otherwise",
        "held",
        "POST twice",
        "untrue",
    )
    lines = [" | ".join(heads), " | ".join("---" for _ in heads)]
    for fault in dict.fromkeys(verdict.fault for verdict in rounds):
        of_fault = [verdict for verdict in rounds if verdict.fault == fault]
        cells = [_seconds([getattr(v, name) for v in of_fault]) for name in _TIMES]
        cells += [_number([getattr(v, name) for v in of_fault]) for name in _NUMBERS]
        lines.append(" | ".join([fault, *cells]))
    return "\n".join(f"| {line} |" for line in lines)


def failures(rounds: Sequence[Verdict]) -> str:
    """Markdown: one line per fault with the ways in which requests failed, the least and most of each in a round."""
    lines = []
    for fault in dict.fromkeys(verdict.fault for verdict in rounds):
        of_fault = [verdict.reasons for verdict in rounds if verdict.fault == fault]
        ways = sorted({reason for reasons in of_fault for reason in reasons})
        if ways:
            lines.append(f"- {fault}: " + ", ".join(f"{way} ({_range(of_fault, way)})" for way in ways))
    return "\n".join(lines) or "Nothing."


_TIMES = ("agent_noticed", "relay_noticed", "recovered", "settled")
_NUMBERS = ("sent", "lost", "failed_otherwise", "held", "doubled", "untrue")


def _since(began: float, moment: float | None) -> float | None:
    return None if moment is None else moment - began


def _reason(fate: Fate) -> str:
    return f"{fate.method} {fate.status or ''}{' ' if fate.status and fate.trouble else ''}{fate.trouble}"


def _range(rounds: Sequence[Mapping[str, int]], way: str) -> str:
    counts = [reasons.get(way, 0) for reasons in rounds]
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def _seconds(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    median, worst = statistics.median(known), max(known)
    return f"{median:.1f} s" + (f" ({worst:.1f})" if worst - median >= 0.1 else "")


def _number(values: Sequence[int]) -> str:
    median, worst = round(statistics.median(values)), max(values)
    return f"{median}" + (f" ({worst})" if worst != median else "")
