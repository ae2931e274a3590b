"""Whether the other end of a tunnel answers: when it is asked, how long it is waited for, and when it is given up.

`Pulse` decides, from events and time alone; `Probe` takes the pulse of an SSH connection. Both ends use them, in the
place of asyncssh's own keepalive, which knows one patience only and tells nobody how long an answer took.
"""

from __future__ import annotations

import asyncio
import functools
import math
import time
from enum import Enum
from typing import Any

from agent.wire.limits import KEEPALIVE_SECONDS, KEEPALIVE_UNANSWERED

SILENCE_SECONDS = 2.0
"""So long after something was sent without a byte in return, the other end is asked at once."""
PROBE_SECONDS = 1.25
"""How long an answer is waited for under suspicion, twice: a lost packet and its second sending fit into it."""
PATIENCE_SECONDS = 4.0
"""The same without suspicion, or where our own line is full: a question stands in line behind what is unsent."""
SMOOTHING = 1 / 8
"""Weight of a new round trip (RFC 6298 §2)."""


class Verdict(Enum):
    WELL = "well"
    ASK = "ask"
    """A question is to be sent now."""
    DEAD = "dead"


class Pulse:
    """Of one tunnel. Times are monotonic seconds; a login, with which it begins, is a proof of life."""

    __slots__ = ("_asked", "_suspected", "_tries", "_waiting", "_wanted", "heard", "lap", "measured_at", "round_trip")

    def __init__(self, now: float) -> None:
        self.heard = now
        """When something came last."""
        self.round_trip: float | None = None
        """Smoothed, seconds; None until the first answer."""
        self.lap = 0.0
        """The last one that was measured, …"""
        self.measured_at = -math.inf
        """… and when."""
        self._wanted = False
        self._waiting: float | None = None
        """Since when something is sent that nothing has come after."""
        self._suspected = False
        self._tries = 0
        """Questions without an answer."""
        self._asked = now

    @property
    def asking(self) -> bool:
        """Whether an answer is waited for, or a question is due."""
        return self._tries > 0 or self._suspected or self.round_trip is None

    @property
    def doubtful(self) -> bool:
        """Whether it did not answer as soon as it should."""
        return self._suspected or self._tries > 1

    def hear(self, now: float) -> None:
        """Something came: the other end lives."""
        self.heard = now
        self._waiting = None
        self._suspected = False
        self._tries = 0

    def send(self, now: float) -> None:
        """Something was sent that wants an answer."""
        if self._waiting is None:
            self._waiting = now

    def suspect(self) -> None:
        """Somebody has reason to doubt: ask at once."""
        self._suspected = True

    def want(self) -> None:
        """Somebody wants to know how long the way takes now."""
        self._wanted = True

    def answer(self, asked: float, now: float) -> None:
        """A question of that moment was answered."""
        self.lap, self.measured_at = now - asked, now
        known = self.lap if self.round_trip is None else self.round_trip
        self.round_trip = known + SMOOTHING * (self.lap - known)
        self.hear(now)

    def oversleep(self, now: float) -> None:
        """We ourselves did not run for a while: what we waited for may lie unread. Ask afresh."""
        self.hear(now)
        self._suspected = True

    def judge(self, now: float, *, quiet: float = KEEPALIVE_SECONDS, full: bool = False) -> Verdict:
        """What to do now; ASK counts as asked. `quiet`: seconds of silence that are not asked about."""
        if self._waiting is not None and now - self._waiting >= SILENCE_SECONDS:
            self._suspected = True
        if self._tries == 0:
            return self._ask(now) if self._due(now, quiet) else Verdict.WELL
        patience = PROBE_SECONDS if self._suspected and not full else PATIENCE_SECONDS
        if now - self._asked < patience:
            return Verdict.WELL
        return Verdict.DEAD if self._tries >= KEEPALIVE_UNANSWERED else self._ask(now)

    def _due(self, now: float, quiet: float) -> bool:
        return self._suspected or self._wanted or self.round_trip is None or now - self.heard >= quiet

    def _ask(self, now: float) -> Verdict:
        self._tries += 1
        self._asked = now
        self._wanted = False
        return Verdict.ASK


class Probe:
    """Takes the pulse of an SSH connection, whose own keepalive it replaces. `look` is to be called again and again.

    Checked with asyncssh 2.24.1: its packet counters tell what came and what left, for nothing.
    """

    __slots__ = ("_received", "_sent", "_ssh", "pulse")

    def __init__(self, ssh: Any) -> None:
        self.pulse = Pulse(time.monotonic())
        self._ssh = ssh
        self._received: int = ssh._recv_seq
        self._sent: int = ssh._send_seq
        ssh.set_keepalive(0)

    def look(self, now: float, *, busy: bool, full: bool, quiet: float = KEEPALIVE_SECONDS) -> Verdict:
        """Judge, and ask if it is time.

        `busy`: channels are open, so that what is sent wants an answer, and silence on both ends is worth a question:
        the other end may be waiting for what was lost.
        """
        ssh = self._ssh
        if ssh._recv_seq != self._received:
            self._received = ssh._recv_seq
            self.pulse.hear(now)
        if ssh._send_seq != self._sent:
            self._sent = ssh._send_seq
            if busy:
                self.pulse.send(now)
        if busy and now - self.pulse.heard >= SILENCE_SECONDS:
            self.pulse.suspect()
        verdict = self.pulse.judge(now, quiet=quiet, full=full)
        if verdict is Verdict.ASK:
            self._ask()
            self._sent = ssh._send_seq
        return verdict

    def _ask(self) -> None:
        """A global request that every SSH server and client answers, if only to say that it knows it not."""
        ssh = self._ssh
        if ssh._transport is None:
            return
        answer = asyncio.get_running_loop().create_future()
        ssh._global_request_waiters.append(answer)
        ssh._send_global_request(b"keepalive@openssh.com", want_reply=True)
        answer.add_done_callback(functools.partial(self._answered, time.monotonic()))

    def _answered(self, asked: float, _answer: object) -> None:
        if self._ssh._transport is not None:  # else the end of the connection answers every question
            self.pulse.answer(asked, time.monotonic())
            self._received = self._ssh._recv_seq
