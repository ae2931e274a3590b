"""What the judge of the faults counts."""

from tests.lab.traffic import Fate
from tests.lab.verdict import Verdict, failures, table


def fate(number: int, begin: float, seconds: float, status: int = 200, outcome: str = "") -> Fate:
    """A GET if the number is even, else a POST."""
    return Fate(number, "POST" if number % 2 else "GET", begin, begin + seconds, status, "" if status else "X", outcome)


def judged(*fates: Fate, seen: tuple[int, ...] = ()) -> Verdict:
    return Verdict.of("a fault", 100.0, fates, seen, agent_noticed=103.0, relay_noticed=None)


def test_an_untroubled_round_has_nothing_to_tell() -> None:
    """Where every request is answered at once, nothing failed, nothing was held, and there was nothing to settle."""
    verdict = judged(fate(0, 99, 0.1), fate(1, 100.5, 0.1), seen=(0, 1))
    assert (verdict.failed, verdict.held, verdict.doubled, verdict.untrue) == (0, 0, 0, 0)
    assert verdict.settled is None
    assert verdict.recovered is not None
    assert round(verdict.recovered, 1) == 0.6


def test_what_waited_is_held_and_what_failed_is_failed() -> None:
    """Recovery is the first good answer to a request begun after the fault; settling the end of the last sufferer."""
    verdict = judged(fate(0, 99.9, 4, status=502), fate(2, 101, 4), fate(4, 102, 6), fate(6, 109, 0.1))
    assert (verdict.failed, verdict.held) == (1, 2)
    assert (verdict.recovered, verdict.settled) == (5.0, 8.0)
    assert (verdict.agent_noticed, verdict.relay_noticed) == (3.0, None)


def test_a_post_that_arrived_twice_is_doubled() -> None:
    """A GET may be repeated, a POST never, whatever its answer was."""
    verdict = judged(fate(0, 101, 0.1), fate(1, 101, 0.1, status=502), seen=(0, 0, 1, 1))
    assert verdict.doubled == 1


def test_an_answer_that_says_not_sent_is_held_to_it() -> None:
    """`not_sent` is untrue if the shop has seen the request."""
    fates = (fate(1, 101, 1, status=503, outcome="not_sent"), fate(3, 101, 1, status=503, outcome="not_sent"))
    assert judged(*fates, seen=(3,)).untrue == 1


def test_a_good_answer_to_what_the_shop_never_saw_is_missing() -> None:
    """So that a record in which nothing is found cannot pass for a shop that got nothing twice."""
    assert judged(fate(0, 101, 0.1), fate(1, 101, 0.1), fate(3, 101, 0.1, status=502), seen=(0,)).missing == 1


def test_the_table_has_the_median_and_the_worst() -> None:
    """One row per fault; what differs between rounds shows its worst."""
    rows = table([judged(fate(0, 101, s)) for s in (2.0, 3.0, 7.0)]).splitlines()
    assert len(rows) == 3
    assert rows[2] == "| a fault | 3.0 s | - | 4.0 s (8.0) | 4.0 s (8.0) | 1 | 0 | 0 | 1 | 0 | 0 |"


def test_failures_are_told_by_their_way() -> None:
    """Each way a request failed, with the least and the most of it in a round."""
    rounds = [
        judged(fate(0, 101, 1, status=504)),
        judged(fate(0, 101, 1, status=504), fate(2, 101, 1, status=504)),
        judged(),
    ]
    assert failures(rounds) == "- a fault: GET 504 (0 to 2)"
    assert failures([judged()]) == "Nothing."
