"""Each trouble met in mode cloud: the relay calls the store itself."""

from __future__ import annotations

import pytest

from relay.gateway import direct
from relay.records import Mode
from tests.troubles.cells import CELLS, SILENT, Cell
from tests.troubles.cloud import Cloud
from tests.troubles.judging import check


@pytest.mark.parametrize("cell", [cell for cell in CELLS if Mode.CLOUD in cell.modes], ids=str)
async def test_each_trouble_has_its_name(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hop at which it shows, its own code, the sentence for it in two languages, and what would mend it."""
    if cell.host == SILENT:
        monkeypatch.setattr(direct, "DIAL_SECONDS", 0.5)
    cloud = Cloud()
    assert check(cell, await cloud.meet(cell), Mode.CLOUD) == cell.code
    cloud.close()
