"""The rules of enrolment, over facts of every kind."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agent.wire.limits import CLOCK_SKEW_SECONDS
from agent.wire.refusal import EnrolmentRefusal
from relay.database.enrolment_rules import (
    TAKE_OVER_SECONDS,
    Admitted,
    Facts,
    Holder,
    InstanceFacts,
    Kind,
    TokenFacts,
    check_clock,
    decide,
)
from relay.database.errors import EnrolmentRefused

NOW = 1_800_000_000
TOKEN = TokenFacts("atk_new", "agt_a", created_at=NOW - 10)
OLDER = TokenFacts("atk_old", "agt_a", created_at=NOW - 9 * TAKE_OVER_SECONDS)
KNOWN = InstanceFacts("agt_a", revoked=False, token=OLDER)
UNKNOWN_KEY = Facts(now=NOW, nonce_seen=False, shown=TOKEN, instance=None, agent_revoked=False, places=1, holders=())
KNOWN_KEY = dataclasses.replace(UNKNOWN_KEY, instance=KNOWN)

times = st.integers(NOW - 2 * TAKE_OVER_SECONDS, NOW + 2 * TAKE_OVER_SECONDS)
agents = st.sampled_from(["agt_a", "agt_b"])
tokens = st.builds(TokenFacts, st.sampled_from(["atk_1", "atk_2"]), agents, times, st.none() | times, st.booleans())
known = st.builds(InstanceFacts, agents, st.booleans(), tokens)
holders = st.lists(
    st.builds(Holder, st.text("abc", min_size=1, max_size=3), st.booleans(), times),
    max_size=4,
    unique_by=lambda holder: holder.id,
).map(tuple)
facts = st.builds(
    Facts, st.just(NOW), st.booleans(), st.none() | tokens, st.none() | known, st.booleans(), st.integers(1, 4), holders
)


def refusal_of(facts: Facts) -> EnrolmentRefusal | None:
    try:
        decide(facts)
    except EnrolmentRefused as error:
        return error.refusal
    return None


@given(facts=facts)
def test_whoever_is_admitted_may_be(facts: Facts) -> None:
    """No admission without a valid token or a known key; none for what is revoked; none beyond the places."""
    try:
        admitted = decide(facts)
    except EnrolmentRefused:
        return
    assert not facts.nonce_seen
    assert not facts.agent_revoked
    assert facts.instance is None or not facts.instance.revoked
    assert facts.shown is None or not facts.shown.revoked
    if admitted.kind is Kind.RENEWAL:
        assert facts.instance is not None
        assert facts.instance.agent == admitted.agent
        assert admitted.displaced is None
        assert admitted.token in {facts.instance.token.id, facts.shown.id if facts.shown else None}
        return
    assert facts.shown is not None
    assert facts.shown.expires_at is None or facts.shown.expires_at > NOW
    assert (admitted.agent, admitted.token) == (facts.shown.agent, facts.shown.id)
    kept = [holder for holder in facts.holders if holder.id != admitted.displaced]
    if admitted.kind is Kind.FIRST:
        assert len(facts.holders) < facts.places
    else:
        taken = next(holder for holder in facts.holders if holder.id == admitted.displaced)
        assert not taken.online
        assert NOW - facts.shown.created_at < TAKE_OVER_SECONDS
        assert all(taken.last_seen_at <= other.last_seen_at for other in kept if not other.online)
        assert len(kept) == len(facts.holders) - 1


@given(facts=facts)
def test_a_place_that_is_held_online_is_never_taken(facts: Facts) -> None:
    """Whoever is online stays, whatever token comes."""
    assume(all(holder.online for holder in facts.holders))
    with contextlib.suppress(EnrolmentRefused):
        assert decide(facts).displaced is None


@pytest.mark.parametrize(
    ("facts", "token"),
    [
        (KNOWN_KEY, "atk_new"),
        (dataclasses.replace(KNOWN_KEY, shown=None), "atk_old"),
        (dataclasses.replace(KNOWN_KEY, shown=dataclasses.replace(TOKEN, expires_at=NOW)), "atk_old"),
        (
            dataclasses.replace(
                KNOWN_KEY,
                shown=None,
                instance=dataclasses.replace(KNOWN, token=dataclasses.replace(OLDER, expires_at=1)),
            ),
            "atk_old",
        ),
        (dataclasses.replace(KNOWN_KEY, places=1, holders=(Holder("x", True, NOW),) * 3), "atk_new"),
        (
            dataclasses.replace(
                KNOWN_KEY, instance=dataclasses.replace(KNOWN, token=dataclasses.replace(OLDER, revoked=True))
            ),
            "atk_new",
        ),
    ],
    ids=["with a token", "without", "with an expired one", "on an expired one", "without places", "off a revoked one"],
)
def test_known_key_renews(facts: Facts, token: str) -> None:
    """With or without a token, whatever has expired, however few places there are; it belongs to the token shown."""
    assert decide(facts) == Admitted(Kind.RENEWAL, "agt_a", token)


@pytest.mark.parametrize(
    ("changed", "refusal"),
    [
        ({"nonce_seen": True}, EnrolmentRefusal.NONCE_REUSED),
        ({"agent_revoked": True}, EnrolmentRefusal.AGENT_REVOKED),
        ({"shown": None}, EnrolmentRefusal.INSTANCE_UNKNOWN),
        ({"shown": dataclasses.replace(TOKEN, revoked=True)}, EnrolmentRefusal.TOKEN_REVOKED),
        ({"shown": dataclasses.replace(TOKEN, expires_at=NOW)}, EnrolmentRefusal.TOKEN_EXPIRED),
        ({"instance": dataclasses.replace(KNOWN, revoked=True)}, EnrolmentRefusal.INSTANCE_REVOKED),
        (
            {"shown": None, "instance": dataclasses.replace(KNOWN, token=dataclasses.replace(OLDER, revoked=True))},
            EnrolmentRefusal.TOKEN_REVOKED,
        ),
        ({"instance": KNOWN, "shown": dataclasses.replace(TOKEN, revoked=True)}, EnrolmentRefusal.TOKEN_REVOKED),
        ({"holders": (Holder("x", True, NOW),)}, EnrolmentRefusal.INSTANCE_LIMIT),
        ({"holders": (Holder("x", False, 0),), "shown": OLDER}, EnrolmentRefusal.INSTANCE_LIMIT),
    ],
)
def test_refusals(changed: dict[str, Any], refusal: EnrolmentRefusal) -> None:
    """Each reason has its own word."""
    assert refusal_of(dataclasses.replace(UNKNOWN_KEY, **changed)) is refusal


def test_take_over_lasts_an_hour() -> None:
    """A token that was made within the hour takes the place of whoever has been offline longest; then no more."""
    offline = (Holder("b", False, NOW - 5), Holder("a", False, NOW - 50), Holder("c", True, NOW - 500))
    crowded = dataclasses.replace(UNKNOWN_KEY, places=3, holders=offline)
    for age, outcome in ((TAKE_OVER_SECONDS - 1, None), (TAKE_OVER_SECONDS, EnrolmentRefusal.INSTANCE_LIMIT)):
        shown = dataclasses.replace(TOKEN, created_at=NOW - age)
        assert refusal_of(dataclasses.replace(crowded, shown=shown)) is outcome
    assert decide(crowded) == Admitted(Kind.TAKE_OVER, "agt_a", "atk_new", displaced="a")


def test_key_of_another_agent_needs_a_place() -> None:
    """An installation that shows another agent's token moves there only if that agent has a place for it."""
    moving = dataclasses.replace(KNOWN_KEY, instance=InstanceFacts("agt_b", revoked=False, token=OLDER))
    assert decide(moving) == Admitted(Kind.FIRST, "agt_a", "atk_new")
    assert refusal_of(dataclasses.replace(moving, holders=(Holder("x", True, NOW),))) is EnrolmentRefusal.INSTANCE_LIMIT


@given(skew=st.integers(-(10**9), 10**9) | st.integers(-3700, 3700))
def test_clock(skew: int) -> None:
    """Within an hour either way; beyond it the answer says by how much the agent is ahead."""
    if abs(skew) <= CLOCK_SKEW_SECONDS:
        check_clock(NOW + skew, NOW)
        return
    with pytest.raises(EnrolmentRefused, match="ahead" if skew > 0 else "behind") as refused:
        check_clock(NOW + skew, NOW)
    assert refused.value.extras == {"skew_seconds": skew}
