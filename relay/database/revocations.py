"""What has been revoked within a certificate's life: asked at each login and publish; tunnels that stand are cut."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable

from agent.wire.limits import CERTIFICATE_BACKDATE_SECONDS, CERTIFICATE_SECONDS
from relay.records import Change

REMEMBER_SECONDS = 2 * CERTIFICATE_SECONDS + CERTIFICATE_BACKDATE_SECONDS
"""A certificate's life, and as much again: an outage of the database may keep tunnels up beyond its end."""
_KINDS = frozenset({"agent", "agent_token", "agent_key", "instance"})


class Revocations:
    """Ids of agents, agent tokens, agent keys and instances. Pure; `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._gone: OrderedDict[str, float] = OrderedDict()

    def apply(self, changes: Iterable[Change]) -> None:
        """Take in what was revoked, and lift instances that have enrolled again since they were released."""
        now = self._clock()
        for change in changes:
            if change.kind in _KINDS and change.revoked:
                self._gone[change.subject] = now
                self._gone.move_to_end(change.subject)
            elif change.kind == "instance":
                self._gone.pop(change.subject, None)
        while self._gone and now - next(iter(self._gone.values())) > REMEMBER_SECONDS:
            self._gone.popitem(last=False)

    def is_revoked(self, agent: str, instance: str, token: str) -> bool:
        return agent in self._gone or instance in self._gone or token in self._gone

    def __len__(self) -> int:
        return len(self._gone)
