"""`python -m tests.store` as other programs start it."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.store import KeyRing
from tests.store_conformance.asking import basic
from tests.store_conformance.direct import exchange

if TYPE_CHECKING:
    from tests.store_conformance.asking import Response

ROOT = Path(__file__).parents[2]
SECONDS = 30.0


async def start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.store",
        *arguments,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ready(process: asyncio.subprocess.Process) -> dict[str, object]:
    assert process.stdout is not None
    line = await asyncio.wait_for(process.stdout.readline(), SECONDS)
    return dict(json.loads(line))


def port_of(url: object) -> int:
    return int(str(url).rsplit(":", 1)[1].split("/")[0])


async def call(port: int, method: str, target: str, *fields: str, body: bytes = b"") -> Response:
    lines = [f"{method} {target} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Content-Length: {len(body)}", *fields, "", ""]
    return await exchange("127.0.0.1", port, "\r\n".join(lines).encode() + body)


async def test_ready_line_and_end() -> None:
    """One JSON line with URL and keys; the URL serves; SIGTERM and SIGINT end it with status 0 and no other output."""
    for number in (signal.SIGTERM, signal.SIGINT):
        process = await start("--http", "127.0.0.1:0", "--seed", "7", "--catalogue", "large:30")
        told = await ready(process)
        keys = KeyRing.standard({}, 7).values
        assert told["keys"] == keys
        assert all(len(key) == 32 and key.isalnum() and key.upper() == key for key in keys.values())
        name, value = basic(keys["full"])
        answer = await call(port_of(told["url"]), "GET", "/api/products", f"{name}: {value}")
        assert (answer.status, len(answer.ids)) == (200, 30)
        process.send_signal(number)
        out, err = await asyncio.wait_for(process.communicate(), SECONDS)
        assert (process.returncode, out, err) == (0, b"", b"")


async def test_usage_errors() -> None:
    """Unknown knob, catalogue or address: status 2 and a sentence on standard error."""
    for arguments, told in (
        (("--http", "127.0.0.1:0", "--knob", "nosuch=1"), b"there is no knob 'nosuch'"),
        (("--http", "127.0.0.1:0", "--catalogue", "tiny"), b"there are: demo, large:N"),
        (("--http", "nowhere"), b"an address is HOST:PORT"),
        (("--http", "127.0.0.1:0", "--key", "fool=X"), b"there is no key 'fool' to set"),
        (("--https", "127.0.0.1:0"), b"--https needs --tls-cert"),
        ((), b"one of the arguments"),
    ):
        process = await start(*arguments)
        out, err = await asyncio.wait_for(process.communicate(), SECONDS)
        assert process.returncode == 2
        assert out == b""
        assert told in err
        assert b"Traceback" not in err


async def test_control_address() -> None:
    """Knobs are read and changed, counts read, connections cut, from another process."""
    process = await start(
        "--http", "127.0.0.1:0", "--control", "127.0.0.1:0", "--knob", "version=8.1", "--base-path", "/prestashop"
    )
    try:
        told = await ready(process)
        assert str(told["url"]).endswith("/prestashop")
        control, port = port_of(told["control"]), port_of(told["url"])
        knobs = (await call(control, "GET", "/__store__/knobs")).json
        assert (knobs["version"], knobs["base_path"]) == ("8.1", "/prestashop")
        changed = await call(control, "POST", "/__store__/knobs", body=b'{"webservice": "off"}')
        assert changed.json["webservice"] is False
        answer = await call(port, "GET", "/prestashop/api?ws_key=x")
        assert answer.codes == [22]
        counts = (await call(control, "GET", "/__store__/counts")).json
        assert (counts["requests"], counts["connections_total"]) == (1, 1)
        seen = (await call(control, "GET", "/__store__/requests")).json
        assert seen[0]["line"] == "GET /prestashop/api?ws_key=x HTTP/1.1"
        wrong = await call(control, "POST", "/__store__/knobs", body=b'{"nosuch": "1"}')
        assert wrong.status == 400
        assert "there is no knob" in wrong.json["error"]
        assert (await call(port, "GET", "/__store__/counts")).status == 404
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), SECONDS)
