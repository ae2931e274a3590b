"""The decisions of a slot: which endpoint, and when a replaced tunnel is closed."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest

from agent import slot
from agent.board import Board
from agent.lifelines import Lifelines
from agent.login import TunnelError
from agent.reconnect import SECOND_MOST_SECONDS, SECOND_SECONDS, Reconnect
from agent.slot import Slot, choose, retire
from agent.tunnel import Place
from agent.wire.control import Suspect
from agent.wire.enrolment import Endpoint


def endpoint(node: str, transport: Any = "tcp") -> Endpoint:
    return Endpoint(transport=transport, node=node, host=f"{node}.test", port=2222)


N1, N2, N3 = endpoint("n1"), endpoint("n2"), endpoint("n3")
WEB = endpoint("n1", "websocket")


def test_the_second_slot_takes_another_node() -> None:
    """And the first one the first; with one node only, both take it."""
    assert choose([N1, N2], {"tcp"}, set(), 0) == [N1]
    assert choose([N1, N2], {"tcp"}, {("n1", "tcp")}, 0) == [N2]
    assert choose([N1], {"tcp"}, {("n1", "tcp")}, 0) == [N1]


def test_each_failure_moves_on_to_the_next_node() -> None:
    """Around and around, so that no dead node keeps the agent off; free nodes come first."""
    assert [choose([N1, N2, N3], {"tcp"}, {("n2", "")}, tries) for tries in range(4)] == [[N1], [N3], [N2], [N1]]


def test_all_ways_to_the_node_are_dialled() -> None:
    """Those that can be spoken; if nothing is left, that is told."""
    assert choose([N1, WEB, N2], {"tcp", "websocket"}, set(), 0) == [N1, WEB]
    assert choose([WEB, N2], {"tcp"}, set(), 0) == [N2]
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

    def leave(self, _reason: str) -> None:
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


def admission(*endpoints: Endpoint) -> Any:
    return SimpleNamespace(endpoints=endpoints, expires_at=time.monotonic() + 3600, taken_at=time.monotonic())


class Standing:
    """A tunnel that stands, and keeps what is said in it."""

    def __init__(self, admission: Any, number: int, generation: int = 1, node: str = "n1") -> None:
        self.admission = admission
        self.place = Place(number, generation)
        self.endpoint = endpoint(node)
        self.standing = True
        self.draining_since: float | None = None
        self.said: list[Any] = []
        self.suspicions = 0

    def say(self, message: Any) -> None:
        self.said.append(message)

    def suspect(self) -> None:
        self.suspicions += 1

    def end(self, *, retry_after: float | None = None) -> None:
        """As the relay ends it."""
        self.standing, self.retry_after = False, retry_after
        self.found_dead, self.age = False, 1.0

    async def lost(self) -> str:
        return "ended"


def make_slot(number: int, board: Board) -> Slot:
    unused: Any = None
    timing = Reconnect(lambda: 0.5)
    return Slot(
        number, board=board, dialer=unused, resolver=unused, lifelines=Lifelines(), timing=timing, retire=lambda _: None
    )


def test_the_first_tunnel_comes_before_the_second() -> None:
    """While none stands, the others wait for it; then they follow, spread by how long its login took."""
    board = Board()
    board.admission = admission(N1)
    first, second = make_slot(0, board), make_slot(1, board)
    assert first._pause() == 0
    assert second._pause() == slot.REST_SECONDS
    tunnel: Any = Standing(board.admission, 0)
    board.stands(0, tunnel, login_seconds=0.0)
    assert 0 <= second._pause() <= SECOND_SECONDS
    pauses = []
    for _ in range(50):
        board.tunnels.clear()
        board.stands(0, tunnel, login_seconds=2.0)
        pauses.append(second._pause())
    assert SECOND_SECONDS < max(pauses) <= SECOND_MOST_SECONDS


@pytest.mark.parametrize("told_to_wait", [False, True])
async def test_who_is_taken_for_a_copy_draws_another_name(told_to_wait: bool) -> None:
    """And waits as long as it was told; after any other loss the process keeps its name."""
    board = Board()
    before = board.process
    board.admission = admission(N1)
    tunnel: Any = Standing(board.admission, 0)
    board.stands(0, tunnel, 0.0)
    mover = make_slot(0, board)
    tunnel.end(retry_after=20.0 if told_to_wait else None)
    await mover._note_loss()
    assert (mover._next_place().process != before) is told_to_wait
    assert (mover._pause() >= 19.0) is told_to_wait


def test_a_slot_moves_from_a_node_that_will_be_gone() -> None:
    """To another one, within a moment and before the node is gone; where there is none, it stays."""
    board = Board()
    board.admission = admission(N1, N2)
    mover = make_slot(0, board)
    tunnel: Any = Standing(board.admission, 0)
    board.stands(0, tunnel, 0.0)
    assert mover._pause() == slot.REST_SECONDS
    tunnel.draining_since = time.monotonic()
    assert 0 <= mover._pause() <= slot.DRAIN_SECONDS
    assert choose(board.admission.endpoints, {"tcp"}, mover._taken(), 0) == [N2]
    board.admission = tunnel.admission = admission(N1)
    assert mover._pause() == slot.REST_SECONDS


def test_a_dead_tunnel_is_told_through_the_others() -> None:
    """By slot and generation; and what the relay says of ours is heeded for that generation alone."""
    board = Board()
    board.admission = admission(N1)
    dead, other = Standing(board.admission, 0, 5), Standing(board.admission, 1, 2)
    for tunnel in (dead, other):
        standing: Any = tunnel
        board.stands(tunnel.place.slot, standing, 0.0)
    accused: Any = dead
    board.accuse(accused)
    assert (dead.said, other.said) == ([], [Suspect(slot=0, generation=5)])
    board.suspected(0, 4)
    board.suspected(3, 1)
    assert dead.suspicions == 0
    board.suspected(0, 5)
    assert dead.suspicions == 1


async def test_whatever_goes_wrong_in_a_dial_is_a_failed_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that a relay can answer ends the slot: it is told, and tried again after a pause."""
    board = Board()
    board.admission = admission(N1)
    first = make_slot(0, board)

    async def fail(_admission: Any) -> None:
        raise KeyError("unforeseen")

    monkeypatch.setattr(first, "_open", fail)
    await first._dial()
    assert board.trouble is not None
    assert "KeyError" in board.trouble[1]
    assert first.state == "waiting"
    assert first._pause() > 0


async def test_a_change_right_after_somebody_began_to_wait_is_not_missed() -> None:
    """In the same turn of the loop, before a task that waits has taken its first step."""
    board = Board()
    waiting = asyncio.ensure_future(board.change())
    board.changed()
    await asyncio.wait_for(waiting, 5)
