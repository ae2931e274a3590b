"""Who is told of what: after a grace, once while it lasts, that it is over, and never of what was announced."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from relay.alert_records import About, Alarm, AlertKind, AllClear, Condition, Ending, Expected, Running, Word
from relay.health.alert_expiry import DAY_SECONDS, behind, ending
from relay.health.alert_remedies import remedy_of
from relay.health.alert_rules import GRACE_SECONDS, START_SECONDS, Rules
from relay.health.feed import Notice

BEGAN = 1_760_000_000
LONG_AFTER = BEGAN + 10 * START_SECONDS
AGENT, ACCOUNT, CONNECTION = "agt_one", "acc_one", "con_one"
_ids = itertools.count()


def notice(kind: str, at: int = LONG_AFTER, connection: str | None = None, **details: Any) -> Notice:
    return Notice(next(_ids), at, kind, ACCOUNT, AGENT, connection, details)


def away(_agent: str) -> bool:
    return False


def told(words: list[Word]) -> list[tuple[str, str | None]]:
    """Begin or end, and which alert."""
    return [
        ("begin", None if word.quiet else word.condition.kind.value)
        if isinstance(word, Alarm)
        else ("end", word.kind and word.kind.value)
        for word in words
    ]


@pytest.fixture
def rules() -> Rules:
    return Rules(BEGAN)


def test_an_agent_that_is_gone_unexpectedly(rules: Rules) -> None:
    """Told after a minute without it, with the time since when and what to do; then that it is back."""
    assert rules.hear(notice("agent.offline", planned=False)) == []
    assert rules.due(LONG_AFTER + GRACE_SECONDS - 1, away) == []
    (alarm,) = rules.due(LONG_AFTER + GRACE_SECONDS, away)
    assert isinstance(alarm, Alarm)
    assert (alarm.condition, alarm.since) == (Condition(ACCOUNT, AlertKind.AGENT_OFFLINE, AGENT), LONG_AFTER)
    assert "postern-agent check" in alarm.about.details["remedy"]["en"]
    assert "postern-agent check" in alarm.about.details["remedy"]["fr"]
    assert rules.due(LONG_AFTER + 10 * GRACE_SECONDS, away) == []
    assert told(rules.hear(notice("agent.online", LONG_AFTER + 900))) == [("end", "agent.online")]
    assert rules.hear(notice("agent.online", LONG_AFTER + 901)) == []


def test_an_agent_that_is_back_soon_is_no_news(rules: Rules) -> None:
    """Neither that it went, nor that it came; fewer tunnels than wanted is being back."""
    for kind in ("agent.online", "agent.degraded"):
        rules.hear(notice("agent.offline", planned=False))
        assert rules.hear(notice(kind, LONG_AFTER + 30)) == []
        assert rules.due(LONG_AFTER + 10 * GRACE_SECONDS, away) == []


def test_a_tunnel_that_nobody_spoke_of_counts(rules: Rules) -> None:
    """An agent that has one is not offline."""
    rules.hear(notice("agent.offline", planned=False))
    assert rules.due(LONG_AFTER + GRACE_SECONDS, lambda agent: agent == AGENT) == []


def test_an_agent_that_said_goodbye(rules: Rules) -> None:
    """Put on record, so that a relay which begins meanwhile does not wait for it; nobody is told, then or later."""
    assert told(rules.hear(notice("agent.offline", planned=True))) == [("begin", None)]
    assert rules.due(LONG_AFTER + 100 * GRACE_SECONDS, away) == []
    assert told(rules.hear(notice("agent.online", LONG_AFTER + 60))) == [("end", None)]


def test_after_the_relays_own_start_agents_are_given_time(rules: Rules) -> None:
    """Those that were here before, and those that come and go while all of them dial."""
    rules.expect([Expected(ACCOUNT, AGENT, BEGAN - 3600), Expected(ACCOUNT, "agt_two", BEGAN - 3600)])
    rules.hear(notice("agent.online", BEGAN + 20))
    rules.hear(Notice(next(_ids), BEGAN + 5, "agent.offline", ACCOUNT, "agt_three", None, {"planned": False}))
    assert rules.due(BEGAN + START_SECONDS - 1, away) == []
    words = rules.due(BEGAN + START_SECONDS, away)
    assert {(word.condition.subject, word.since) for word in words if isinstance(word, Alarm)} == {
        ("agt_two", BEGAN - 3600),
        ("agt_three", BEGAN + 5),
    }


def test_what_was_told_before_a_restart_is_ended_after_it(rules: Rules) -> None:
    """What is on record is open; what is not needs no end."""
    rules.know([Condition(ACCOUNT, AlertKind.AGENT_OFFLINE, AGENT)])
    assert told(rules.hear(notice("agent.online"))) == [("end", "agent.online")]
    rules.know([])
    assert rules.hear(notice("agent.online")) == []


@pytest.mark.parametrize(
    ("begin", "end", "details", "subject"),
    [
        ("agent.flapping", "agent.steady", {}, AGENT),
        ("store.unreachable", "store.reachable", {"store": "shop.lan:80", "code": "store_refused"}, "shop.lan:80"),
        ("store.key_refused", "store.key_accepted", {"store": "shop.lan:80", "code": "key_unknown"}, CONNECTION),
    ],
)
def test_conditions_that_begin_and_end(
    rules: Rules, begin: str, end: str, details: dict[str, Any], subject: str
) -> None:
    """Each with its remedy; the end tells of the same subject, and only if there was a beginning."""
    connection = CONNECTION if "key" in begin else None
    assert rules.hear(notice(end, connection=connection, **details)) == []
    (alarm,) = rules.hear(notice(begin, connection=connection, **details))
    assert isinstance(alarm, Alarm)
    assert subject in alarm.condition.subject
    assert alarm.condition.kind.value == begin
    assert alarm.about.details["remedy"]["fr"]
    assert {name: alarm.about.details[name] for name in details} == details
    (clear,) = rules.hear(notice(end, connection=connection, **details))
    assert isinstance(clear, AllClear)
    assert (clear.condition, clear.kind) == (alarm.condition, AlertKind(end))


def test_two_stores_of_an_agent_are_two_conditions(rules: Rules) -> None:
    """One that is back says nothing of the other."""
    for store in ("a.lan:80", "b.lan:80"):
        rules.hear(notice("store.unreachable", store=store, code="store_dns"))
    assert told(rules.hear(notice("store.reachable", store="a.lan:80"))) == [("end", "store.reachable")]
    assert told(rules.hear(notice("store.reachable", store="a.lan:80"))) == []
    assert told(rules.hear(notice("store.reachable", store="b.lan:80"))) == [("end", "store.reachable")]


def test_clones_end_by_themselves(rules: Rules) -> None:
    """Nobody reports that a copy is gone."""
    (alarm,) = rules.hear(notice("agent.clone", instance="ins_one"))
    assert isinstance(alarm, Alarm)
    assert alarm.condition.subject == "ins_one"
    assert alarm.forget_at
    assert alarm.forget_at > LONG_AFTER + 3600


def test_other_notices_are_nobodys_alert(rules: Rules) -> None:
    """Tunnels come and go."""
    for kind in ("tunnel.up", "tunnel.down", "changed", "token.expiring", "agent.version_behind"):
        assert rules.hear(notice(kind)) == []


def one(days: float, kind: AlertKind = AlertKind.TOKEN_EXPIRING) -> Ending:
    return Ending(kind, ACCOUNT, "tok_one", BEGAN + int(days * DAY_SECONDS), About(details={"name": "ERP"}))


@pytest.mark.parametrize(("days", "stage"), [(30, 30), (29.5, 30), (7.1, 30), (7, 7), (1.01, 7), (1, 1), (0.01, 1)])
def test_what_ends_is_told_thirty_seven_and_one_days_before(days: float, stage: int) -> None:
    """Each of these is a condition of its own, remembered until the end is past."""
    alarm = ending(one(days), BEGAN)
    assert alarm
    assert alarm.about.details["days"] == stage
    assert alarm.condition.subject.endswith(f" {stage}")
    assert alarm.forget_at == BEGAN + int(days * DAY_SECONDS) + DAY_SECONDS
    assert alarm.about.details["remedy"]["en"]


@pytest.mark.parametrize("days", [30.1, 400, 0, -3])
def test_what_is_far_off_or_past_is_not_told(days: float) -> None:
    """What has ended shows by itself."""
    assert ending(one(days), BEGAN) is None


def test_a_token_that_was_renewed_is_another_condition() -> None:
    """Under the same id with another end, all is told again."""
    first, second = ending(one(6), BEGAN), ending(one(6.5), BEGAN)
    assert first
    assert second
    assert first.condition != second.condition


def test_versions_behind() -> None:
    """Numbers are compared, not letters; what cannot be compared is left alone."""
    versions = ["0.9.0", "0.10.1", "0.10.0", "0.11.0", "OpenSSH_9.2", "", "0.10"]
    running = [Running(ACCOUNT, AGENT, f"ins_{number}", version) for number, version in enumerate(versions)]
    assert [alarm.about.details["version"] for alarm in behind(running, "0.10.1", BEGAN)] == ["0.9.0", "0.10.0", "0.10"]
    assert behind(running, "unknown", BEGAN) == []


def test_every_alert_that_begins_says_what_to_do() -> None:
    """In both languages; those that end something do not."""
    ends = {AlertKind.AGENT_ONLINE, AlertKind.AGENT_STEADY, AlertKind.STORE_REACHABLE, AlertKind.STORE_KEY_ACCEPTED}
    for kind in AlertKind:
        for agent in (True, False):
            told = remedy_of(kind, agent=agent, connection=not agent, code="store_dns", detail="")
            assert (told is None) is (kind in ends)
            assert told is None or (told.en and told.fr and told.en != told.fr)
