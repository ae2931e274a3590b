"""What the answers given under one limit come to: how many were at the store, and how much slower it was."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(slots=True)
class Epoch:
    """Sums over the answers to the requests that were let go under the same limit."""

    look: int
    """Answers at which it is looked at next: often enough, and seldom enough that chance gets few chances."""
    answers: int = 0
    faults: int = 0
    beside: float = 0.0
    reached: float = 0.0
    slowdown: float = 0.0
    squares: float = 0.0
    seconds: float = 0.0
    delay: float = 0.0

    def add(self, beside: tuple[int, int], seconds: float, baseline: float) -> None:
        slowdown = seconds / baseline
        self.answers += 1
        self.beside += sum(beside) / 2
        self.reached += max(beside)
        self.slowdown += slowdown
        self.squares += slowdown * slowdown
        self.seconds += seconds
        self.delay += seconds - baseline

    def mean(self) -> Seen:
        count = self.answers
        slowdown = self.slowdown / count
        variance = max(0.0, self.squares / count - slowdown * slowdown)
        error = math.sqrt(variance / count) / slowdown
        return Seen(
            self.beside / count, self.reached / count, slowdown, error, self.seconds / count, self.delay / count
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """Means of an epoch. `beside`: requests at the store while one was waited for; `reached`: when it was sent or
    answered, whichever were more; `slowdown`: latency by baseline; `delay`: above it.
    """

    beside: float
    reached: float
    slowdown: float
    error: float
    """Standard error of the slowdown, as a part of it."""
    seconds: float
    delay: float

    def served(self, errors: float = 0.0) -> float:
        """Requests that were worked on, if the slowdown was so many standard errors less than seen."""
        return self.beside / max(self.slowdown * (1 - errors * self.error), 1e-3)
