"""docs/TROUBLES.md says what the code says."""

from __future__ import annotations

from relay.prestashop.diagnosis import Step
from relay.records import Mode
from tests.troubles import document
from tests.troubles.cells import CELLS


def test_the_document_is_that_of_the_code() -> None:
    """If this fails: `.venv/bin/python -m tests.troubles.document`."""
    assert document.FILE.read_text(encoding="utf-8") == document.text()


def test_every_code_has_a_row() -> None:
    """None that a report can have is missing from the document, and none in it is out of use."""
    assert document.codes() == document.every_code()


def test_every_trouble_is_tried_in_both_modes() -> None:
    """But those that only one can have; each has a name of its own, and a hop that there is."""
    assert len({cell.trouble for cell in CELLS}) == len(CELLS)
    assert {cell.step for cell in CELLS} <= set(Step)
    for mode in Mode:
        assert {cell.code for cell in CELLS if mode in cell.modes} == {cell.code for cell in CELLS}
