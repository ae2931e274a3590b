"""The scene on both event loops; whatever a test did, at its end nothing may still be held and nothing have failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from relay.gateway import limiter
from tests.relay.gateway.scene import Scene
from tests.relay.gateway.store import Store


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.SelectorEventLoop}


@pytest.fixture(autouse=True)
def known_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores are taken to bear much from the start: how that is found out has tests of its own."""
    monkeypatch.setattr(limiter, "FIRST", 64)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    store = Store()
    async with store.listening() as port, Scene(port, store).running() as scene:
        yield scene
    await scene.until(lambda: not scene.held())
    assert not scene.faults
