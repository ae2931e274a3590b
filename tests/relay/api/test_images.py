"""Pictures over HTTP: what is sent, what is not sent again, what is refused, and whose they are."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.types import Message, Scope

from relay.prestashop import pictures
from relay.prestashop.pictures import Pictures
from tests.relay.api.scene import Relay
from tests.relay.api.shop_scene import Place, problem, shop_of


@pytest.fixture
def backend() -> str:
    """Pictures ask the database for nothing but the connection: one kind of it tells all."""
    return "sqlite"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def place(relay: Relay) -> AsyncIterator[Place]:
    async with shop_of(relay) as place:
        yield place


@pytest.fixture
def clock(place: Place) -> Clock:
    clock = Clock()
    object.__setattr__(place.relay.parts, "pictures", Pictures(clock))
    return clock


async def picture(place: Place, path: str = "1/1", *, as_: str = "read", **headers: str) -> httpx.Response:
    address = f"/v1/connections/{place.connection}/images/products/{path}"
    return await place.relay.call("GET", address, as_=as_, headers={k.replace("_", "-"): v for k, v in headers.items()})


def asked(place: Place) -> list[int]:
    """How the shop has answered for pictures so far."""
    return [seen.status for seen in place.store.requests if b"/api/images/" in seen.line]


async def test_a_picture(place: Place) -> None:
    """As the shop has it, named by its SHA-1, and nothing but a picture for whoever opens it."""
    answer = await picture(place)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["ETag"] == f'"{hashlib.sha1(answer.content, usedforsecurity=False).hexdigest()}"'
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Cache-Control"].startswith("private")
    assert (await picture(place, "1/1/large_default")).status_code == 200


async def test_a_picture_is_not_asked_for_twice(place: Place, clock: Clock) -> None:
    """For ten minutes not at all; then by its name, and the shop says that it is the same."""
    first = await picture(place)
    assert (await picture(place)).content == first.content
    assert asked(place) == [200]
    clock.now += pictures.FRESH_SECONDS
    again = await picture(place)
    assert (again.status_code, again.content) == (200, first.content)
    assert asked(place) == [200, 304]


async def test_a_picture_that_the_caller_has_is_not_sent(place: Place, clock: Clock) -> None:
    """With If-None-Match: even if the relay has forgotten it, the shop sends no byte of it."""
    tag = (await picture(place)).headers["ETag"]
    for header in (tag, f"W/{tag}", f'"other", {tag}'):
        same = await picture(place, If_None_Match=header)
        assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", tag)
    object.__setattr__(place.relay.parts, "pictures", Pictures(clock))
    assert (await picture(place, If_None_Match=tag)).status_code == 304
    assert asked(place) == [200, 304]


async def test_a_picture_that_has_changed_is_sent(place: Place, clock: Clock) -> None:
    """Under its old id, with a new name."""
    first = await picture(place)
    place.store.shop.pictures[1] = first.content + b"\x00"
    clock.now += pictures.FRESH_SECONDS
    again = await picture(place, If_None_Match=first.headers["ETag"])
    assert (again.status_code, again.content) == (200, first.content + b"\x00")
    assert again.headers["ETag"] != first.headers["ETag"]


async def test_an_old_shop_sends_it_again_and_the_relay_does_not(place: Place, clock: Clock) -> None:
    """Before PrestaShop 8 there is no 304."""
    place.store.knobs.version = "1.7.8"
    first = await picture(place)
    clock.now += pictures.FRESH_SECONDS
    assert (await picture(place, If_None_Match=first.headers["ETag"])).status_code == 304
    assert asked(place) == [200, 200]


@pytest.mark.parametrize(
    "body",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='x()'/>",
        b"<!doctype html><script>x()</script>",
        b"",
        b"RIFFxxxx",
    ],
)
async def test_what_is_no_picture_is_not_sent(place: Place, body: bytes) -> None:
    """Whatever the shop calls it."""
    place.store.shop.pictures[1] = body or b" "
    problem(await picture(place), 502, "store_not_image")


async def test_what_is_not_there(place: Place) -> None:
    """An unknown picture, product, or size; what is no number is refused before the shop is asked."""
    for path in ("1/999", "999/1", "1/1/no_such_size"):
        problem(await picture(place, path), 404, "not_in_store")
    before = len(asked(place))
    for path in ("1/x", "0/1", "1/1/..%2f..%2forders", f"1/{2**40}"):
        assert (await picture(place, path)).status_code in {404, 422}
    assert len(asked(place)) == before


async def test_a_place_is_held_until_the_picture_is_sent(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow readers hold so many pictures in memory and no more: the next one is told to come later."""
    monkeypatch.setattr(pictures, "WAIT_SECONDS", 0.2)
    slow = asyncio.Event()
    path = f"/v1/connections/{place.connection}/images/products/1/1"
    fields = [(b"authorization", f"Bearer {place.relay.tokens['read']}".encode()), (b"host", b"relay.local")]
    scope: Scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": fields, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2),
    }  # fmt: skip
    sending: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sending.append(message)
        await slow.wait()

    tasks = [asyncio.create_task(place.relay.surface(dict(scope), receive, send)) for _ in range(pictures.PLACES_EACH)]
    async with asyncio.timeout(10):
        while len(sending) < pictures.PLACES_EACH:  # noqa: ASYNC110 - the count is kept by the tasks
            await asyncio.sleep(0.01)
    problem(await picture(place), 503, "relay_overloaded")
    slow.set()
    await asyncio.gather(*tasks)
    assert (await picture(place)).status_code == 200


async def test_whose_pictures_they_are(place: Place) -> None:
    """`read` and above; another account's connection is an unknown one, also for what is kept."""
    assert (await picture(place)).status_code == 200
    assert (await picture(place, as_="status")).status_code == 403
    assert (await picture(place, as_="other")).status_code == 404


async def test_another_store_behind_the_connection_has_its_own(place: Place) -> None:
    """What is kept is of the connection as it was."""
    await picture(place)
    place.store.shop.pictures[1] = b"\xff\xd8\xff another"
    await place.lacking({"images": ["GET"]})
    assert (await picture(place)).content == b"\xff\xd8\xff another"


async def test_a_picture_that_is_too_large(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is not held in memory."""
    monkeypatch.setattr(pictures, "PICTURE_BYTES", 1000)
    place.store.shop.pictures[1] = b"\xff\xd8\xff" + bytes(2000)
    problem(await picture(place), 502, "store_bad_answer")


async def test_what_is_kept_is_bounded(place: Place, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """By an account's share, the least lately used going first; a large one is not kept at all."""
    monkeypatch.setattr(pictures, "KEPT_BYTES_EACH", 2500)
    monkeypatch.setattr(pictures, "_LARGEST_KEPT", 2000)
    ids = sorted(place.store.shop["images"].rows)[:4]
    for id_ in ids:
        place.store.shop.pictures[id_] = b"\xff\xd8\xff" + bytes(1000 if id_ != ids[3] else 2100)
    paths = [f"{place.store.shop['images'].rows[id_]['id_product']}/{id_}" for id_ in ids]

    async def asks(path: str) -> bool:
        before = len(asked(place))
        assert (await picture(place, path)).status_code == 200
        return len(asked(place)) > before

    assert [await asks(path) for path in (paths[0], paths[1], paths[0], paths[2])] == [True, True, False, True]
    assert [await asks(path) for path in (paths[0], paths[2], paths[1])] == [False, False, True]
    assert [await asks(path) for path in (paths[3], paths[3])] == [True, True]
    kept: Any = place.relay.parts.pictures
    assert sum(kept._bytes.values()) == sum(len(each.picture.body) for each in kept._kept.values()) <= 2500
