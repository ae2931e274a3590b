"""Whatever the description lists, an account gets of another one what it gets of nothing: operation by operation."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from relay.api import document
from tests.system import hostile
from tests.system.caller import Answer
from tests.system.road import Road

DOCUMENT = document()
NOBODYS = "a" * 16
STORE_KEY = "K" * 32
FORM = {
    "name": "New",
    "mode": "on-premise",
    "agent": "{agent}",
    "store_url": "http://shop.lan",
    "api_key": STORE_KEY,
}
BODIES: dict[str, Mapping[str, Any]] = {
    "update_agent": {"name": "Mine"},
    "update_connection": {"name": "Mine"},
    "update_token": {"name": "Mine"},
    "update_account": {"name": "Mine"},
    "update_order_state": {"order_id": 41, "state": 4},
    "create_trigger": {"kind": "order-updated"},
}
"""What an operation on one record needs beside the id, so that it would be carried out. Others take an empty form."""
QUERIES = {"get_product": "?id=1", "get_order": "?id=1"}
"""The same of the query."""
PLAIN = {"product": "1", "image": "1", "size": "large_default"}
"""Parts of an address that are nobody's, by the name of the parameter."""
NAMING: list[tuple[str, Mapping[str, Any]]] = [
    ("create_agent", {"name": "Mine", "account": "{account}"}),
    ("create_token", {"name": "Mine", "scopes": ["status"], "account": "{account}"}),
    ("create_alert", {"account": "{account}"}),
    ("create_connection", FORM),
    ("create_connection", FORM | {"account": "{account}"}),
    ("try_connection", FORM),
    ("try_connection", FORM | {"account": "{account}"}),
    ("try_connection", FORM | {"connection": "{connection}"}),
    ("update_connection", {"agent": "{agent}", "api_key": STORE_KEY}),
]
"""Operations, and bodies that name a record of another account."""
_MILLISECONDS = re.compile(r'"ms":[0-9.]+')
_REQUEST = re.compile(r"req_[0-9a-f]{16}")
FOUND_OUT = {"store", "stores", "traffic", "key_checked_at", "key_works"}
ENDLESS = {"get_events"}
"""What is followed instead of read: tests/system/test_events.py holds it to the same."""


@dataclass(frozen=True, slots=True)
class Operation:
    id: str
    method: str
    path: str
    parameters: tuple[str, ...]
    query: tuple[str, ...]


def operations() -> Iterator[Operation]:
    for path, methods in DOCUMENT["paths"].items():
        for method, described in methods.items():
            given = described.get("parameters", [])
            names = {where: tuple(each["name"] for each in given if each["in"] == where) for where in ("path", "query")}
            if described.get("security"):
                yield Operation(described["operationId"], method.upper(), path, names["path"], names["query"])


OPERATIONS = list(operations())


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Two accounts of one relay: what the one has, by the name of the parameter, and the other's token and agent."""

    road: Road
    theirs: Mapping[str, str]
    mine: Mapping[str, str]
    token: str

    def ask(self, method: str, path: str, ids: Mapping[str, str], body: Any = None) -> Answer:
        filled = None if body is None else json.loads(_filled(json.dumps(body), ids))
        return self.road.api(method, _filled(path, ids), filled, self.token)


@pytest.fixture(scope="module")
def neighbours(road: Road) -> Neighbours:
    tokens = {}
    accounts = {}
    for name in ("theirs", "mine"):
        accounts[name] = road.api("POST", "/v1/accounts", {"name": name}).json["id"]
        tokens[name] = road.api(
            "POST", "/v1/tokens", {"name": name, "scopes": ["manage"], "account": accounts[name]}
        ).json
    agent = road.new_agent("their agent", account=accounts["theirs"])
    instance = hostile.enrol(road, agent)
    form = FORM | {"name": "their connection", "agent": agent.id, "account": accounts["theirs"]}
    connection = road.api("POST", "/v1/connections", form).json
    token = road.api("GET", f"/v1/agents/{agent.id}/tokens").json["items"][0]["id"]
    trigger = road.api("POST", f"/v1/connections/{connection['id']}/triggers", {"kind": "order-updated"}).json
    alert = road.api("POST", "/v1/alerts", {"account": accounts["theirs"]}).json
    theirs = {
        "account": accounts["theirs"],
        "agent": agent.id,
        "agent_token": token,
        "instance": road.api("GET", f"/v1/agents/{agent.id}/instances").json["items"][0]["id"],
        "connection": connection["id"],
        "key": connection["access_keys"][0]["id"],
        "token": tokens["theirs"]["id"],
        "trigger": trigger["id"],
        "alert": alert["id"],
    }
    assert instance
    mine = road.new_agent("my agent", account=accounts["mine"])
    form = FORM | {"name": "my connection", "agent": mine.id, "account": accounts["mine"]}
    own = road.api("POST", "/v1/connections", form).json["id"]
    return Neighbours(road, theirs, {"agent": mine.id, "connection": own}, tokens["mine"]["token"])


def _filled(text: str, ids: Mapping[str, str]) -> str:
    for name, id_ in ids.items():
        text = text.replace(f"{{{name}}}", id_)
    return text


def _told(answer: Answer, theirs: Mapping[str, str]) -> tuple[int, str, list[tuple[str, str]]]:
    """Status, body and headers, with nobody's ids for those of the others, and without what differs each time."""
    body = answer.body.decode()
    for id_ in theirs.values():
        body = body.replace(id_, id_[:4] + NOBODYS)
    return answer.status, _timeless(body), _lasting(answer)


def _timeless(body: str) -> str:
    return _REQUEST.sub("", _MILLISECONDS.sub("", body))


def _lasting(answer: Answer) -> list[tuple[str, str]]:
    own = {"date", "content-length", "postern-request"}
    return [(name, value) for name, value in answer.headers if name.lower() not in own]


def _everything(neighbours: Neighbours) -> list[Any]:
    """What the operator sees of the other account's records, but for what the relay finds out by itself."""
    road, account = neighbours.road, neighbours.theirs["account"]
    paths = ("/v1/agents", "/v1/connections", "/v1/tokens", "/v1/audit")
    found = [road.api("GET", f"{path}?account={account}").json["items"] for path in paths]
    return [{name: value for name, value in item.items() if name not in FOUND_OUT} for part in found for item in part]


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.parameters], ids=lambda each: each.id)
def test_an_id_of_another_account_is_an_unknown_one(neighbours: Neighbours, operation: Operation) -> None:
    """In the address: 404 (403 where the scope does not reach), the same bytes, and nothing is done."""
    theirs = dict(neighbours.theirs)
    if operation.path.startswith("/v1/agents"):
        theirs["token"] = theirs["agent_token"]
    unknown = {name: id_[:4] + NOBODYS for name, id_ in theirs.items()}
    body = BODIES.get(operation.id, {} if operation.method in {"POST", "PATCH", "PUT"} else None)
    before = _everything(neighbours)
    path = _filled(operation.path, PLAIN) + QUERIES.get(operation.id, "")
    answers = [neighbours.ask(operation.method, path, ids, body) for ids in (theirs, unknown)]
    assert _told(answers[0], theirs) == _told(answers[1], theirs)
    assert answers[1].status in {403, 404}, f"{operation.id} needs a body in BODIES: {answers[1]}"
    assert _everything(neighbours) == before


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each.query], ids=lambda each: each.id)
def test_a_filter_by_another_accounts_id_finds_what_an_unknown_one_does(
    neighbours: Neighbours, operation: Operation
) -> None:
    """In the query: every parameter that takes an id."""
    theirs = neighbours.theirs
    for name in operation.query:
        for id_ in theirs.values():
            path = f"{operation.path}?{name}="
            answers = [
                neighbours.ask(operation.method, path + given, neighbours.mine) for given in (id_, id_[:4] + NOBODYS)
            ]
            assert _told(answers[0], theirs) == _told(answers[1], theirs)


@pytest.mark.parametrize(("name", "body"), NAMING)
def test_a_body_that_names_another_accounts_record_names_nothing(
    neighbours: Neighbours, name: str, body: Mapping[str, Any]
) -> None:
    """In the body: the same refusal (a trial fails in the same way), and nothing is made."""
    operation = next(each for each in OPERATIONS if each.id == name)
    theirs = neighbours.theirs
    unknown = {key: id_[:4] + NOBODYS for key, id_ in theirs.items()}
    before = _everything(neighbours)
    path = _filled(operation.path, neighbours.mine)
    answers = [neighbours.ask(operation.method, path, ids, body) for ids in (theirs, unknown)]
    assert _told(answers[0], theirs) == _told(answers[1], theirs)
    assert answers[1].status in {403, 404, 422} or answers[1].json["ok"] is False, answers[1]
    assert _everything(neighbours) == before


def test_no_list_shows_anything_of_another_account(neighbours: Neighbours) -> None:
    """No id, name or count of it: in lists, options, status, audit, and whatever else can be read without an id."""
    theirs = [*neighbours.theirs.values(), "their agent", "their connection"]
    read = 0
    for operation in OPERATIONS:
        if operation.method == "GET" and not operation.parameters and operation.id not in ENDLESS:
            for query in ("", "?as=options") if "as" in operation.query else ("",):
                answer = neighbours.ask("GET", operation.path + query, {})
                assert answer.status in {200, 403}, answer
                assert not [text for text in theirs if text.encode() in answer.everything], operation.path
                read += answer.status == 200
    assert read >= 5
    status = neighbours.ask("GET", "/v1/status", {}).json
    assert (sum(status["agents"].values()), status["connections"]) == (1, 1)


def test_the_tables_are_about_operations_that_are_there() -> None:
    """No renamed operation drops out of these tests unseen; every form that names an agent or an account is in them."""
    naming = {name for name, _ in NAMING}
    assert set(BODIES) | naming | ENDLESS <= {each.id for each in OPERATIONS}
    schemas = DOCUMENT["components"]["schemas"]
    forms = {
        name
        for name, schema in schemas.items()
        if schema.get("additionalProperties") is False and {"agent", "account"} & set(schema.get("properties", {}))
    }
    named = {
        described["operationId"]
        for methods in DOCUMENT["paths"].values()
        for described in methods.values()
        if any(f'/{form}"' in json.dumps(described.get("requestBody")) for form in forms)
    }
    assert named == naming
