"""Pictures on their way: how many at once, and what counts as one."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from relay.gateway.errors import GatewayError
from relay.prestashop import pictures
from relay.prestashop.pictures import PLACES, PLACES_EACH, Pictures, address_of, kind_of


def no_clock() -> float:
    return 0.0


async def test_an_account_takes_its_share_of_places_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for more waits, and is told so in the end; others have places meanwhile."""
    monkeypatch.setattr(pictures, "WAIT_SECONDS", 0.05)
    taken = Pictures(no_clock)
    async with AsyncExitStack() as stack:
        for _ in range(PLACES_EACH):
            await stack.enter_async_context(taken.place("acc_one"))
        with pytest.raises(GatewayError) as refused:
            await stack.enter_async_context(taken.place("acc_one"))
        assert refused.value.failure.code == "relay_overloaded"
        for number in range(PLACES - PLACES_EACH):
            await stack.enter_async_context(taken.place(f"acc_{number}"))
        with pytest.raises(GatewayError):
            await stack.enter_async_context(taken.place("acc_last"))
    async with taken.place("acc_one"), taken.place("acc_last"):
        pass


async def test_a_place_is_handed_on_when_it_is_given_up() -> None:
    """First come, first served."""
    taken = Pictures(no_clock)
    async with AsyncExitStack() as stack:
        for _ in range(PLACES_EACH):
            await stack.enter_async_context(taken.place("acc_one"))
        waiting = asyncio.create_task(_through(taken))
        await asyncio.sleep(0)
        assert not waiting.done()
    await asyncio.wait_for(waiting, 5)


async def _through(taken: Pictures) -> None:
    async with taken.place("acc_one"):
        pass


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"\x00\x00\x00\x1cftypavif", "image/avif"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", None),
        (b"<html>", None),
        (b"RIFF\x00\x00\x00\x00WAVE", None),
        (b"%PDF-1.7", None),
        (b"", None),
    ],
)
def test_what_counts_as_a_picture(body: bytes, kind: str | None) -> None:
    """By its first bytes, whatever it is called."""
    assert kind_of(body) == kind


def test_where_the_relay_has_a_picture() -> None:
    assert address_of("https://relay.example", "con_a", 12, 31) == (
        "https://relay.example/v1/connections/con_a/images/products/12/31"
    )
