"""How many requests at once a store copes with, found from how long its answers take and from how it fails.

A store is taken for k workers with a queue before them. With n requests at it an answer takes n/k times as long as on
an idle store once n > k, so that n x (baseline / latency) of them are worked on and the others only wait. The limit
goes up while somebody waits for a turn and nearly all at the store are worked on (doubled at first, in small steps
after the first time that it was too high), and comes down to those that are. Failures halve it.

Four traps are known of controllers like this one. A baseline that follows the latency grows with the queue that the
limit itself has made: so it grows only by what is measured at rest. A store that is slow for reasons of its own would
bring the limit down for nothing: so before it comes down, and twice a minute at most while it is held, the store is
given half as much for a moment, and the two are compared. Cheap and expensive requests have little to do with each
other: so each kind has its own baseline, and what is compared is by how much each is slower than that. (A fourth, that
the line to the shop becomes slower and not the shop, is for `way` to tell.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Any

from relay.gateway.baselines import LEAST_SECONDS, STILL_SLOW, UNSURE_ANSWERS, Baselines
from relay.gateway.epoch import Epoch, Seen

FIRST = 1
"""At a store of which nothing is known."""
MOST = 2048
"""Twice of what any connection may have."""
SPARE = 1.35
"""So many may only wait at the store (the one that is always let through, and what hides the way there), …"""
SPARE_PART = 0.1
"""… and this part of the limit: the more there are, the less exactly latencies tell."""
MANY = 24
"""Of so many workers and more one is left free, for lookups and for the shop's visitors."""
MORE = 0.75
"""By so much more must be worked on than are let go, to be surely more."""
NOTHING_SECONDS = 0.01
"""A delay that the relay and the line may have made themselves; PrestaShop takes 20 ms for its smallest answer."""
ERRORS = 1.5
"""Standard errors by which a slowdown must be more than chance to be put to the proof, …"""
GROSS = 2.5
"""A slowdown that needs no second look, …"""
EXPLAINED = 1.2
"""… unless it is that many times what can come of the last raise: then the store had a moment of its own."""
ANSWERS = 6
REST_ERROR = 0.15
REST_SAMPLES = 24
"""… what is exact enough there, and answers that are enough in any case."""
SAMPLES = 64
"""Answers that are enough to judge any limit by."""
LONG_SECONDS = 3.0
"""Answers that take longer are judged by their baseline alone: a rest would last too long."""
PATIENCE_SECONDS = 2.0
PATIENCE_MOST = 16
"""While nothing speaks against it, one more is let go after so long without an answer, up to so many."""
REST_SECONDS = 30.0
REST_ANSWERS = 50
"""A held limit is put to the proof after so long, and after so many times an answer's time."""
REST_MOST = (2.0, 4.0)
"""While others wait, a rest ends after so many seconds, or, if any answer came, so many times an answer's time."""
PROVEN_SECONDS = 1.0
PROVEN_ANSWERS = 20
"""For so long one that has stood the proof is not doubted."""
AGAIN = (10.0, 320.0)
"""How many seconds a limit that made answers wait is not tried again: AGAIN_MORE times as long after each vain try, up
to the second.
"""
AGAIN_MORE = 4
AGAIN_AFTER_REFUSAL = (60.0, 900.0)
"""The same for one at which the store said that it was too much."""
FAULTS = 2
FAULTS_PART = 8
"""One fault may be a request's own, and so may one among so many answers; more are the store's."""


def _itself(kind: Hashable) -> Hashable:
    return kind


class Limit:
    """Pure: `at` is the limit in force. Times are monotonic seconds."""

    __slots__ = (
        "_again_seconds", "_bad", "_baselines", "_began", "_climbing", "_doubted", "_epoch", "_fine", "_heard_at",
        "_proven_until", "_rest_at", "_rested", "_rested_from", "_resting", "_try_again_at", "_unmeasured", "_unsure",
        "_wanted", "at", "era",
    )  # fmt: skip

    def __init__(self, now: float, family: Callable[[Any], Hashable] = _itself) -> None:
        self.at = FIRST
        self.era = 0
        """Of the requests that are let go now: what was let go in an earlier one tells nothing of this limit."""
        self._climbing = True
        self._resting = -1
        """The era of the rest that is watched."""
        self._baselines = Baselines(family)
        self._doubted = False
        self._rested_from: tuple[int, Seen] | None = None
        """The limit that is put to the proof, and what was seen there."""
        self._rested: dict[Hashable, tuple[int, float]] = {}
        """How many answers of each kind came at rest, and their seconds."""
        self._fine = FIRST
        """The last limit at which all was well."""
        self._wanted = False
        """Whether somebody had to wait for a turn in this epoch."""
        self._unmeasured: Hashable | None = None
        """A kind of which one has had to wait while nothing was known of the store, …"""
        self._unsure = 0
        """… and how often the limit was not raised for that."""
        self._rest_at = now + REST_SECONDS
        self._proven_until = now
        self._bad: float = math.inf
        """The lowest limit known to be too much."""
        self._again_seconds = 0.0
        self._try_again_at = 0.0
        self._began = now
        """When the rest was first seen that is watched."""
        self._heard_at = now
        """When an answer came, or one more was let go for want of any."""
        self._epoch = self._new_epoch()

    def answered(self, kind: Hashable, seconds: float, beside: tuple[int, int], era: int, now: float) -> None:
        """The store has worked on a request of this kind for so many `seconds`. `beside` is how many were at the
        store, itself included, when it was sent and when it was answered.
        """
        self._heard_at = now
        seconds = max(seconds, LEAST_SECONDS)
        sent, _ = beside
        baseline = self.resting and self._baselines.get(kind)
        if not baseline:
            baseline = self._baselines.note(kind, seconds, alone=sent <= 1)
        epoch = self._epoch
        if not baseline or era != self.era or (self._rested_from and sent > self.at) or self._baselines.all_guessed():
            return
        epoch.add(beside, seconds, baseline)
        if self._rested_from:
            count, total = self._rested.get(kind, (0, 0.0))
            self._rested[kind] = (count + 1, total + seconds)
        if epoch.answers >= epoch.look:
            self._judge(now)

    def unclear(self, era: int) -> None:
        """Nobody knows whether the store or the line took so long. Without it the others would tell too good a tale."""
        if era == self.era:
            self._rested.clear()
            epoch = self._new_epoch()
            epoch.faults = self._epoch.faults
            self._epoch = epoch

    def faulted(self, kind: Hashable, beside: int, era: int, now: float) -> None:
        """The store gave no answer, or one that tells of exhaustion. Where no request of this kind has ever been
        answered well, the request itself is too much, however few there are.
        """
        if era != self.era or kind not in self._baselines:
            return
        epoch = self._epoch
        epoch.faults += 1
        if epoch.faults >= FAULTS and epoch.faults * FAULTS_PART > max(epoch.answers, beside):
            self._halve(AGAIN, now)

    def refused(self, era: int, now: float) -> None:
        """The store has said that it is too much for it."""
        if era == self.era:
            self._halve(AGAIN_AFTER_REFUSAL, now)

    def want(self) -> None:
        """Somebody must wait for a turn: more at once would be made use of."""
        self._wanted = True

    def held_up(self, kind: Hashable) -> None:
        """One of this kind must wait. At a store of which nothing is known, one goes alone first: seen first among
        others, it would seem to take by nature as long as they make it take.
        """
        if self._climbing and self.at == FIRST:
            self._unmeasured = kind

    def silent(self, now: float) -> None:
        """Somebody waits. A store of which nothing bad is known may be given more before its first slow answer."""
        if self._rested_from:
            self._watch_rest(*self._rested_from, now)
        elif self._climbing and now - self._heard_at >= PATIENCE_SECONDS:
            self._heard_at = now
            self.at = max(self.at, min(self.at + 1, PATIENCE_MOST))

    @property
    def resting(self) -> bool:
        """Whether the store is given less for a moment, to see whether it is quicker then."""
        return self._rested_from is not None

    def expected(self, kind: Hashable) -> float | None:
        """Seconds that an answer of this kind takes on the idle store, as far as is known."""
        return self._baselines.get(kind)

    def _judge(self, now: float) -> None:
        """Look at the epoch, and go on with it where it does not tell enough."""
        seen, answers = self._epoch.mean(), self._epoch.answers
        self._epoch.look = max(min(2 * answers, SAMPLES), answers + 1)
        if self._rested_from:
            if answers >= REST_SAMPLES or (answers >= max(3, self.at) and seen.error < REST_ERROR):
                self._end_rest(*self._rested_from, seen, now)
            return
        full = seen.reached >= self.at - 0.5
        level = self.at + 1 if full else seen.beside
        certain = answers >= SAMPLES
        exact = answers >= ANSWERS or seen.error < REST_ERROR
        errors = 0 if certain or self._vain else ERRORS
        if exact and seen.delay > NOTHING_SECONDS and self._waits(level, seen.served(errors)):
            self._doubt(seen, now, certain=certain)
        elif answers >= self._round and (
            certain or seen.delay <= NOTHING_SECONDS or not self._waits(level, seen.served())
        ):
            self._hold(seen, now)

    def _doubt(self, seen: Seen, now: float, *, certain: bool) -> None:
        """Too many seem to wait. What may have been a moment's hitch of all is looked at twice."""
        if now < self._proven_until:
            if certain:
                self._begin()
        elif self._doubted or self._vain or self._is_gross(seen):
            if seen.seconds > LONG_SECONDS:
                self._come_down(self.at, seen.served(), self.at // 2, now)
            else:
                self._rest(seen)
        else:
            self._begin()
            self._doubted = True

    @property
    def _vain(self) -> bool:
        """Whether a limit is tried again that was too much before."""
        return self.at >= self._bad

    def _is_gross(self, seen: Seen) -> bool:
        """Whether answers are so slow, and no slower than more at once can make them."""
        surely = seen.slowdown * (1 - ERRORS * seen.error)
        return surely > GROSS and seen.slowdown <= EXPLAINED * seen.reached / self._fine

    @property
    def _round(self) -> int:
        """Answers before the limit is raised: to one round while climbing, else to two."""
        return min(self.at, SAMPLES) if self._climbing else max(6, min(2 * self.at, SAMPLES))

    def _waits(self, level: float, served: float) -> bool:
        """Whether too many only wait, if there were so many at the store."""
        return level - served > SPARE + SPARE_PART * level

    def _begin(self) -> None:
        self.era += 1
        self._doubted = self._wanted = False
        self._epoch = self._new_epoch()

    def _new_epoch(self) -> Epoch:
        least = 1 if self._climbing else 3
        return Epoch(max(least, min(self.at, SAMPLES)))

    def _hold(self, seen: Seen, now: float) -> None:
        """All is well: higher where that is wanted, after a proof where one is due."""
        self._baselines.slowdown = seen.slowdown
        self._fine = self.at
        held = self._wanted and not self._climbing
        if held and now >= self._rest_at and NOTHING_SECONDS < seen.seconds <= LONG_SECONDS:
            self._rest(seen)
            return
        if self._wanted and not self._must_measure(seen):
            self._raise(now)
        self._begin()

    def _must_measure(self, seen: Seen) -> bool:
        """Whether to stay until it is known how long those take that wait; not where more are surely worked on."""
        if self._unmeasured is None or self._unsure >= UNSURE_ANSWERS or seen.served() > FIRST + MORE:
            return False
        if self._baselines.is_measured(self._unmeasured):
            self._unmeasured = None
            return False
        self._unsure += 1
        return True

    def _raise(self, now: float) -> None:
        if self._climbing:
            self.at = min(2 * self.at + 1, MOST)
            return
        if self._vain:
            self._bad, self._again_seconds = math.inf, 0.0
        step = max(1, self.at // (8 if self._bad < math.inf else 4 if self.at > MANY else 2))
        wanted = min(self.at + step, MOST)
        if wanted >= self._bad and now < self._try_again_at:
            wanted = max(self.at, int(self._bad) - 1)
        self.at = wanted

    def _rest(self, seen: Seen) -> None:
        self._rested_from = (self.at, seen)
        self.at = max(1, min(self.at // (2 if self.at > MANY else 8), int(seen.served())))
        self._begin()

    def _watch_rest(self, before: int, crowded: Seen, now: float) -> None:
        """End one that takes too long, with what it has shown."""
        least, times = REST_MOST
        if self._resting != self.era:
            self._resting, self._began = self.era, now
        elif self._epoch.answers:
            if now - self._began >= max(least, times * crowded.seconds):
                self._end_rest(before, crowded, self._epoch.mean(), now)
        elif now - self._began >= least:
            self._rested_from = None
            self._rested.clear()
            self._rest_at = now + max(REST_SECONDS, REST_ANSWERS * crowded.seconds)
            self._proven_until = now + max(PROVEN_SECONDS, PROVEN_ANSWERS * crowded.seconds)
            self.at = before
            self._begin()

    def _end_rest(self, before: int, crowded: Seen, seen: Seen, now: float) -> None:
        """Back to where it was, or to what was really worked on there."""
        faster = min(1.0, seen.slowdown / crowded.slowdown)
        busy = seen.slowdown > STILL_SLOW and faster < STILL_SLOW * seen.beside / crowded.beside
        served = min(crowded.beside * faster, seen.served()) if busy else crowded.beside * faster
        self._rested_from = None
        self._baselines.slowdown = 1 / faster
        if not busy:
            self._baselines.learn(self._rested, seen.slowdown)
        self._rested.clear()
        self._rest_at = now + max(REST_SECONDS, REST_ANSWERS * crowded.seconds)
        if not busy and not self._worth_it(before, crowded, faster, seen.error):
            self.at = before
            self._begin()
            self._proven_until = now + max(PROVEN_SECONDS, PROVEN_ANSWERS * crowded.seconds)
            return
        self._come_down(before, served, 1 if busy else before // 4, now)

    def _come_down(self, before: int, served: float, least: int, now: float) -> None:
        """To what was really worked on, or `least`."""
        self._climbing = False
        knee = max(1, round(served) - (served >= MANY), self._fine if self._fine < before else 0)
        self._lower(min(knee + 1, before), max(knee, least), AGAIN, now)

    def _worth_it(self, before: int, crowded: Seen, faster: float, error: float) -> bool:
        """Whether fewer at once are surely faster by more than nothing."""
        surely = min(1.0, faster * (1 + min(math.hypot(crowded.error, error), REST_ERROR)))
        return crowded.seconds * (1 - surely) > NOTHING_SECONDS and self._waits(before + 1, crowded.beside * surely)

    def _halve(self, again: tuple[float, float], now: float) -> None:
        before = self._rested_from[0] if self._rested_from else self.at
        self._climbing, self._rested_from = False, None
        self._rested.clear()
        self._lower(before, max(1, before // 2), again, now)

    def _lower(self, bad: int, to: int, again: tuple[float, float], now: float) -> None:
        first, most = again
        self._bad = bad
        self._again_seconds = min(max(first, AGAIN_MORE * self._again_seconds), most)
        self._try_again_at = now + self._again_seconds
        self.at = self._fine = to
        self._begin()
