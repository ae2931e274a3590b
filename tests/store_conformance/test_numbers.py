"""No assertion is missing."""

from __future__ import annotations

import re
from pathlib import Path

from tests.store_conformance.numbers import ALL, CHANGED_BY_A_RELAY

HERE = Path(__file__).parent


def test_every_assertion_has_its_test() -> None:
    """Each number from 1 to 90, and 39a, is that of exactly one test."""
    found = [number for path in HERE.glob("test_*.py") for number in re.findall(r"def test_(\d+a?)_", path.read_text())]
    assert sorted(found) == sorted(ALL)
    assert set(CHANGED_BY_A_RELAY) <= ALL
