"""When the other end of a tunnel is asked, and when it is given up."""

from __future__ import annotations

import pytest

from agent.wire.pulse import PATIENCE_SECONDS, PROBE_SECONDS, SILENCE_SECONDS, Pulse, Verdict

STEP = 0.25
WELL, ASK, DEAD = Verdict.WELL, Verdict.ASK, Verdict.DEAD


def measured(at: float = 0.0) -> Pulse:
    """Of a tunnel that has answered once."""
    pulse = Pulse(at)
    assert pulse.judge(at) is ASK, "a new tunnel is measured at once"
    pulse.answer(at, at + 0.02)
    return pulse


def until(pulse: Pulse, wanted: Verdict, now: float, *, limit: float = 60.0, full: bool = False) -> float:
    """The moment at which the pulse comes to that verdict, looked at every STEP."""
    ends = now + limit
    while pulse.judge(now, full=full) is not wanted:
        now += STEP
        assert now < ends, f"never {wanted}"
    return now


def test_an_idle_tunnel_is_asked_when_it_was_silent_for_long() -> None:
    """Every five seconds; what comes puts it off."""
    pulse = measured()
    assert until(pulse, ASK, 1.0) == pytest.approx(5.0, abs=STEP + 0.03)
    pulse = measured()
    pulse.hear(4.0)
    assert until(pulse, ASK, 4.0) == pytest.approx(9.0, abs=STEP)


def test_a_silent_idle_tunnel_is_dead_within_fifteen_seconds() -> None:
    """Two questions without an answer, and not one alone."""
    pulse = measured()
    first = until(pulse, ASK, 1.0)
    second = until(pulse, ASK, first + STEP)
    dead = until(pulse, DEAD, second + STEP)
    assert second - first == pytest.approx(PATIENCE_SECONDS, abs=STEP)
    assert first < dead <= 15.0


def test_a_path_that_dies_under_traffic_is_dead_within_six_seconds() -> None:
    """Counted from the last byte that came; the looks in between come late by STEP each."""
    pulse = measured()
    pulse.hear(10.0)
    pulse.send(10.0 + STEP)
    asked = until(pulse, ASK, 10.0 + STEP)
    assert asked == pytest.approx(10.0 + SILENCE_SECONDS, abs=2 * STEP)
    assert until(pulse, DEAD, asked + STEP) - 10.0 <= 6.0


def test_who_wants_to_know_is_told_soon() -> None:
    """However busy the tunnel is: asked at the next look, once; no suspicion, and the last answer stands."""
    pulse = measured()
    pulse.hear(1.0)
    pulse.want()
    assert not pulse.doubtful
    assert pulse.judge(1.0 + STEP) is ASK
    assert pulse.judge(1.0 + 2 * STEP) is WELL
    pulse.answer(1.0 + STEP, 1.0 + STEP + 0.4)
    assert pulse.lap == pytest.approx(0.4)
    assert pulse.measured_at == pytest.approx(1.65)
    assert pulse.round_trip == pytest.approx(0.02 + (0.4 - 0.02) / 8)
    assert pulse.judge(2.0) is WELL


def test_an_answer_ends_the_suspicion() -> None:
    """A store that is silent is none of the tunnel's business: one question, and that was it."""
    pulse = measured()
    pulse.send(10.0)
    pulse.hear(9.9)
    pulse.send(10.0)
    asked = until(pulse, ASK, 10.0)
    pulse.answer(asked, asked + 0.05)
    assert not pulse.doubtful
    assert until(pulse, ASK, asked + STEP) - asked > 4.5, "not before the usual question"


def test_suspected_from_outside_it_is_asked_at_once() -> None:
    """And doubted until something comes."""
    pulse = measured()
    pulse.hear(10.0)
    assert pulse.judge(10.1) is WELL
    pulse.suspect()
    assert pulse.doubtful
    assert pulse.judge(10.1) is ASK
    assert until(pulse, DEAD, 10.1) - 10.1 == pytest.approx(2 * PROBE_SECONDS, abs=2 * STEP)


def test_a_question_under_way_is_hurried_by_a_suspicion() -> None:
    """The keepalive's patience is no excuse any more."""
    pulse = measured()
    asked = until(pulse, ASK, 5.0)
    pulse.suspect()
    assert until(pulse, DEAD, asked + STEP) - asked <= 2 * PROBE_SECONDS + 2 * STEP


def test_behind_a_full_line_a_question_has_more_time() -> None:
    """It waits in line behind what is unsent: a slow line is not a dead one."""
    pulse = measured()
    pulse.hear(10.0)
    pulse.suspect()
    assert pulse.judge(10.1, full=True) is ASK
    assert until(pulse, DEAD, 10.1, full=True) - 10.1 == pytest.approx(2 * PATIENCE_SECONDS, abs=2 * STEP)


def test_who_slept_itself_asks_afresh() -> None:
    """The answers may lie unread: nobody is dead because we did not look."""
    pulse = measured()
    asked = until(pulse, ASK, 5.0)
    pulse.oversleep(asked + 300)
    assert pulse.judge(asked + 300) is ASK
    assert pulse.judge(asked + 300 + STEP) is WELL
    assert until(pulse, DEAD, asked + 300) - (asked + 300) == pytest.approx(2 * PROBE_SECONDS, abs=2 * STEP)


def test_the_round_trip_is_smoothed() -> None:
    """The first one counts whole, each later one an eighth."""
    pulse = Pulse(0.0)
    assert pulse.round_trip is None
    pulse.answer(1.0, 1.08)
    assert pulse.round_trip == pytest.approx(0.08)
    pulse.answer(2.0, 2.16)
    assert pulse.round_trip == pytest.approx(0.09)
