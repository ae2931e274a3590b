"""deploy/examples/connector.py plays a hosted connector against a real relay, agent and shop."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.relay.conftest import database_flags
from tests.system.programs import AGENT, HOST, ROOT, Program
from tests.system.road import Road

CONNECTOR = str(ROOT / "deploy" / "examples" / "connector.py")
DOMAIN = "shop.test"


@pytest.fixture(params=["sqlite", "postgresql"])
def road(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Road]:
    with database_flags(request, request.param) as flags:
        road = Road(tmp_path, settings=flags)
        road.start_relay()
        yield road
        road.close()


def connector(road: Road, store_url: str, key: str, scope: str = "manage") -> tuple[Program, Path]:
    """It runs; the path is that of the agent's access token."""
    api_token, store_key, agent_token = (road.home / name for name in ("api.token", "store.key", "agent.token"))
    api_token.write_text(road.new_token(scope)[1])
    store_key.write_text(key)
    files = [str(api_token), store_url, str(store_key), str(agent_token)]
    return road.start("connector", [sys.executable, "-u", CONNECTOR, road.url, *files]), agent_token


def start_agent(road: Road, token_file: Path, shop_port: int) -> Program:
    """As the merchant does with what the connector shows."""
    command = [AGENT, "run", "--relay", road.url, "--token-file", str(token_file)]
    command += ["--state-dir", str(token_file.with_suffix(".state")), "--store", f"http://{DOMAIN}={HOST}:{shop_port}"]
    return road.start("agent", command)


def test_from_the_forms_to_the_products(road: Road) -> None:
    """Agent made, waited for, chosen; connection made from an address as people paste it, tested, used."""
    shop = road.start_shop("--domain", DOMAIN)
    address = f"http://{DOMAIN}/admin123/index.php?controller=AdminLogin"
    program, token_file = connector(road, address, shop.key)
    program.says("start it with")
    start_agent(road, token_file, shop.port)
    assert program.ends() == 0, program.tail()
    said = program.text()
    assert "agents to choose from: Shop Lyon" in said
    assert f"taken as http://{DOMAIN}" in said
    assert ": failed" not in said
    assert said.count(": passed") >= 5
    assert said.rpartition("products: ")[2].startswith('{"products":[{"id":')
    assert shop.key not in said
    (connection,) = road.api("GET", "/v1/connections").json["items"]
    assert connection["key_works"] is True
    assert connection["key_checked_at"] >= connection["key_set_at"]


def test_what_is_wrong_is_said(road: Road) -> None:
    """A key that the shop does not know: the step that failed, and what to do, and status 1."""
    shop = road.start_shop("--domain", DOMAIN)
    program, token_file = connector(road, f"http://{DOMAIN}", "K" * 32)
    program.says("start it with")
    start_agent(road, token_file, shop.port)
    assert program.ends() == 1, program.tail()
    failed = [line for line in program.text().splitlines() if ": failed" in line]
    assert len(failed) == 1
    assert "key" in failed[0]
    (connection,) = road.api("GET", "/v1/connections").json["items"]
    assert connection["key_works"] is False


def test_a_refusal_is_one_sentence(road: Road) -> None:
    """A token that may not: the problem's code and detail, no traceback."""
    program, _ = connector(road, "http://x.lan", "K" * 32, scope="read")
    assert program.ends() == 1
    assert program.text().strip().startswith("forbidden: ")
    assert len(program.text().strip().splitlines()) == 1
