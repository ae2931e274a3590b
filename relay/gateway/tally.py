"""Counts of requests that are over: what the stores answered, what the relay answered itself, bytes, durations."""

from __future__ import annotations

from collections import Counter

from relay.gateway.errors import Origin
from relay.gateway.exchange import Exchange

DURATIONS = tuple(0.001 * 2**n for n in range(18))
"""Upper bounds of the durations that are told of all requests, in seconds: 1 ms to 131 s."""
_UNITS = 1_024_000
"""Of a second: durations are counted by their highest three bits, in 1/1024 ms, so that 1 ms is a bound."""


class Tally:
    """Counts of requests that are over."""

    __slots__ = ("answers", "bytes_in", "bytes_out", "durations", "errors", "left", "requests", "retried", "seconds")

    def __init__(self) -> None:
        self.requests = 0
        self.answers = [0, 0, 0, 0, 0, 0]
        """By the first digit of the store's status; 0: the store did not answer."""
        self.errors: Counter[tuple[str, str]] = Counter()
        """What the relay answered itself, by code and origin."""
        self.left = 0
        """Whose connector went before the answer's end."""
        self.retried = 0
        self.bytes_in = self.bytes_out = 0
        self.seconds = 0.0
        self.durations: dict[int, int] = {}
        """How many lasted how long; see `_index`."""

    def note(self, exchange: Exchange) -> None:
        self.requests += 1
        self.answers[exchange.status // 100] += 1
        self.bytes_in += exchange.bytes_in
        self.bytes_out += exchange.bytes_out
        lasted = exchange.ended - exchange.began
        self.seconds += lasted
        index = _index(lasted)
        self.durations[index] = self.durations.get(index, 0) + 1
        if exchange.error:
            self.errors[exchange.error.failure.code, exchange.error.failure.origin.value] += 1
        if exchange.left:
            self.left += 1
        if exchange.retried:
            self.retried += 1

    def add(self, other: Tally) -> None:
        self.requests += other.requests
        self.answers = [mine + theirs for mine, theirs in zip(self.answers, other.answers, strict=True)]
        self.errors.update(other.errors)
        self.left += other.left
        self.retried += other.retried
        self.bytes_in += other.bytes_in
        self.bytes_out += other.bytes_out
        self.seconds += other.seconds
        for index, number in other.durations.items():
            self.durations[index] = self.durations.get(index, 0) + number

    @property
    def failed(self) -> bool:
        """Whether any of the requests did."""
        return bool(self.errors or self.answers[5])

    def by_origin(self) -> dict[str, int]:
        found: Counter[str] = Counter()
        for (_, origin), number in self.errors.items():
            found[origin] += number
        if self.answers[5]:
            found[Origin.STORE.value] += self.answers[5]
        return dict(found)

    def quantile(self, part: float) -> float | None:
        """Seconds within which that part of the requests was over, to an eighth; None: there were none."""
        wanted, counted = part * self.requests, 0
        for index in sorted(self.durations):
            counted += self.durations[index]
            if counted >= wanted:
                return (_floor(index) + _floor(index + 1)) / 2
        return None

    def within(self) -> list[int]:
        """How many requests lasted at most as long as each of DURATIONS."""
        return [sum(n for index, n in self.durations.items() if _floor(index + 1) <= most) for most in DURATIONS]


def _index(seconds: float) -> int:
    """Where a duration is counted: four steps to each doubling."""
    units = max(4, int(seconds * _UNITS))
    bits = units.bit_length()
    return (bits << 2) + (units >> (bits - 3) & 3)


def _floor(index: int) -> float:
    """The shortest duration that is counted there, in seconds."""
    bits, step = index >> 2, index & 3
    return ((4 + step) << bits >> 3) / _UNITS
