"""How long each kind of request takes on the idle store, as far as it is known."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

LEAST_SECONDS = 1e-4
"""No answer takes less."""
ALONE_PART = 1 / 8
"""How far the answer to a request that was alone at the store moves its kind's baseline."""
KINDS = 64
"""Kinds of requests with a baseline, for each store."""
UNSURE_ANSWERS = 6
"""After so many answers without anything to compare with, it is made do with guesses."""
STILL_SLOW = 1.2
"""A store that is slower than that at rest is slow for reasons of its own, or had even then too much to do."""


class Baselines:
    """Pure. Of a kind that was seen only under load the baseline is a guess."""

    __slots__ = ("_family", "_guessed", "_known", "_unsure", "slowdown")

    def __init__(self, family: Callable[[Any], Hashable]) -> None:
        """`family`: of a kind, what it has in common with those that take about as long, such as longer pages."""
        self.slowdown = 1.0
        """By how much all answers are slower than the baselines now."""
        self._family = family
        self._known: dict[Hashable, float] = {}
        self._guessed: set[Hashable] = set()
        self._unsure = 0

    def __contains__(self, kind: Hashable) -> bool:
        return kind in self._known

    def __len__(self) -> int:
        return len(self._known)

    def get(self, kind: Hashable) -> float | None:
        return self._known.get(kind)

    def is_measured(self, kind: Hashable) -> bool:
        """Whether it was seen without load, or one of its family."""
        return bool(self._relatives(self._family(kind)))

    def note(self, kind: Hashable, seconds: float, *, alone: bool) -> float | None:
        """What to compare this answer with, if anything but itself. Of what was seen only under load, the best is
        nearest to the truth.
        """
        known = self._known.get(kind)
        if known is None:
            return self._first(kind, seconds, alone=alone)
        if alone:
            known = seconds if kind in self._guessed else known
            self._guessed.discard(kind)
            self._known[kind] = known + (seconds - known) * ALONE_PART
        elif kind in self._guessed:
            known = self._known[kind] = min(known, seconds)
        return known

    def all_guessed(self) -> bool:
        """Whether there is nothing to compare with yet."""
        self._unsure += len(self._guessed) == len(self._known)
        return len(self._guessed) == len(self._known) and self._unsure <= UNSURE_ANSWERS

    def learn(self, rested: Mapping[Hashable, tuple[int, float]], slowdown: float) -> None:
        """What was measured at rest (how many answers, and their seconds) is the baseline, the more so the more often
        it was. If the store was slower by `slowdown` even then, it is so for the kinds that were not seen.
        """
        for kind, known in self._known.items():
            if kind in rested:
                count, total = rested[kind]
                part = 1.0 if slowdown > STILL_SLOW or kind in self._guessed else count / (count + 1)
                self._known[kind] = known + (total / count - known) * part
                self._guessed.discard(kind)
            elif slowdown > STILL_SLOW:
                self._known[kind] = known * slowdown
                self._guessed.add(kind)

    def _first(self, kind: Hashable, seconds: float, *, alone: bool) -> float | None:
        """Under load it is slowed down as all others are, and idle it takes no longer than its family: if that is too
        little, the next rest will show it.
        """
        while len(self._known) >= KINDS:
            self._forget(next(iter(self._known)))
        if alone:
            self._known[kind] = seconds
            return seconds
        relatives = self._relatives(self._family(kind))
        self._known[kind] = min([max(seconds / max(1.0, self.slowdown), LEAST_SECONDS), *relatives])
        self._guessed.add(kind)
        return self._known[kind] if relatives else None

    def _relatives(self, family: Hashable) -> list[float]:
        measured = ((kind, known) for kind, known in self._known.items() if kind not in self._guessed)
        return [known for kind, known in measured if self._family(kind) == family]

    def _forget(self, kind: Hashable) -> None:
        del self._known[kind]
        self._guessed.discard(kind)
