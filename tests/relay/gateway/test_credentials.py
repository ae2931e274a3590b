"""Who may do what: access keys, API tokens and their scopes, and refusals that tell nothing."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from xml.etree import ElementTree as ET

import pytest
from pydantic import SecretStr

from relay.gateway.gateway import DirectoryUnavailableError
from relay.records import Connection, Scope
from tests.relay.gateway.message import Message
from tests.relay.gateway.scene import ACCESS_KEY, API, ID, STORE_KEY, Scene, basic, sha256
from tests.relay.gateway.store import answering
from tests.relay.gateway.test_target import PS_METHOD

OTHER_ID = "con_bbbbbbbbbbbbbbbb"
UNKNOWN_ID = "con_cccccccccccccccc"
OTHER_KEY = "K" * 32


@pytest.fixture
def other(scene: Scene) -> Connection:
    """Another account's connection, to another store."""
    other = dataclasses.replace(
        scene.connection, id=OTHER_ID, account="acc_two", access_keys=(("key_two", sha256(OTHER_KEY)),),
        api_key=SecretStr("O" * 32),
    )  # fmt: skip
    scene.put(other)
    return other


def refused(message: Message, status: int, code: str) -> None:
    assert (message.status, message.value("Postern-Error")) == (status, code.encode())
    assert message.value("Postern-Origin") == b"caller"
    assert message.value("Postern-Outcome") == b"not_sent"
    assert STORE_KEY.encode() not in message.head + message.body


def nameless(message: Message) -> bytes:
    """The whole answer, without what names the request and dates it, and nothing else."""
    undated = re.sub(rb"(?m)^Date: .{25} GMT\r$", b"", message.head)
    return re.sub(rb"(Postern-Request: req_)[0-9a-f]{16}", rb"\1", undated) + message.body


KEYS_THAT_OPEN = {
    "Basic user": {"auth": basic(ACCESS_KEY)},
    "Basic user, with a password": {"auth": basic(ACCESS_KEY, "any:thing")},
    "Basic user, without a colon": {"auth": "Basic " + base64.b64encode(ACCESS_KEY.encode()).decode()},
    "scheme in lower case": {"auth": basic(ACCESS_KEY).replace("Basic", "basic")},
    "scheme in capitals": {"auth": basic(ACCESS_KEY).replace("Basic ", "BASIC  ")},
    "ws_key": {"auth": None, "target": f"{API}/products?ws_key={ACCESS_KEY}"},
    "ws_key, encoded": {"auth": None, "target": f"{API}/products?ws_key=%{ord('A'):X}{ACCESS_KEY[1:]}"},
    "ws_key in the path": {"auth": None, "target": f"{API}/products&ws_key={ACCESS_KEY}"},
    "the last of two ws_key": {"auth": None, "target": f"{API}/products?ws_key=x&ws_key={ACCESS_KEY}"},
    "Basic beside a wrong ws_key": {"auth": basic(ACCESS_KEY), "target": f"{API}/products?ws_key=x"},
    "another scheme beside ws_key": {"auth": "Digest x", "target": f"{API}/products?ws_key={ACCESS_KEY}"},
}


@pytest.mark.parametrize("how", KEYS_THAT_OPEN.values(), ids=KEYS_THAT_OPEN.keys())
@pytest.mark.parametrize("remembers", [True, False], ids=["remembered", "looked up"])
async def test_an_access_key_opens_its_connection(scene: Scene, how: dict[str, str], *, remembers: bool) -> None:
    """As PrestaShop takes its own key, whether the connection is remembered or must be looked up."""
    scene.directory.remembers = remembers
    assert (await scene.ask(**how)).status == 200
    assert (await scene.ask(method="DELETE", **how)).status == 200


async def test_both_of_two_access_keys_open(scene: Scene) -> None:
    """Two may be valid at once, so that they can be rotated."""
    scene.change(access_keys=(("key_one", sha256(ACCESS_KEY)), ("key_new", sha256(OTHER_KEY))))
    assert (await scene.ask()).status == 200
    assert (await scene.ask(auth=basic(OTHER_KEY))).status == 200


KEYS_THAT_DO_NOT = {
    "none": {"auth": None},
    "empty": {"auth": ""},
    "wrong": {"auth": basic("W" * 32)},
    "one letter short": {"auth": basic(ACCESS_KEY[:-1])},
    "in lower case": {"auth": basic(ACCESS_KEY.lower())},
    "as password": {"auth": basic("", ACCESS_KEY)},
    "empty Basic": {"auth": "Basic"},
    "Basic of nothing": {"auth": "Basic Og=="},
    "no base64": {"auth": "Basic " + ACCESS_KEY + "!"},
    "not encoded": {"auth": "Basic " + ACCESS_KEY + ":"},
    "as Bearer": {"auth": "Bearer " + ACCESS_KEY},
    "Bearer of nothing": {"auth": "Bearer "},
    "another scheme": {"auth": "Digest " + ACCESS_KEY},
    "the digest that is stored": {"auth": basic(sha256(ACCESS_KEY))},
    "the store's own key": {"auth": basic(STORE_KEY)},
    "wrong ws_key": {"auth": None, "target": f"{API}/products?ws_key=x"},
    "empty ws_key": {"auth": None, "target": f"{API}/products?ws_key="},
    "the first of two ws_key": {"auth": None, "target": f"{API}/products?ws_key={ACCESS_KEY}&ws_key=x"},
    "wrong Basic beside a right ws_key": {"auth": basic("x"), "target": f"{API}/products?ws_key={ACCESS_KEY}"},
    "empty Basic beside a right ws_key": {"auth": basic(""), "target": f"{API}/products?ws_key={ACCESS_KEY}"},
    "wrong Bearer beside a right ws_key": {"auth": "Bearer x", "target": f"{API}/products?ws_key={ACCESS_KEY}"},
}


@pytest.mark.parametrize("how", KEYS_THAT_DO_NOT.values(), ids=KEYS_THAT_DO_NOT.keys())
async def test_wrong_foreign_and_unknown_answer_byte_for_byte_alike(
    scene: Scene, other: Connection, how: dict[str, str | None]
) -> None:
    """401: the wrong key here, on another account's connection, and on one that is not there cannot be told apart."""
    answers = set()
    for remembers in (True, False):
        scene.directory.remembers = remembers
        for id_ in (ID, OTHER_ID, UNKNOWN_ID):
            target = (how.get("target") or f"{API}/products").replace(ID, id_)
            message = await scene.ask(**{**how, "target": target})
            refused(message, 401, "unauthenticated")
            assert (message.value("WWW-Authenticate") or b"").startswith(b"Basic realm=")
            answers.add(nameless(message))
    assert len(answers) == 1
    assert scene.store.received == b""


async def test_an_access_key_opens_its_own_connection_alone(scene: Scene, other: Connection) -> None:
    """The key of one connection on another, of another account, and on none, gets the same 401."""
    target = f"/to/{OTHER_ID}/api/products"
    foreign = await scene.ask(target=target)
    refused(foreign, 401, "unauthenticated")
    unknown = await scene.ask(target=target.replace(OTHER_ID, UNKNOWN_ID))
    assert nameless(foreign) == nameless(unknown)
    assert (await scene.ask(target=target, auth=basic(OTHER_KEY))).status == 200


READING = [("GET", ""), ("HEAD", ""), ("GET", "?display=full&filter[id]=[1,2]"), ("GET", "&display=full")]
WRITING = [("POST", ""), ("PUT", ""), ("PATCH", ""), ("DELETE", ""), ("OPTIONS", ""), ("get", ""), ("PROPFIND", ""),
           ("GET", "?url=customers"), ("HEAD", "?ps_method=DELETE"), ("GET", "&ps_method=DELETE"), ("GET",
           "?+url=customers"),
           *[("GET", f"?{name.decode()}=DELETE") for name in PS_METHOD]]  # fmt: skip


@pytest.mark.parametrize(
    ("scope", "reads", "writes"),
    [(Scope.STATUS, False, False), (Scope.READ, True, False), (Scope.FORWARD, True, True), (Scope.MANAGE, True, True),
     (Scope.OPERATE, True, True)],
)  # fmt: skip
@pytest.mark.parametrize("remembers", [True, False], ids=["remembered", "looked up"])
async def test_scopes(scene: Scene, scope: Scope, *, reads: bool, writes: bool, remembers: bool) -> None:
    """`read` may GET and HEAD what cannot override its verb or its resource; `forward` may all; `status` nothing."""
    auth = scene.directory.admit("token", scope)
    scene.directory.remembers = remembers
    client = await scene.client()
    for allowed, requests in ((reads, READING), (writes, WRITING)):
        for method, below in requests:
            got = await client.ask(method=method, target=f"{API}/products{below}", auth=auth)
            if allowed:
                assert got.status == 200, (method, below)
            else:
                refused(got, 403, "forbidden")
    assert bool(scene.store.requests) is reads


async def test_tokens_of_another_account_find_nothing(scene: Scene, other: Connection) -> None:
    """A foreign connection answers exactly as an unknown one; the operator's token opens all."""
    auth = scene.directory.admit("token", Scope.MANAGE)
    foreign = await scene.ask(auth=auth, target=f"/to/{OTHER_ID}/api/products")
    refused(foreign, 404, "not_found")
    unknown = await scene.ask(auth=auth, target=f"/to/{UNKNOWN_ID}/api/products")
    assert nameless(unknown) == nameless(foreign)
    forbidden_there = await scene.ask(
        auth=scene.directory.admit("weak", Scope.STATUS), target=f"/to/{OTHER_ID}/api/products"
    )
    assert nameless(forbidden_there) == nameless(foreign)
    operator = scene.directory.admit("operator", Scope.OPERATE, account="acc_three")
    assert (await scene.ask(auth=operator, target=f"/to/{OTHER_ID}/api/products")).status == 200


@pytest.mark.parametrize("token", ["unknown", "TOKEN", " ", "token x"])
async def test_unknown_tokens_are_refused(scene: Scene, token: str) -> None:
    """401, on every connection alike."""
    scene.directory.admit("token", Scope.MANAGE)
    refused(await scene.ask(auth=f"Bearer {token}"), 401, "unauthenticated")


async def test_a_database_that_is_away_is_never_a_401_or_404(scene: Scene) -> None:
    """What cannot be looked up is 503 with Retry-After, for keys and tokens."""
    scene.directory.remembers = False
    scene.directory.fault = DirectoryUnavailableError()
    for auth in (basic(ACCESS_KEY), "Bearer token"):
        got = await scene.ask(auth=auth)
        assert (got.status, got.value("Postern-Error"), got.value("Retry-After")) == (503, b"relay_unavailable", b"5")


async def test_a_fault_in_the_relay_is_answered_without_a_trace(scene: Scene) -> None:
    """500 `relay_fault`; what went wrong is in the log alone."""
    scene.directory.remembers = False
    scene.directory.fault = RuntimeError("SECRET of the inside")
    got = await scene.ask()
    assert (got.status, got.value("Postern-Error")) == (500, b"relay_fault")
    assert b"SECRET" not in got.head + got.body


JSON = [["Output-Format: JSON"], ["Io-Format: JSON"], ["Io-Format: JSON", "Output-Format: XML"]]


@pytest.mark.parametrize("fields", JSON)
async def test_errors_are_json_where_a_field_asks_for_it(scene: Scene, fields: list[str]) -> None:
    """PrestaShop's own JSON shape: a list of errors with numbers and sentences."""
    got = await scene.ask(*fields, auth=None)
    assert got.value("Content-Type") == b"application/json"
    [error] = json.loads(got.body)["errors"]
    assert isinstance(error["code"], int)
    assert "access key" in error["message"]


@pytest.mark.parametrize("query", ["output_format=JSON", "io_format=JSON", "ws_key=x&output_format=JSON"])
async def test_errors_are_json_where_the_query_asks_for_it(scene: Scene, query: str) -> None:
    """As PrestaShop does, also where the header says nothing."""
    assert json.loads((await scene.ask(auth=None, target=f"{API}/products?{query}")).body)["errors"]
    assert json.loads((await scene.ask(target=f"{API}/../x?{query}")).body)["errors"]


@pytest.mark.parametrize(
    "fields", [[], ["Accept: application/json"], ["Output-Format: json"], ["Io-Format: XML", "Output-Format: JSON"]]
)
async def test_errors_are_xml_otherwise(scene: Scene, fields: list[str]) -> None:
    """PrestaShop's own XML shape, which stock clients show."""
    got = await scene.ask(
        *fields, auth=None, target=f"{API}/products?" + ("output_format=JSON" if len(fields) == 2 else "")
    )
    assert got.value("Content-Type") == b"text/xml;charset=utf-8"
    root = ET.fromstring(got.body)  # noqa: S314 - the relay's own
    assert root.tag == "prestashop"
    assert int(root.findtext("errors/error/code") or "") >= 9000
    assert "access key" in (root.findtext("errors/error/message") or "")


async def test_an_error_to_head_has_no_body(scene: Scene) -> None:
    """The length is told, the body is not sent, the connection goes on."""
    client = await scene.client()
    got = await client.ask(method="HEAD", auth=None)
    assert (got.status, got.body) == (401, b"")
    assert int(got.value("Content-Length") or 0) > 0
    assert (await client.ask()).body == b"ok"


async def test_every_error_guards_itself_against_browsers(scene: Scene) -> None:
    """No script, no sniffing, no cache."""
    got = await scene.ask(auth=None)
    assert got.value("Content-Security-Policy") == b"sandbox"
    assert got.value("X-Content-Type-Options") == b"nosniff"
    assert got.value("Cache-Control") == b"no-store"


async def test_a_verdict_is_never_the_stores(scene: Scene) -> None:
    """A store's 401 and 503 are its own: they carry no Postern field and pass untouched."""
    scene.store.behave = answering(
        b"HTTP/1.1 401 Unauthorized\r\nPostern-Error: unauthenticated\r\nPostern-Outcome: not_sent\r\n"
        b"Content-Length: 16\r\n\r\n401 Unauthorized"
    )
    got = await scene.ask()
    assert (got.status, got.body) == (401, b"401 Unauthorized")
    assert not [name for name, _ in got.fields if name.lower().startswith(b"postern-")]
