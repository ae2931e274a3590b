"""How an agent does, from its tunnels and the time alone: its state, since when, whether its line is steady. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum

SHORT_SECONDS = 30.0
"""With fewer tunnels than wanted for so long, an agent is degraded; one that has just dialled is not."""
FLAPS = 3
"""Losses within FLAP_SECONDS that make a line unsteady; it is steady again after so long without one."""
FLAP_SECONDS = 300.0
ONE_LOSS_SECONDS = 5.0
"""Tunnels lost within so short a time were lost by one cause."""


class AgentState(StrEnum):
    ONLINE = "online"
    """A tunnel stands that has just proved itself, and as many as are wanted."""
    DEGRADED = "degraded"
    """Requests get through, but there have been fewer tunnels than wanted for 30 s, or they break again and again."""
    OFFLINE = "offline"
    """It has enrolled, and no tunnel stands."""
    NEVER = "never"
    """No instance has enrolled yet."""
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Standing:
    """An agent's tunnels at a moment."""

    tunnels: int
    """That stand."""
    proved: int
    """Of these, that answer as they should."""
    short: bool
    """Whether an instance has fewer proved ones than it was told to keep."""


class Condition:
    """One agent's. Times are monotonic seconds; `look` says how it is now, and whether that is news."""

    __slots__ = ("_losses", "_short_since", "flapping", "planned", "since", "state")

    def __init__(self, now: float) -> None:
        self.state = AgentState.OFFLINE
        self.since = now
        self.flapping = False
        self.planned = False
        """Whether its last tunnel went because it, or the relay, said so."""
        self._short_since: float | None = None
        self._losses: deque[float] = deque(maxlen=FLAPS)

    @property
    def settled(self) -> bool:
        """Whether it stays as it is until something happens to its tunnels."""
        return not self.flapping and (self._short_since is None or self.state is not AgentState.ONLINE)

    def gone(self, now: float, *, planned: bool) -> None:
        """A tunnel has gone; `planned`: somebody had said that it would, or it was replaced."""
        self.planned = planned
        if planned:
            return
        if not self._losses or now - self._losses[-1] > ONE_LOSS_SECONDS:
            self._losses.append(now)

    def look(self, now: float, standing: Standing) -> bool:
        """Whether the state, or the line's steadiness, has changed."""
        before = self.state, self.flapping
        if not standing.short:
            self._short_since = None
        elif self._short_since is None:
            self._short_since = now
        self.flapping = self._is_flapping(now)
        self._become(self._state(now, standing), now)
        return (self.state, self.flapping) != before

    def _is_flapping(self, now: float) -> bool:
        """Three losses within five minutes begin it, five minutes without one end it."""
        if self.flapping:
            return now - self._losses[-1] < FLAP_SECONDS
        return len(self._losses) == FLAPS and now - self._losses[0] < FLAP_SECONDS

    def _state(self, now: float, standing: Standing) -> AgentState:
        if not standing.tunnels:
            return AgentState.OFFLINE
        long_short = self._short_since is not None and now - self._short_since >= SHORT_SECONDS
        if not standing.proved or long_short or self.flapping:
            return AgentState.DEGRADED
        return AgentState.ONLINE

    def _become(self, state: AgentState, now: float) -> None:
        if state is not self.state:
            self.state, self.since = state, now
