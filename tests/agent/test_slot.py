"""The decisions of a slot: which endpoint, and when a replaced tunnel is closed."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from agent import slot
from agent.slot import choose, retire
from agent.tunnel import TunnelError
from agent.wire.enrolment import Endpoint


def endpoint(node: str, transport: Any = "tcp") -> Endpoint:
    return Endpoint(transport=transport, node=node, host=f"{node}.test", port=2222)


N1, N2, N3 = endpoint("n1"), endpoint("n2"), endpoint("n3")
WEB = endpoint("n1", "websocket")


def test_the_second_slot_takes_another_node() -> None:
    """And the first one the first; with one node only, both take it."""
    assert choose([N1, N2], {"tcp"}, set(), 0) == N1
    assert choose([N1, N2], {"tcp"}, {"n1"}, 0) == N2
    assert choose([N1], {"tcp"}, {"n1"}, 0) == N1


def test_each_failure_moves_on_to_the_next_endpoint() -> None:
    """Around and around, so that no dead node keeps the agent off; free nodes come first."""
    assert [choose([N1, N2, N3], {"tcp"}, {"n2"}, tries) for tries in range(4)] == [N1, N3, N2, N1]


def test_what_cannot_be_spoken_is_not_chosen() -> None:
    """And if nothing is left, that is told."""
    assert choose([WEB, N2], {"tcp"}, set(), 0) == N2
    with pytest.raises(TunnelError, match="only by websocket"):
        choose([WEB], {"tcp"}, set(), 0)


class Replaced:
    """A tunnel that has been replaced; the test says when its channels are done and whether it is lost."""

    def __init__(self, certificate_seconds: float) -> None:
        self.admission = SimpleNamespace(expires_at=time.monotonic() + certificate_seconds)
        self.channels = 1
        self.heard: list[str] = []
        self.is_done = asyncio.Event()
        self.is_lost = asyncio.Event()

    def leave(self) -> None:
        self.heard.append("leave")

    async def done(self) -> None:
        await self.is_done.wait()

    async def lost(self) -> str:
        await self.is_lost.wait()
        return "lost"

    async def close(self) -> None:
        self.heard.append("close")


@pytest.fixture(autouse=True)
def short_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot, "OVERLAP_SECONDS", 0.05)


async def test_a_replaced_tunnel_is_closed_when_its_channels_are_done() -> None:
    """First it still takes channels for a moment, then no more, then it goes."""
    tunnel: Any = Replaced(3600)
    retiring = asyncio.ensure_future(retire(tunnel))
    await asyncio.sleep(0)
    assert tunnel.heard == []
    await asyncio.sleep(0.1)
    assert tunnel.heard == ["leave"]
    tunnel.is_done.set()
    await asyncio.wait_for(retiring, 1)
    assert tunnel.heard == ["leave", "close"]


@pytest.mark.parametrize("how", ["lost", "expired"])
async def test_a_replaced_tunnel_is_not_waited_for_without_end(how: str) -> None:
    """If it is lost, or its certificate ends, it is closed with channels open."""
    tunnel: Any = Replaced(0.1 if how == "expired" else 3600)
    if how == "lost":
        tunnel.is_lost.set()
    await asyncio.wait_for(retire(tunnel), 1)
    assert tunnel.heard[-1] == "close"
    assert len(asyncio.all_tasks()) == 1
