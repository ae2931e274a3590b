"""Actions do what /openapi.json says, with a shop and an agent behind them (Schemathesis, fixed seed)."""

from __future__ import annotations

import pytest

from tests.contract.test_description import schemathesis
from tests.system.programs import HOST
from tests.system.road import Road

DOMAIN = "shop.test"


@pytest.fixture(scope="module")
def connection(road: Road) -> str:
    """A connection whose shop answers."""
    shop = road.start_shop("--domain", DOMAIN)
    entry = road.new_agent()
    road.start_agent(entry, [f"http://{DOMAIN}={HOST}:{shop.port}"])
    return road.connect(entry.id, f"http://{DOMAIN}", shop.key).id


def test_actions_do_as_they_say(road: Road, connection: str) -> None:
    """No undocumented status, header, media type or shape of what a shop's rows become, and no 5xx."""
    id_, token = road.new_token("forward")
    options = ["--exclude-checks", "positive_data_acceptance", "--max-examples", "20", "--include-tag", "actions"]
    done = schemathesis(road, token, *options, own=id_, known={"connection": connection})
    assert done.status == 0, done.out
    assert '"level": "error"' not in road.relay.text(), road.relay.tail()
