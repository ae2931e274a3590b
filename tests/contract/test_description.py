"""The typed surface does what /openapi.json says, whatever it is asked (Schemathesis, fixed seed)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from relay.database.credentials import new_api_token
from tests.system.programs import BIN, Finished, finish
from tests.system.road import Road

SEED = "20261122"
SECONDS = 100.0  # for a run that takes 20 on a machine that does nothing else
CONFIGURATION = str(Path(__file__).with_name("schemathesis.toml"))


def schemathesis(
    road: Road, token: str, *options: str, own: str = "", known: Mapping[str, str] | None = None
) -> Finished:
    """Every operation of the running relay, asked with this token."""
    command = [str(BIN / "st"), "--config-file", CONFIGURATION, "--no-color", "run", f"{road.url}/openapi.json"]
    command += ["--url", road.url, "--header", f"Authorization: Bearer {token}", "--seed", SEED]
    command += ["--generation-database", "none", "--warnings", "off", *options]
    return finish(
        *command, seconds=SECONDS, variables={"POSTERN_OWN_TOKEN": own, "POSTERN_KNOWN": json.dumps(known or {})}
    )


def test_it_does_as_it_says(road: Road) -> None:
    """No undocumented status, header, media type or shape, no 5xx, nothing taken that should be refused.

    Whether all that fits the schema is taken is not asked: addresses and keys are understood, not patterned.
    """
    id_, token = road.new_token("manage")
    agent = road.new_agent()
    known = {"agent": agent.id, "connection": road.connect(agent.id, "http://shop.lan", "K" * 32).id}
    triggers = f"/v1/connections/{known['connection']}/triggers"
    known["trigger"] = road.api("POST", triggers, {"kind": "order-updated"}).json["id"]
    options = ["--exclude-checks", "positive_data_acceptance", "--max-examples", "20"]
    options += ["--exclude-tag", "actions", "--exclude-tag", "images", "--exclude-tag", "events"]
    done = schemathesis(road, token, *options, own=id_, known=known)
    assert done.status == 0, done.out
    assert road.api("GET", "/v1/agents", token=token).status == 200, "the run has ended its own token"
    assert '"level": "error"' not in road.relay.text(), road.relay.tail()


@pytest.mark.parametrize(
    "token", ["ptk_wrong", new_api_token().get_secret_value(), "K" * 32], ids=["mistyped", "unknown", "another kind"]
)
def test_a_wrong_token_gets_401_and_nothing_else(road: Road, token: str) -> None:
    """Mistyped, unknown, or of another kind: refused before anything of the request is looked at."""
    options = ["--checks", "only_401", "--phases", "examples,fuzzing", "--max-examples", "4"]
    options += ["--exclude-tag", "health", "--exclude-tag", "agent", "--exclude-tag", "events"]
    done = schemathesis(road, token, *options)
    assert done.status == 0, done.out
