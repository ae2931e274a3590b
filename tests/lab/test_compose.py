"""deploy/compose.yaml, read by a YAML parser."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from relay.settings import Settings
from tests.lab.machine import Machine, running
from tests.lab.parties import ROOT

pytestmark = pytest.mark.lab

READ = "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin)))"


@pytest.fixture(scope="module")
def composed(ground: Path) -> Any:
    machine = Machine("reader")
    with running(machine):
        return json.loads(machine.run("python3", "-c", READ, text=(ROOT / "deploy/compose.yaml").read_text()).stdout)


def test_it_builds_and_mounts_what_is_there(composed: Any) -> None:
    """Each file that it names exists, seen from deploy/, and each named volume is declared."""
    deploy = ROOT / "deploy"
    build = composed["services"]["relay"]["build"]
    assert (deploy / build["context"] / build["dockerfile"]).is_file()
    sources = [volume.split(":")[0] for service in composed["services"].values() for volume in service["volumes"]]
    assert all((deploy / source).is_file() for source in sources if source.startswith("."))
    assert {source for source in sources if not source.startswith(".")} == set(composed["volumes"])


def test_the_relay_gets_settings_that_exist_and_no_rights(composed: Any) -> None:
    """Its variables are settings, its ports are those that the image opens to agents, its root is read-only."""
    relay = composed["services"]["relay"]
    names = {name.removeprefix("POSTERN_RELAY_").lower() for name in relay["environment"]}
    assert names <= set(Settings.model_fields)
    assert relay["ports"] == ["2222:2222"]
    assert (relay["read_only"], relay["cap_drop"]) == (True, ["ALL"])


def test_the_proxy_is_told_what_its_file_asks(composed: Any) -> None:
    """The names that the Caddyfile reads from the environment are those that the service sets."""
    asked = set(re.findall(r"\{\$(\w+)[:}]", (ROOT / "deploy/examples/Caddyfile").read_text()))
    assert asked == set(composed["services"]["proxy"]["environment"])
