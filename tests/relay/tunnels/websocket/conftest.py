"""The tunnel's door on both event loops: the relay runs on uvloop, the agent on asyncio's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import uvloop

from tests.relay.tunnels.websocket.scene import Scene, running


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.SelectorEventLoop}


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with running() as made:
        yield made
    assert await made.eventually(lambda: made.admission.pending == 0), "a place in the admission was never given back"
    assert not made.faults
