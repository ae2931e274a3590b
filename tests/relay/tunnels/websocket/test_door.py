"""The door itself, as stock clients and strangers find it: who is let in, what is refused, and what that costs."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import websockets
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from agent.wire.websocket import MESSAGE_BYTES, PATH, PINGS_PER_SECOND, SUBPROTOCOL
from relay.tunnels import websocket as door
from relay.tunnels.admission import PLACES_PER_SOURCE
from tests.relay.tunnels.websocket.scene import HOST, Scene

NAME = b"SSH-2.0-stock\r\n"
COMPRESSED = Frame(Opcode.BINARY, b"x")


async def refused(scene: Scene, **more: Any) -> tuple[int, dict[str, Any], Any]:
    """Status, problem and fields with which a stock client is refused."""
    with pytest.raises(InvalidStatus) as caught:
        await scene.client(**more)
    response = caught.value.response
    return response.status_code, json.loads(response.body or b"{}"), response.headers


async def closed(client: websockets.ClientConnection) -> tuple[int | None, str]:
    """Code and reason of the relay's close, after whatever it still sent."""
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await client.recv()
    return client.close_code, client.close_reason or ""


def head(scene: Scene, *fields: str, target: str = PATH, method: str = "GET") -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    given = [f"Host: {HOST}", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Key: {key}"]
    given += ["Sec-WebSocket-Version: 13", f"Sec-WebSocket-Protocol: {SUBPROTOCOL}", *fields]
    return "\r\n".join([f"{method} {target} HTTP/1.1", *given, "", ""]).encode()


def bearer(scene: Scene) -> str:
    return f"Authorization: Bearer {scene.ticket}"


@asynccontextmanager
async def dialled(scene: Scene, data: bytes) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A bare connection on which this was written."""
    reader, writer = await asyncio.open_connection(HOST, scene.port)
    try:
        writer.write(data)
        async with asyncio.timeout(10):
            yield reader, writer
    finally:
        writer.transport.abort()


def masked(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


async def test_a_stock_client_gets_in_and_meets_ssh(scene: Scene) -> None:
    """With the ticket and the subprotocol, and without compression; what it hears first is an SSH server."""
    async with scene.client(compression="deflate") as client:
        assert client.subprotocol == SUBPROTOCOL
        assert client.protocol.extensions == []
        await client.send(NAME)
        assert (await client.recv())[:8] == b"SSH-2.0-"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"Authorization": "Bearer " + "A" * 43},
        {"Authorization": "Bearer short"},
        {"Authorization": "Bearer " + "A" * 4000},
        {"Authorization": "Basic dXNlcjpwYXNz"},
    ],
    ids=["none", "unknown", "malformed", "long", "another scheme"],
)
async def test_without_a_good_ticket_it_is_401_before_the_upgrade(scene: Scene, fields: dict[str, str]) -> None:
    """All of them alike; only what could be a ticket is looked up."""
    status, problem, answered = await refused(scene, additional_headers=fields)
    assert (status, problem["code"], problem["retryable"]) == (401, "unauthenticated", False)
    assert answered["WWW-Authenticate"] == "Bearer"
    assert "upgrade" not in answered
    assert scene.lookups == (1 if fields.get("Authorization") == "Bearer " + "A" * 43 else 0)


async def test_a_ticket_in_the_address_opens_nothing(scene: Scene) -> None:
    """Addresses end in logs; and two Authorization fields are no request at all."""
    async with dialled(scene, head(scene, target=f"{PATH}?ticket={scene.ticket}")) as (reader, _):
        assert (await reader.read(12)) == b"HTTP/1.1 401"
    async with dialled(scene, head(scene, bearer(scene), "Authorization: Bearer x")) as (reader, _):
        assert (await reader.read(12)) == b"HTTP/1.1 400"


async def test_strangers_come_to_owe_and_are_turned_away_unasked(scene: Scene) -> None:
    """After some wrong tickets of an address no ticket of it is looked up any more, until it has waited."""
    answers = [(await refused(scene, additional_headers={"Authorization": "Bearer " + "B" * 43}))[0] for _ in range(12)]
    assert set(answers) == {401, 429}
    assert sorted(answers) == answers, "never a way back in while they go on"
    asked = scene.lookups
    status, problem, fields = await refused(scene)
    assert (status, problem["retryable"]) == (429, True), "even with a good ticket: the address owes"
    assert int(fields["Retry-After"]) > 0
    assert scene.lookups == asked


async def test_requests_that_wait_for_a_look_up_are_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as TCP connections that have not logged in; each is given up after a while, with its place."""
    monkeypatch.setattr(door, "TICKET_SECONDS", 0.5)
    scene.slow = True
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(refused(scene)) for _ in range(PLACES_PER_SOURCE + 10)]
    statuses = [task.result()[0] for task in asked]
    assert statuses.count(429) == 10
    assert statuses.count(503) == PLACES_PER_SOURCE
    assert scene.admission.pending == 0


async def test_an_unavailable_database_is_no_refusal(scene: Scene) -> None:
    """503 with Retry-After, never 401."""
    scene.away = True
    status, problem, fields = await refused(scene)
    assert (status, problem["retryable"], int(fields["Retry-After"]) > 0) == (503, True, True)


async def test_a_relay_that_shuts_down_takes_no_new_tunnels(scene: Scene) -> None:
    """And says so; nothing is looked up."""
    scene.door.close()
    status, problem, _ = await refused(scene)
    assert (status, problem["code"], scene.lookups) == (503, "relay_unavailable", 0)


@pytest.mark.parametrize("offered", [None, ["chat"], ["postern.ssh.v2"], ["postern.ssh"]])
async def test_another_subprotocol_is_refused(scene: Scene, offered: list[str] | None) -> None:
    """Before the upgrade, and without a mark against the address: the ticket was good."""
    for _ in range(12):
        status, problem, _ = await refused(scene, subprotocols=offered)
        assert status == 400
        assert "subprotocol" in problem["detail"]


@pytest.mark.parametrize(
    ("field", "status"),
    [("Upgrade: h2c", b"426"), ("Sec-WebSocket-Version: 8", b"400"), ("Sec-WebSocket-Key: short", b"400")],
)
async def test_other_upgrades_are_refused(scene: Scene, field: str, status: bytes) -> None:
    """In one answer, and the connection is closed."""
    name = field.partition(":")[0].encode()
    changed = re.sub(rb"(?m)^" + name + rb": [^\r\n]*", field.encode(), head(scene, bearer(scene)))
    async with dialled(scene, changed) as (reader, _):
        answer = await reader.read()
        assert answer.split(b" ")[1] == status
        assert b"\r\nConnection: close\r\n" in answer


async def test_what_is_no_request_for_a_tunnel_goes_where_it_went(scene: Scene) -> None:
    """Other methods, other paths, and requests with a body."""
    for changed in (
        head(scene, bearer(scene), "Content-Length: 0", method="POST"),
        head(scene, bearer(scene), "Content-Length: 1") + b"x",
        head(scene, bearer(scene), target=PATH + "/"),
        head(scene, bearer(scene), target="/v1/agent/enrolment"),
    ):
        async with dialled(scene, changed) as (reader, _):
            assert (await reader.readline()) == b"HTTP/1.1 418 The Other Room\r\n"


async def test_the_address_may_stand_in_any_of_its_forms(scene: Scene) -> None:
    """In full, as a proxy may send it, and with a query."""
    for target in (f"http://{HOST}{PATH}", f"{PATH}?x=y"):
        async with dialled(scene, head(scene, bearer(scene), target=target)) as (reader, _):
            assert (await reader.readline()) == b"HTTP/1.1 101 Switching Protocols\r\n"


async def test_what_comes_right_behind_the_request_is_not_lost(scene: Scene) -> None:
    """A client may send its first frame with the request; byte by byte it is as good."""
    for size in (10_000, 1):
        data = head(scene, bearer(scene)) + masked(Opcode.BINARY, NAME)
        async with dialled(scene, b"") as (reader, writer):
            for start in range(0, len(data), size):
                writer.write(data[start : start + size])
                await asyncio.sleep(0)
            await reader.readuntil(b"\r\n\r\n")
            frame = await reader.readexactly(2 + 8)
            assert frame[0] == 0x82
            assert frame[2:] == b"SSH-2.0-"


async def test_fragments_are_one_stream(scene: Scene) -> None:
    """Messages in pieces, empty pieces, and pings between them."""
    async with scene.client() as client:
        await client.send([b"SSH-", b"", b"2.0-st"])
        await client.ping()
        await client.send([b"ock\r", b"\n"])
        assert (await client.recv())[:8] == b"SSH-2.0-"


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([Frame(Opcode.TEXT, b"SSH-2.0-text\r\n")], 1003),
        ([Frame(Opcode.BINARY, b"x" * (MESSAGE_BYTES + 1))], 1009),
        ([Frame(Opcode.BINARY, b"x", fin=False), Frame(Opcode.CONT, b"x" * MESSAGE_BYTES)], 1009),
        ([Frame(Opcode.CONT, b"x")], 1002),
        ([Frame(Opcode.BINARY, b"x", fin=False), Frame(Opcode.BINARY, b"x")], 1002),
        ([COMPRESSED], 1002),
        ([Frame(Opcode.PING, b"")] * (PINGS_PER_SECOND + 1), 1008),
    ],
    ids=["text", "too large", "too large in fragments", "no beginning", "no end", "compressed", "too many pings"],
)
async def test_what_is_against_the_rules_ends_it_with_its_code(scene: Scene, frames: list[Frame], code: int) -> None:
    """RFC 6455 §7.4.1; and the SSH behind it is gone with it."""
    async with scene.client() as client:
        for frame in frames:
            written = bytearray(frame.serialize(mask=True))
            written[0] |= 0x40 if frame is COMPRESSED else 0  # RSV1
            client.transport.write(bytes(written))
        assert (await closed(client))[0] == code
    assert await scene.eventually(lambda: scene.admission.pending == 0, 3)


async def test_frames_without_a_mask_end_it(scene: Scene) -> None:
    """RFC 6455 §5.1: a client masks."""
    async with dialled(scene, head(scene, bearer(scene)) + Frame(Opcode.BINARY, NAME).serialize(mask=False)) as (
        reader,
        _,
    ):
        await reader.readuntil(b"\r\n\r\n")
        rest = await reader.read()
        assert rest[:1] == b"\x88"
        assert int.from_bytes(rest[2:4], "big") == 1002


async def test_a_flood_of_pings_costs_no_memory(scene: Scene) -> None:
    """A client that pings and never reads: it is cut, and what is unsent stays small."""
    async with dialled(scene, head(scene, bearer(scene))) as (reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        ping = masked(Opcode.PING, b"x" * 125)
        with contextlib.suppress(ConnectionError):
            while True:  # until it is cut, within the deadline of `dialled`
                writer.write(ping * 1000)
                await writer.drain()
                await asyncio.sleep(0)
    assert await scene.eventually(lambda: scene.admission.pending == 0, 3)


async def test_pings_are_answered(scene: Scene) -> None:
    """With what they carry, while SSH goes on."""
    async with scene.client() as client:
        async with asyncio.timeout(5):
            await (await client.ping(b"are you there"))
        await client.send(NAME)
        assert (await client.recv())[:8] == b"SSH-2.0-"


async def test_the_closing_handshake_is_answered(scene: Scene) -> None:
    """And the relay closes the connection below it first (RFC 6455 §7.1.1)."""
    client = await scene.client()
    async with asyncio.timeout(5):
        await client.close(1000)
    assert client.close_code == 1000
    assert await scene.eventually(lambda: scene.admission.pending == 0, 3)


async def test_a_client_that_half_closes_is_let_go(scene: Scene) -> None:
    """Half a connection carries no SSH: its place is free again."""
    async with dialled(scene, head(scene, bearer(scene)) + masked(Opcode.BINARY, NAME)) as (reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        assert await scene.eventually(lambda: scene.admission.pending == 1, 3)
        writer.write_eof()
        assert await scene.eventually(lambda: scene.admission.pending == 0, 5)


async def test_a_client_that_leaves_while_its_ticket_is_looked_up(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Costs one place, for as long as the look-up takes, and nothing fails."""
    monkeypatch.setattr(door, "TICKET_SECONDS", 0.3)
    scene.slow = True
    async with dialled(scene, head(scene, bearer(scene))):
        assert await scene.eventually(lambda: scene.lookups == 1)
    assert await scene.eventually(lambda: scene.admission.pending == 0, 3)


async def test_data_that_waits_for_a_look_up_is_bounded(scene: Scene) -> None:
    """A client that sends on while nobody knows yet whether it may: its reading is paused."""
    scene.slow = True
    async with dialled(scene, head(scene, bearer(scene))) as (_, writer):
        assert await scene.eventually(lambda: scene.lookups == 1)
        taken = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                while taken < 64 * 1024 * 1024:
                    writer.write(bytes(65536))
                    await writer.drain()
                    taken += 65536
        assert taken < 32 * 1024 * 1024, "it fits into the kernel's buffers and a little more"
    for task in list(scene.door._knocks):
        task.cancel()
    assert await scene.eventually(lambda: scene.admission.pending == 0, 3)
