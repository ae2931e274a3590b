"""Of what happens, what somebody must be told: once while it lasts, and that it is over. Pure; times are unix seconds.

An agent that leaves has said so, or is waited for: it may only be dialling anew. A relay that has just started waits
longer, since all its agents are about to come back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from relay.alert_records import LEFT, About, Alarm, AlertKind, AllClear, Condition, Expected, Word
from relay.health.alert_remedies import remedy_of
from relay.health.feed import Notice

GRACE_SECONDS = 60
"""Without a tunnel, before an agent is said to be offline."""
START_SECONDS = 180
"""After the relay's own start: agents dial again within a minute or so, a large fleet in turn."""
CLONE_SECONDS = 2 * 3600
"""Copies that go on are reported once an hour; so long without a report, and they are over."""
_PAIRS = {
    "agent.flapping": (AlertKind.AGENT_FLAPPING, None),
    "agent.steady": (AlertKind.AGENT_FLAPPING, AlertKind.AGENT_STEADY),
    "store.unreachable": (AlertKind.STORE_UNREACHABLE, None),
    "store.reachable": (AlertKind.STORE_UNREACHABLE, AlertKind.STORE_REACHABLE),
    "store.key_refused": (AlertKind.STORE_KEY_REFUSED, None),
    "store.key_accepted": (AlertKind.STORE_KEY_REFUSED, AlertKind.STORE_KEY_ACCEPTED),
}
"""Which condition a notice begins, or ends with which alert."""


class Rules:
    """Fed with notices; answers what is to be told. `began`: when the relay did."""

    def __init__(self, began: int) -> None:
        self._began = began
        self._open: set[Condition] = set()
        self._missed: dict[str, Alarm] = {}
        """By agent: what is told if it does not come back."""

    def know(self, conditions: Iterable[Condition]) -> None:
        """These are open, as it is on record."""
        self._open = set(conditions)

    def expect(self, agents: Iterable[Expected]) -> None:
        """These were here before the relay began; if they are here already, a notice has said so, or will."""
        for each in agents:
            self._missed.setdefault(each.agent, _offline(each.account, each.agent, each.seen_at))

    def hear(self, notice: Notice) -> list[Word]:
        """What follows from it at once."""
        if notice.kind in {"agent.online", "agent.degraded"}:
            return self._back(notice)
        if notice.kind == "agent.offline":
            return self._left(notice)
        if notice.kind == "agent.clone":
            return self._begin(notice, AlertKind.AGENT_CLONE, str(notice.details.get("instance", notice.agent)))
        if notice.kind in _PAIRS:
            began, ended = _PAIRS[notice.kind]
            subject = _subject(notice)
            return self._end(notice, began, subject, ended) if ended else self._begin(notice, began, subject)
        return []

    def due(self, now: int, here: Callable[[str], bool]) -> list[Word]:
        """The agents that have not come back in time. `here` says whether an agent has a tunnel."""
        late = [agent for agent, alarm in self._missed.items() if now >= self._due_at(alarm)]
        missed = [self._missed.pop(agent) for agent in late]
        words: list[Word] = [alarm for alarm in missed if not here(alarm.condition.subject)]
        self._open.update(word.condition for word in words)
        return words

    def _due_at(self, alarm: Alarm) -> int:
        return max(alarm.since + GRACE_SECONDS, self._began + START_SECONDS)

    def _left(self, notice: Notice) -> list[Word]:
        agent = notice.agent or ""
        if not notice.details.get("planned"):
            self._missed[agent] = _offline(notice.account, agent, notice.at)
            return []
        self._missed.pop(agent, None)
        condition = Condition(notice.account, AlertKind.AGENT_OFFLINE, agent + LEFT)
        self._open.add(condition)
        return [Alarm(condition, notice.at, About(agent=agent), quiet=True)]

    def _back(self, notice: Notice) -> list[Word]:
        agent = notice.agent or ""
        self._missed.pop(agent, None)
        said = self._end(notice, AlertKind.AGENT_OFFLINE, agent + LEFT, None)
        return said + self._end(notice, AlertKind.AGENT_OFFLINE, agent, AlertKind.AGENT_ONLINE)

    def _begin(self, notice: Notice, kind: AlertKind, subject: str) -> list[Word]:
        condition, forget_at = Condition(notice.account, kind, subject), None
        if kind is AlertKind.AGENT_CLONE:
            forget_at = notice.at + CLONE_SECONDS
        else:
            self._open.add(condition)
        return [Alarm(condition, notice.at, _about(notice, kind), forget_at)]

    def _end(self, notice: Notice, kind: AlertKind, subject: str, ended: AlertKind | None) -> list[Word]:
        condition = Condition(notice.account, kind, subject)
        if condition not in self._open:
            return []
        self._open.discard(condition)
        return [
            AllClear(
                condition,
                notice.at,
                ended,
                About(agent=notice.agent, connection=notice.connection, details=_plain(notice)),
            )
        ]


def with_remedy(kind: AlertKind, about: About) -> About:
    """What an alert tells, with what to do."""
    told = remedy_of(
        kind,
        agent=about.agent is not None,
        connection=about.connection is not None,
        code=about.details.get("code"),
        detail=str(about.details.get("store", "")),
    )
    words = {} if told is None else {"remedy": {"en": told.en, "fr": told.fr}}
    return About(agent=about.agent, connection=about.connection, details={**about.details, **words})


def _offline(account: str | None, agent: str, since: int) -> Alarm:
    condition = Condition(account, AlertKind.AGENT_OFFLINE, agent)
    return Alarm(condition, since, with_remedy(AlertKind.AGENT_OFFLINE, About(agent=agent)))


def _about(notice: Notice, kind: AlertKind) -> About:
    return with_remedy(kind, About(agent=notice.agent, connection=notice.connection, details=_plain(notice)))


def _plain(notice: Notice) -> dict[str, Any]:
    """Those of a notice's details that alerts tell."""
    return {name: notice.details[name] for name in ("store", "code", "instance") if name in notice.details}


def _subject(notice: Notice) -> str:
    subject = notice.connection or notice.agent or ""
    if notice.kind in {"store.unreachable", "store.reachable"}:
        return f"{subject} {notice.details.get('store', '')}"
    return subject
