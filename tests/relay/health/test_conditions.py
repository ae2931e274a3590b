"""How an agent is said to do: from its tunnels and the time alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from relay.health.conditions import FLAP_SECONDS, FLAPS, SHORT_SECONDS, AgentState, Condition, Standing

BOTH = Standing(2, 2, short=False)
ONE = Standing(1, 1, short=True)
MUTE = Standing(2, 0, short=True)
NONE = Standing(0, 0, short=False)


def test_with_all_tunnels_it_is_online() -> None:
    """Since the moment at which it became so; looking again is no news."""
    condition = Condition(100.0)
    assert condition.look(110.0, BOTH)
    assert (condition.state, condition.since) == (AgentState.ONLINE, 110.0)
    assert not condition.look(500.0, BOTH)
    assert (condition.since, condition.settled) == (110.0, True)


def test_with_fewer_tunnels_it_is_degraded_after_a_while() -> None:
    """Not while it has just dialled, and not where the second tunnel comes in time."""
    condition = Condition(100.0)
    condition.look(100.0, ONE)
    assert (condition.state, condition.settled) == (AgentState.ONLINE, False)
    assert not condition.look(99.9 + SHORT_SECONDS, ONE)
    assert condition.look(100.0 + SHORT_SECONDS, ONE)
    assert (condition.state, condition.settled) == (AgentState.DEGRADED, True)
    assert condition.look(200.0, BOTH)
    assert condition.state is AgentState.ONLINE
    condition.look(300.0, ONE)
    condition.look(310.0, BOTH)
    assert not condition.look(310.0 + SHORT_SECONDS, ONE)


def test_tunnels_that_do_not_answer_prove_nothing() -> None:
    """They stand, so it is not offline; it is degraded at once."""
    condition = Condition(100.0)
    condition.look(100.0, BOTH)
    assert condition.look(101.0, MUTE)
    assert condition.state is AgentState.DEGRADED


def test_without_tunnels_it_is_offline() -> None:
    """And it is known whether somebody had said so before."""
    condition = Condition(100.0)
    condition.look(100.0, BOTH)
    condition.gone(110.0, planned=False)
    assert condition.look(110.0, NONE)
    assert (condition.state, condition.planned) == (AgentState.OFFLINE, False)
    condition.look(120.0, BOTH)
    condition.gone(130.0, planned=True)
    condition.look(130.0, NONE)
    assert (condition.state, condition.planned) == (AgentState.OFFLINE, True)


def test_a_line_that_breaks_again_and_again_is_unsteady() -> None:
    """Three losses within five minutes; both tunnels of one moment are one; planned ends are none."""
    condition = Condition(0.0)
    condition.look(0.0, BOTH)
    for start in (10.0, 100.0):
        for moment in (start, start + 1):
            condition.gone(moment, planned=False)
        condition.look(start + 2, BOTH)
    condition.gone(150.0, planned=True)
    condition.look(150.0, BOTH)
    assert (condition.flapping, condition.state) == (False, AgentState.ONLINE)
    condition.gone(200.0, planned=False)
    assert condition.look(201.0, BOTH)
    assert (condition.flapping, condition.state, condition.settled) == (True, AgentState.DEGRADED, False)
    assert not condition.look(199.0 + FLAP_SECONDS, BOTH)
    assert condition.look(200.0 + FLAP_SECONDS, BOTH)
    assert (condition.flapping, condition.state, condition.settled) == (False, AgentState.ONLINE, True)


def test_losses_far_apart_are_no_flapping() -> None:
    """Three in more than five minutes are weather."""
    condition = Condition(0.0)
    for loss in range(FLAPS * 3):
        condition.gone(loss * FLAP_SECONDS / 2, planned=False)
        condition.look(loss * FLAP_SECONDS / 2, BOTH)
        assert not condition.flapping


@given(
    st.lists(
        st.tuples(
            st.floats(0.1, 400.0),
            st.sampled_from([BOTH, ONE, MUTE, NONE]),
            st.booleans(),
            st.sampled_from([None, True]),
        ),
        max_size=60,
    )
)
def test_whatever_happens_the_state_follows_from_what_stands(
    steps: list[tuple[float, Standing, bool, bool]],
) -> None:
    """Offline exactly without tunnels; online only with one that answers; `since` moves with the state alone; what
    nobody looks at for an hour is the same after one look as after many."""
    condition, now = Condition(0.0), 0.0
    for seconds, standing, planned, lost in steps:
        now += seconds
        before = condition.state, condition.since
        if lost:
            condition.gone(now, planned=planned)
        condition.look(now, standing)
        assert (condition.state is AgentState.OFFLINE) is (standing.tunnels == 0)
        assert condition.state is not AgentState.ONLINE or standing.proved
        assert (condition.since == now) if condition.state is not before[0] else (condition.since == before[1])
        if condition.settled:
            state = condition.state
            assert not condition.look(now + 0.001, standing)
            assert condition.state is state
