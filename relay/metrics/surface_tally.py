"""Counts of requests to the typed surface that are over, by the class of the status that they were answered with."""

from __future__ import annotations


class SurfaceTally:
    def __init__(self) -> None:
        self.answers = [0, 0, 0, 0, 0, 0]
        """By the first digit of the status; 0: there was no answer."""
        self.seconds = 0.0

    def note(self, status: int, seconds: float) -> None:
        self.answers[status // 100] += 1
        self.seconds += seconds
