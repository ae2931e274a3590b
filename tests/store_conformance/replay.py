"""How a recorded exchange is repeated, and what of the answer must be the same.

Compared: status, reason, every header's name in its order and spelling (through a relay: the webservice's own headers
only), the values of all headers that do not vary, and the body byte for byte after dates, password hashes and secure
keys are blanked. Where nothing varies in a body, Content-Sha1 is therefore the recorded one too.

Excepted, and why:
* 087, 091, 096, 130: of messages of code 3 only the prefix `[PHP ` counts (paths and line numbers of a server);
* 009: the recording is cut at 20,480 bytes; the whole body is compared through the recorded Content-Sha1;
* 227, 229: the picture's bytes are those of the stand-in, which does not re-encode: it must be a JPEG, the one in the
  answer to 227 must be the one that 229 gets, and their length differs;
* 169: between 168 and it product 1 was emptied by a PUT that was not recorded; `UNRECORDED` does that.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.store_conformance.asking import Response

if TYPE_CHECKING:
    from tests.store_conformance.asking import Shop

FOLDER = Path(__file__).parent / "transcripts"
RECORDED_DOMAIN = "127.0.0.1:8089"

# What has to happen before an exchange: (method, target, body), or the name of a knob switched off.
UNRECORDED = {
    "169": ("PUT", "/api/products/1", "<prestashop><product><id>1</id><price>24.70</price></product></prestashop>"),
}
WEBSERVICE_OFF_FROM = "253"

# Headers whose value differs from run to run.
VARYING = {"date", "access-time", "execution-time", "expires", "set-cookie", "content-sha1"}
# Headers of the connection and the server, which a relay may change.
OF_THE_ROAD = {
    "date",
    "server",
    "connection",
    "transfer-encoding",
    "content-length",
    "set-cookie",
    "vary",
    "expires",
    "cache-control",
}

PICTURES = {"227", "229"}
CUT = {"009"}

# What is blanked before two bodies are compared: dates, hashes, pictures, and what PHP says of itself.
BLANKED = (
    (re.compile(rb"20\d\d-\d\d-\d\d( \d\d:\d\d:\d\d)?"), b"date"),
    (re.compile(rb"\$2y\$10\$[./A-Za-z0-9]{53}"), b"hash"),
    (re.compile(rb"(?<=<secure_key><!\[CDATA\[)[0-9a-f]{32}"), b"hash"),
    (re.compile(rb'(?<=<content encode="base64"><!\[CDATA\[)[^\]]*'), b"picture"),
    (re.compile(rb'\[PHP .*?(?=\]\]>|(?<!\\)"\})'), b"[PHP "),
)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One recording."""

    name: str
    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    answer: Response
    cut_from: int | None

    @property
    def number(self) -> str:
        return self.name[:3]


def load() -> list[Exchange]:
    """All recordings in the order of recording."""
    return [_exchange(path) for path in sorted(FOLDER.glob("*.json"))]


async def repeat(shop: Shop, exchange: Exchange) -> Response:
    """Send the recorded request with the keys of the store under test."""
    headers = [(name, _with_key(shop, name, value)) for name, value in exchange.headers]
    path = re.sub(r"ws_key=(\w+)", lambda found: f"ws_key={shop.key(found[1])}", exchange.path)
    return await shop.request(exchange.method, path, headers, exchange.body)


def differences(exchange: Exchange, answer: Response, *, direct: bool) -> list[str]:
    """What is not as recorded, in words; empty when all is."""
    recorded = exchange.answer
    found = []
    if (answer.status, answer.reason) != (recorded.status, recorded.reason):
        found.append(f"status {answer.status} {answer.reason}, recorded {recorded.status} {recorded.reason}")
    kept = [name for name, _ in recorded.headers if direct or name.lower() not in OF_THE_ROAD]
    got = [name for name, _ in answer.headers if direct or name in kept]
    if got != kept:
        found.append(f"headers {got}, recorded {kept}")
    found += [
        f"{name}: {answer.header(name)}, recorded {recorded.header(name)}"
        for name in kept
        if name.lower() not in VARYING and answer.header(name) != recorded.header(name)
    ]
    return found + _body_differences(exchange, answer)


def _body_differences(exchange: Exchange, answer: Response) -> list[str]:
    recorded = exchange.answer
    if exchange.number in CUT:
        same = answer.header("Content-Sha1") == recorded.header("Content-Sha1")
        return [] if same and len(answer.body) == exchange.cut_from else [f"body of {len(answer.body)} bytes differs"]
    if exchange.number in PICTURES and recorded.body.startswith(b"\xff\xd8"):
        return [] if answer.body.startswith(b"\xff\xd8\xff") else ["no JPEG"]
    mine, theirs = comparable(answer.body), comparable(recorded.body)
    found = [] if mine == theirs else [f"body {mine!r}, recorded {theirs!r}"]
    sha1 = recorded.header("Content-Sha1")
    if sha1 is not None and answer.body == recorded.body and answer.header("Content-Sha1") != sha1:
        found.append("Content-Sha1 differs")
    fits = recorded.body and recorded.sha1 == sha1
    if fits and answer.header("Content-Sha1") != answer.sha1:
        found.append("Content-Sha1 does not fit the body")
    return found


def comparable(body: bytes) -> bytes:
    """A body without what varies."""
    for pattern, replacement in BLANKED:
        body = pattern.sub(replacement, body)
    return body


def _with_key(shop: Shop, name: str, value: str) -> str:
    if name == "Authorization" and value.startswith("Basic "):
        user = value.removeprefix("Basic ").removesuffix(":")
        return "Basic " + base64.b64encode(f"{shop.key(user)}:".encode()).decode()
    return value.replace("FULL", shop.key("FULL")) if name == "Authorization" else value


def _exchange(path: Path) -> Exchange:
    data = json.loads(path.read_text())
    request, response = data["request"], data["response"]
    return Exchange(
        path.stem,
        request["method"],
        request["path"],
        [(name, value) for name, value in request["headers"]],
        base64.b64decode(request["body_base64"] or ""),
        Response(
            response["status"],
            response["reason"],
            [(name, value) for name, value in response["headers"]],
            base64.b64decode(response["body_base64"] or ""),
        ),
        response.get("body_truncated_from"),
    )
