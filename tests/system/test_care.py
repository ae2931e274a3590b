"""The store is not hurt, and nobody waits for an export: a sync and lookups through a relay, its agent and a store."""

from __future__ import annotations

import pytest

from tests.system.care import LOOKUP_BAR, SYNC_BAR, measure
from tests.system.road import NewRoad

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]

WORKERS, ROWS, PRODUCTS = 4, 25, 8_000
NOISE = 1.5  # what a short run and other programs may add to either ratio; `python -m tests.system.care` has the bars


async def test_a_sync_and_lookups(new_road: NewRoad) -> None:
    """A sync takes hardly longer than with the best fixed setting for that store, makes it fail only at first, and
    leaves room for lookups.
    """
    measured = await measure(new_road("care"), WORKERS, rows=ROWS, products=PRODUCTS, idle_lookups=8, least_seconds=20)
    told = str(measured)
    assert measured.late_errors == 0, told
    assert measured.errors <= 6, told
    assert measured.sync_ratio <= SYNC_BAR * NOISE, told
    assert measured.lookup_ratio <= LOOKUP_BAR * NOISE, told
