"""The document that describes the surface, and the page made from it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest

from relay.api import document
from relay.api.problems import KINDS
from tests.relay.api.scene import URL, Relay

pytestmark = pytest.mark.one_database

DOCUMENT = document()


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def test_it_needs_no_relay() -> None:
    """`document()` works without a database, and is the same each time."""
    assert DOCUMENT["openapi"].startswith("3.1")
    assert document() == DOCUMENT
    assert "servers" not in DOCUMENT
    json.dumps(DOCUMENT)


async def test_a_relay_says_where_it_is(relay: Relay) -> None:
    """/openapi.json is the document with the relay's own address and version."""
    served = (await relay.call("GET", "/openapi.json", as_=None)).json()
    assert served["servers"] == [{"url": URL}]
    assert served["info"]["version"] == "1.2.3"
    assert served["paths"] == DOCUMENT["paths"]


def test_every_operation_is_named_and_explained() -> None:
    """Stable, unique ids, one tag of those described, a summary."""
    tags = {tag["name"] for tag in DOCUMENT["tags"]}
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(ids) == len(set(ids))
    for _, _, operation in operations():
        assert re.fullmatch(r"[a-z_]+", operation["operationId"])
        assert len(operation["tags"]) == 1
        assert operation["tags"][0] in tags
        assert operation["summary"]


def test_every_problem_is_documented_with_its_schema() -> None:
    """Each status of 400 and above has the problem schema, an example per code, and only codes of that status."""
    for method, path, operation in operations():
        for status, response in operation["responses"].items():
            if int(status) < 400:
                continue
            content = response["content"]
            assert list(content) == ["application/problem+json"], (method, path, status)
            assert content["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/Problem"}
            for code, example in content["application/problem+json"]["examples"].items():
                assert KINDS[code].status == int(status)
                assert example["value"]["code"] == code


def test_common_problems_are_where_they_can_happen() -> None:
    """401, 403, 429 and 503 with a token; 400, 413, 415 and 422 with a body; 500 anywhere."""
    for method, path, operation in operations():
        statuses = set(operation["responses"])
        assert "500" in statuses
        if operation.get("security"):
            assert statuses >= {"401", "403", "429", "503"}, (method, path)
            if "requestBody" in operation:
                assert statuses >= {"400", "413", "415", "422"}, (method, path)
        if "{" in path:
            assert "404" in statuses, (method, path)


def test_references_lead_somewhere() -> None:
    """No schema is named that is not there, and the framework's own error shapes are gone."""
    schemas = DOCUMENT["components"]["schemas"]
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(DOCUMENT)))
    assert named <= set(schemas)
    assert set(schemas) <= named
    assert "HTTPValidationError" not in schemas


def test_the_stores_key_only_goes_in() -> None:
    """`api_key` is a password, write-only, and in no answer's schema."""
    schemas = DOCUMENT["components"]["schemas"]
    holding = {
        name: schema["properties"]["api_key"]
        for name, schema in schemas.items()
        if "api_key" in schema.get("properties", {})
    }
    assert set(holding) == {"ConnectionCreation", "ConnectionChange", "ConnectionTrial"}
    for schema in holding.values():
        assert (schema["format"], schema["writeOnly"]) == ("password", True)


@pytest.mark.parametrize("name", ["AgentCreated", "AgentTokenCreated", "ApiTokenCreated", "ConnectionCreated"])
def test_what_is_shown_once_is_readable(name: str) -> None:
    """A generated client must not drop it as write-only."""
    properties = DOCUMENT["components"]["schemas"][name]["properties"]
    shown = properties.get("token") or properties["access_key"]
    assert shown["type"] == "string"
    assert "writeOnly" not in shown


class Loads(HTMLParser):
    """What a page would load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        members = dict(attrs)
        if tag in {"script", "iframe", "img", "link", "form", "object"} or "src" in members:
            self.found.append(tag)
        self.found.extend(name for name in members if name.startswith("on"))
        self.ids.extend(value for name, value in attrs if name == "id" and value)


async def test_the_page_runs_and_loads_nothing(relay: Relay) -> None:
    """/docs is plain HTML under a policy that forbids all but its own style, with every operation in it."""
    answer = await relay.call("GET", "/docs", as_=None)
    assert answer.headers["Content-Type"].startswith("text/html")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy
    page = Loads()
    page.feed(answer.text)
    assert page.found == []
    assert len(page.ids) == len(set(page.ids))
    assert {operation["operationId"] for _, _, operation in operations()} <= set(page.ids)
