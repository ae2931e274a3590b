"""What the report of a cell must hold, whichever way led to the store."""

from __future__ import annotations

import json

from relay.prestashop.diagnosis import Step
from relay.prestashop.remedies import REMEDIES, UNVERIFIED
from relay.records import Mode
from tests.troubles.cells import Cell
from tests.troubles.premises import Met

ON_THE_WAY = {
    Mode.CLOUD: [Step.NAME, Step.TCP],
    Mode.ON_PREMISE: [Step.AGENT, Step.ONLINE, Step.PUBLISHED, Step.NAME, Step.TCP],
}


def check(cell: Cell, met: Met, mode: Mode) -> str:
    """The code that the report names. AssertionError unless it says where, what to do, and keeps the key to itself."""
    report, failed = met.report, met.failed
    assert report["ok"] is False
    assert failed["name"] == cell.step, failed
    assert cell.detail in failed["detail"]
    sentences = REMEDIES.get(cell.code, UNVERIFIED).about(failed["detail"])
    assert failed["remedy"] == {"en": sentences.en, "fr": sentences.fr}
    assert "{" not in sentences.en + sentences.fr
    offer = {name: text.format(authority=met.authority) for name, text in (cell.offer or {}).items()}
    assert report["offer"] == (offer or None)
    assert (report["shop"], report["permissions"], report["notes"]) == (None, None, [])
    check_steps(cell, met, mode)
    assert met.key not in json.dumps(report)
    return str(failed["code"])


def check_steps(cell: Cell, met: Met, mode: Mode) -> None:
    """All hops before the failed one have passed (those of the mode), none behind it."""
    names = list(met.steps)
    assert names == [step.value for step in Step]
    at = names.index(cell.step)
    passed = [name for name, step in met.steps.items() if step["status"] == "passed"]
    way = [*ON_THE_WAY[mode], *([Step.TLS] if met.report and _secure(cell) else []), *list(Step)[6:]]
    expected = [step.value for step in way if names.index(step) < at]
    if (cell.step, cell.code) == ("tcp", "store_timeout"):
        expected.remove("name")
    assert passed == expected
    assert all(step["ms"] is None or step["ms"] >= 0 for step in met.steps.values())
    assert all(met.steps[name]["status"] == "skipped" for name in names[at + 1 :])
    assert all(not step["code"] and not step["remedy"] for step in met.steps.values() if step["status"] != "failed")


def _secure(cell: Cell) -> bool:
    return cell.host == "secure.test"
