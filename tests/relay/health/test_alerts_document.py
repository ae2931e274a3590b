"""docs/ALERTS.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from relay.alert_records import AlertKind
from relay.database.alerts import ALERTS_MOST
from relay.health.alert_expiry import STAGES
from relay.health.alert_rules import CLONE_SECONDS, GRACE_SECONDS, START_SECONDS
from relay.health.store_schedule import A_SECOND, AGENT_SECONDS, BARE_SECONDS, CONFIRM_SECONDS, KEYED_SECONDS

TEXT = (Path(__file__).parents[3] / "docs" / "ALERTS.md").read_text(encoding="utf-8")


def test_every_kind_has_a_row() -> None:
    """Those that begin something in the first column, those that end it in the last; no others."""
    rows = re.findall(r"^\| `([a-z_.]+)` \|.*\| (?:`([a-z_.]+)` )?\|$", TEXT, re.MULTILINE)
    assert {kind for row in rows for kind in row if kind} == {kind.value for kind in AlertKind}


def test_the_numbers_in_the_text_are_those_of_the_code() -> None:
    """Whoever changes one finds the sentence that says it."""
    assert (GRACE_SECONDS, START_SECONDS, CLONE_SECONDS) == (60, 180, 2 * 3600)
    assert (sorted(STAGES), ALERTS_MOST) == ([1, 7, 30], 20)
    assert (BARE_SECONDS, KEYED_SECONDS, CONFIRM_SECONDS, A_SECOND, AGENT_SECONDS) == (60, 900, 10, 50, 6)
