"""When the next try may begin: exponential back-off with full jitter, from events, time and randomness alone."""

from __future__ import annotations

from collections.abc import Callable

FIRST_SECONDS = 0.25
"""Upper end of the first pause; it doubles with each failure."""
ALONE_SECONDS = 2.0
"""While no tunnel stands, a try that was not refused begins at least this often: a merchant waits."""
ALONE_PAUSE_SECONDS = 1.5
"""Longest pause meanwhile between a try that failed at once and the next: with the login it is two seconds again."""
BACKUP_SECONDS = 10.0
"""Longest pause while another tunnel carries the traffic: what this one would save is gone if that one dies."""
REFUSED_SECONDS = 60.0
"""Longest pause after a refusal that gave no time of its own."""
RETRY_AFTER_SECONDS = 3600.0
"""Longest Retry-After that is believed."""
SPREAD = 0.25
"""Part of a Retry-After that is added at random, so that agents told the same do not come back together."""
STABLE_SECONDS = 30.0
"""A success that did not last so long is one of a run of quick losses, which pause as failures do."""
SECOND_SECONDS, SECOND_LOGINS = 0.5, 10.0
"""When a first tunnel stands, the others follow within this time, or so many times as long as that login took: a relay
to which everybody comes back has the first tunnels of all before the second ones of any."""
SECOND_MOST_SECONDS = 12.0
"""In which a relay's core lets two thousand in: later than this nobody comes back any more."""
_DOUBLINGS = 16  # FIRST_SECONDS doubled so often is far above every cap


class Reconnect:
    """The timing of one thing that is tried again: a tunnel in its slot, or the enrolment.

    Tell it what happens (`began`, `failed`, `stood`, `lost`), ask it when the next try is due. Times are monotonic
    seconds; `random` gives numbers from 0 up to 1.
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._failures = 0
        """Since the last success, with the quick losses that went before."""
        self._losses = 0
        self._refused = False
        self._began: float | None = None
        self._since = 0.0
        self._stood: float | None = None
        self._share = 0.0
        self._earliest = 0.0

    def began(self, now: float) -> None:
        self._began = now

    def failed(self, now: float, *, refused: bool = False, retry_after: float | None = None) -> None:
        """A try failed; `refused` by a peer that was there and said no, perhaps with a time in seconds."""
        self._pause(now, refused=refused)
        if retry_after is not None:
            wait = min(max(retry_after, 0.0), RETRY_AFTER_SECONDS)
            self._earliest = now + wait * (1 + SPREAD * self._share)

    def stood(self, now: float) -> None:
        """A try succeeded: the failures before it say nothing any more, the quick losses before it do."""
        self._stood = now
        self._failures = self._losses

    def lost(self, now: float) -> None:
        """What stood is gone; if it stood long enough, what went before is forgotten."""
        if self._stood is not None and now - self._stood >= STABLE_SECONDS:
            self._failures = self._losses = 0
        self._stood = None
        self._losses += 1
        self._pause(now, refused=False)

    def due(self, *, alone: bool) -> float:
        """The moment at which the next try may begin; `alone`: no tunnel stands."""
        cap = REFUSED_SECONDS if self._refused else ALONE_PAUSE_SECONDS if alone else BACKUP_SECONDS
        pause = (
            self._share * min(cap, FIRST_SECONDS * 2 ** min(self._failures - 1, _DOUBLINGS)) if self._failures else 0.0
        )
        moment = self._since + pause
        if alone and not self._refused and self._began is not None:
            moment = min(moment, max(self._began + ALONE_SECONDS, self._since))
        return max(moment, self._earliest)

    def _pause(self, now: float, *, refused: bool) -> None:
        self._failures += 1
        self._refused = refused
        self._since = now
        self._share = self._random()


def second_pause(login_seconds: float, random: Callable[[], float]) -> float:
    """Seconds from a first tunnel, whose login took so long, to the dial of a second one."""
    return random() * min(SECOND_MOST_SECONDS, max(SECOND_SECONDS, SECOND_LOGINS * login_seconds))
