"""docs/TROUBLES.md says what the code says."""

from __future__ import annotations

import ast
import inspect
import re
from types import ModuleType

from relay.prestashop import connection_test, diagnosis, hops
from relay.prestashop.diagnosis import Step
from relay.prestashop.remedies import NOTES
from relay.records import Mode
from tests.troubles import document
from tests.troubles.cells import CELLS


def test_the_document_is_that_of_the_code() -> None:
    """If this fails: `.venv/bin/python -m tests.troubles.document`."""
    assert document.FILE.read_text(encoding="utf-8") == document.text()


def test_every_code_has_a_row() -> None:
    """None that a report can have is missing from the document, and none in it is out of use."""
    assert document.codes() == document.every_code()


def test_every_code_that_is_written_has_a_row() -> None:
    """Whatever the walk and the diagnosis may call a trouble is produced by a cell: a new code needs one."""
    written = {word for module in (connection_test, diagnosis, hops) for word in codes_in(module)}
    written |= {f"agent_{state}" for state in ("unknown", "revoked")}
    assert written - set(NOTES) == {code for code in document.codes() - {"relay_fault"} if "_" in code}


def test_every_trouble_is_tried_in_both_modes() -> None:
    """But those that only one can have; each has a name of its own, and a hop that there is."""
    assert len({cell.trouble for cell in CELLS}) == len(CELLS)
    assert {cell.step for cell in CELLS} <= set(Step)
    for mode in Mode:
        assert {cell.code for cell in CELLS if mode in cell.modes} == {cell.code for cell in CELLS}


def codes_in(module: ModuleType) -> set[str]:
    """The words with an underscore that stand alone in a text of the module; ids begin with `con_`."""
    tree = ast.parse(inspect.getsource(module))
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {text for text in texts if re.fullmatch(r"(?!con_)[a-z]+(_[a-z]+)+", text)}
