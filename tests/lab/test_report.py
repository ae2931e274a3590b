"""What is written of the rounds, and which bars a round missed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.lab.faults import FAULTS, IDLE_NOTICE_SECONDS, NOTICE_SECONDS, Fault, misses
from tests.lab.report import note, report
from tests.lab.verdict import LOST, Verdict

GOOD = Verdict(
    "a fault", agent_noticed=4.0, relay_noticed=5.0, recovered=0.1, settled=6.5, sent=200, failed=1, held=9, doubled=0,
    untrue=0, missing=0, reasons={LOST: 1},
)  # fmt: skip
SILENT = Fault("a fault", print, within=8.0, silent=True)


def test_a_good_round_misses_nothing() -> None:
    """Noticed in time, well in time, and a POST lost whose bytes had left."""
    assert misses(SILENT, GOOD) == []


@pytest.mark.parametrize(
    ("worse", "words"),
    [
        ({"doubled": 1}, "a POST reached the shop twice"),
        ({"untrue": 1}, "an answer said not_sent, and it was"),
        ({"missing": 1}, "an answer to what the shop never saw"),
        ({"recovered": None}, "no good answer afterwards"),
        ({"settled": 8.2}, "all well 0.2 s late"),
        ({"reasons": {LOST: 1, "GET 502 tunnel_lost": 1}}, "failed: GET 502 tunnel_lost"),
        ({"reasons": {"POST 503 agent_offline": 1}}, "failed: POST 503 agent_offline"),
        ({"agent_noticed": NOTICE_SECONDS + 0.1}, "agent noticed after 6.1 s"),
        ({"relay_noticed": None}, "relay noticed never"),
    ],
)
def test_each_bar_is_held_to(worse: dict[str, object], words: str) -> None:
    """One thing worse than it may be, and it is said in words."""
    assert misses(SILENT, replace(GOOD, **worse)) == [words]  # type: ignore[arg-type]  # each of its field's type


def test_slack_is_for_times_alone() -> None:
    """A busy machine may be late; it may not send twice."""
    late = replace(GOOD, settled=9.0, agent_noticed=7.0)
    assert len(misses(SILENT, late)) == 2
    assert misses(SILENT, late, slack=3.0) == []
    assert misses(SILENT, replace(late, doubled=1), slack=3.0) == ["a POST reached the shop twice"]


def test_what_must_cost_no_tunnel_is_held_to_that() -> None:
    """A frozen shop, a bad line: the tunnel stays."""
    assert misses(Fault("a fault", print, within=8.0, tunnels_stay=True), GOOD) == ["a tunnel was lost"]


def test_what_lasts_is_judged_from_its_end() -> None:
    """All well two seconds after a hole of five is in time."""
    assert misses(Fault("a fault", print, lasts=5.0), GOOD) == []


def test_the_rows_have_names_of_their_own_and_the_designs_bars() -> None:
    """Silent faults are noticed within 6 s where something is asked through what dies, within 15 s elsewhere."""
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    slow = {fault.name for fault in FAULTS if fault.silent and fault.notice > NOTICE_SECONDS}
    assert slow == {"spare tunnel's NAT mapping dies", "NAT mappings die, nobody asks"}
    assert all(fault.notice <= IDLE_NOTICE_SECONDS for fault in FAULTS)


def test_rounds_are_kept_in_a_file_and_reported_from_there(tmp_path: Path) -> None:
    """With their bars, though they were played in several runs."""
    bad = replace(GOOD, fault=FAULTS[0].name, doubled=1)
    for verdict in (replace(GOOD, fault=FAULTS[0].name), bad):
        note(verdict, tmp_path / "rounds.jsonl")
    rounds = [Verdict(**json.loads(line)) for line in (tmp_path / "rounds.jsonl").read_text().splitlines()]
    assert rounds[1] == bad
    told = report(rounds)
    assert f"- {FAULTS[0].name}, 1 of 2: a POST reached the shop twice" in told
    assert f"- {FAULTS[0].name}: {LOST} (1)" in told
