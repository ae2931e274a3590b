"""What ends soon, or is out of date, and when that is told: thirty days before, seven, and one. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from relay.alert_records import About, Alarm, AlertKind, Condition, Ending, Running
from relay.health.alert_rules import with_remedy
from relay.health.versions import is_older

DAY_SECONDS = 86_400
STAGES = (1, 7, 30)
"""Days before the end; of those that have come, the last one is told."""
SOON_SECONDS = max(STAGES) * DAY_SECONDS
BEHIND_SECONDS = 400 * DAY_SECONDS
"""How long it is remembered that an instance's version was told."""


def ending(one: Ending, now: int) -> Alarm | None:
    """What is told of it now; None: it is not near its end, or past it."""
    left = one.ends_at - now
    stage = next((days for days in STAGES if 0 < left <= days * DAY_SECONDS), None)
    if stage is None:
        return None
    condition = Condition(one.account, one.kind, f"{one.subject} {one.ends_at} {stage}")
    details = {"subject": one.subject, "expires_at": one.ends_at, "days": stage, **one.about.details}
    about = About(agent=one.about.agent, connection=one.about.connection, details=details)
    return Alarm(condition, now, with_remedy(one.kind, about), forget_at=one.ends_at + DAY_SECONDS)


def behind(instances: Iterable[Running], version: str, now: int) -> list[Alarm]:
    """One for each instance whose version is older than the relay's; versions that cannot be compared are not told."""
    found = []
    for each in instances:
        if is_older(each.version, version):
            condition = Condition(each.account, AlertKind.AGENT_VERSION_BEHIND, f"{each.instance} {each.version}")
            details = {"instance": each.instance, "version": each.version, "relay_version": version}
            about = with_remedy(condition.kind, About(agent=each.agent, details=details))
            found.append(Alarm(condition, now, about, forget_at=now + BEHIND_SECONDS))
    return found
