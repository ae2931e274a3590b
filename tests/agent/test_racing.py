"""Races between the ways to a node: who goes first, who follows when, and what is remembered of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from agent import racing
from agent.dialling import PathError
from agent.racing import HEAD_START_SECONDS, PATHS, SPOILT_SECONDS, Paths, RacingDialer, starts
from agent.transports import TicketRefusedError
from agent.wire.carrier import Dialled
from agent.wire.enrolment import Endpoint
from agent.wire.ssh import FIRST_VERSION

TCP = Endpoint(transport="tcp", node="n1", host="relay.test", port=2222)
WEB = Endpoint(transport="websocket", node="n1", host="relay.test", port=443, url="wss://relay.test/v1/agent/tunnel")


class Way:
    """A dialer that answers after some seconds: with a connection, with an error, or (None) never."""

    def __init__(self, seconds: float | None = 0, error: OSError | None = None) -> None:
        self.seconds, self.error = seconds, error
        self.began: list[float] = []
        self.versions: list[str] = []
        self.given_up = 0
        self.abandoned = 0

    async def dial(self, _endpoint: Endpoint, version: str = FIRST_VERSION) -> Dialled:
        self.began.append(asyncio.get_running_loop().time())
        self.versions.append(version)
        try:
            await (asyncio.sleep(self.seconds) if self.seconds is not None else asyncio.Event().wait())
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        if self.error:
            raise self.error
        return Dialled(self._never, self._abandon)

    def _never(self, _carrier: Any) -> Any:
        raise AssertionError("nobody starts SSH here")

    def _abandon(self) -> None:
        self.abandoned += 1


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of all times."""
    for name in ("HEAD_START_SECONDS", "RACE_SECONDS", "ALONE_SECONDS"):
        monkeypatch.setattr(racing, name, getattr(racing, name) / 10)


def racer(tcp: Way, web: Way, paths: Paths | None = None) -> RacingDialer:
    return RacingDialer({"tcp": tcp, "websocket": web}, paths or Paths())


async def transport(dialer: RacingDialer, **more: Any) -> str:
    return (await dialer.dial([TCP, WEB], **more)).endpoint.transport


async def test_tcp_has_a_head_start() -> None:
    """Where it stands within that, no WebSocket is tried at all; SSH will name itself as was said."""
    tcp, web = Way(0.05), Way()
    assert await transport(racer(tcp, web), version="postern second") == "tcp"
    assert (len(tcp.began), tcp.versions, web.began) == (1, ["postern second"], [])


@pytest.mark.usefixtures("quick")
async def test_a_way_that_hangs_costs_the_head_start_and_no_more() -> None:
    """SSH swallowed by a firewall: the WebSocket stands a moment later, and the dial by TCP is given up."""
    tcp, web = Way(None), Way(0.01)
    began = asyncio.get_running_loop().time()
    assert await transport(racer(tcp, web)) == "websocket"
    assert 0.1 <= asyncio.get_running_loop().time() - began < 1
    await asyncio.sleep(0)
    assert tcp.given_up == len(tcp.began)
    assert HEAD_START_SECONDS <= 2


async def test_a_way_that_fails_is_followed_by_the_other_at_once() -> None:
    """A refused port is not waited for."""
    tcp, web = Way(0, ConnectionRefusedError(111, "no")), Way()
    began = asyncio.get_running_loop().time()
    assert await transport(racer(tcp, web)) == "websocket"
    assert asyncio.get_running_loop().time() - began < 0.5


@pytest.mark.usefixtures("quick")
async def test_dials_begin_every_two_seconds_beside_those_that_wait() -> None:
    """A path that comes back is not missed because an old dial still waits for its retransmission."""
    tcp, web = Way(None), Way(None)
    error = None
    try:
        await racer(tcp, web).dial([TCP, WEB])
    except PathError as caught:
        error = caught
    assert error is not None
    assert str(error).count("does not answer") == 2
    for way in (tcp, web):
        assert len(way.began) == racing.ROUNDS
        gaps = [after - before for before, after in zip(way.began, way.began[1:], strict=False)]
        assert all(0.1 < gap < 0.5 for gap in gaps)
    await asyncio.sleep(0)
    assert tcp.given_up == web.given_up == racing.ROUNDS
    assert len(asyncio.all_tasks()) == 1


@pytest.mark.usefixtures("quick")
async def test_who_said_no_is_not_asked_again_in_the_same_race() -> None:
    """A proxy with a wrong password would lock the account; what only failed is tried again."""
    tcp, web = Way(None), Way(0, PathError("no", refused=True))
    with pytest.raises(PathError):
        await racer(tcp, web).dial([TCP, WEB])
    assert (len(tcp.began), len(web.began)) == (racing.ROUNDS, 1)


async def test_what_is_wrong_is_told_of_each_way() -> None:
    """In one error; refused only if all of them were."""
    tcp, web = Way(0, ConnectionRefusedError(111, "no")), Way(0, PathError("the proxy forbids it", refused=True))
    with pytest.raises(PathError) as caught:
        await racer(tcp, web).dial([TCP, WEB])
    assert str(caught.value) == "relay.test:2222 cannot be reached: Connection refused; the proxy forbids it"
    assert not caught.value.refused
    tcp.error = PathError("busy", refused=True, retry_after=5)
    with pytest.raises(PathError) as caught:
        await racer(tcp, web).dial([TCP, WEB])
    assert (caught.value.refused, caught.value.retry_after) == (True, 5)


async def test_a_ticket_that_is_not_taken_asks_for_a_new_enrolment() -> None:
    """Also where TCP has failed for another reason."""
    tcp, web = Way(0, ConnectionRefusedError(111, "no")), Way(0, TicketRefusedError("old ticket", refused=True))
    with pytest.raises(TicketRefusedError) as caught:
        await racer(tcp, web).dial([TCP, WEB])
    assert caught.value.refused


async def test_the_loser_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that stands in the same moment as the winner."""
    monkeypatch.setattr(racing, "HEAD_START_SECONDS", 0.0)
    tcp, web = Way(0.05), Way(0.05)
    await racer(tcp, web).dial([TCP, WEB])
    await asyncio.sleep(0.01)
    assert (tcp.abandoned + web.abandoned) + (tcp.given_up + web.given_up) == 1
    assert len(asyncio.all_tasks()) == 1


async def test_the_second_tunnel_takes_another_way_where_there_is_one() -> None:
    """The transport of the first comes last, and carries both where nothing else works."""
    tcp, web = Way(), Way()
    assert await transport(racer(tcp, web), avoid={"tcp"}) == "websocket"
    assert tcp.began == []
    assert await transport(racer(Way(), Way(0, OSError("blocked"))), avoid={"tcp"}) == "tcp"


async def test_an_endpoint_that_cannot_be_spoken_is_left_out() -> None:
    """And if nothing is left, that is told."""
    dialer = RacingDialer({"tcp": Way()}, Paths())
    assert (await dialer.dial([WEB, TCP])).endpoint == TCP
    with pytest.raises(PathError, match="no way to it that this version knows"):
        await dialer.dial([WEB])


def test_endpoints_of_one_transport_start_together() -> None:
    """The head start is between transports."""
    other = TCP.model_copy(update={"port": 22})
    assert [after for _, after in starts([TCP, other, WEB])] == [0.0, 0.0, HEAD_START_SECONDS]


def first(paths: Paths, **more: Any) -> str:
    return paths.order([TCP, WEB], **more)[0].transport


def test_what_worked_last_is_first_after_a_restart(tmp_path: Path) -> None:
    """Kept in the state directory."""
    paths = Paths(tmp_path)
    assert first(paths) == "tcp"
    paths.stood("websocket")
    assert first(paths) == "websocket"
    assert first(Paths(tmp_path)) == "websocket"
    Paths(tmp_path).stood("tcp")
    assert first(Paths(tmp_path)) == "tcp"
    assert [file.name for file in tmp_path.iterdir()] == [PATHS]


def test_a_second_tunnels_way_is_not_the_first_ones(tmp_path: Path) -> None:
    """It was chosen to be another one."""
    Paths(tmp_path).stood("websocket", avoid={"tcp"})
    assert first(Paths(tmp_path)) == "tcp"


def test_a_way_over_which_no_login_comes_is_tried_last() -> None:
    """For a while, or until a tunnel stands over it; a firewall may let the first line pass and nothing after it."""
    now = 1000.0
    paths = Paths(clock=lambda: now)
    paths.spoilt("tcp")
    assert first(paths) == "websocket"
    assert first(paths, avoid={"websocket"}) == "websocket"
    paths.spoilt("websocket")
    assert first(paths) == "tcp", "of two that are spoilt the older one"
    paths.stood("websocket")
    paths.stood("tcp")
    paths.spoilt("tcp")
    now += SPOILT_SECONDS
    assert first(paths) == "tcp"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"last": 7}', '{"last": "pigeon"}', '{"last": []}', "x" * 100_000])
def test_what_cannot_be_read_is_not_believed(tmp_path: Path, text: str) -> None:
    """A damaged memory is none; it is written anew."""
    (tmp_path / PATHS).write_text(text)
    paths = Paths(tmp_path)
    assert first(paths) == "tcp"
    paths.stood("websocket")
    assert json.loads((tmp_path / PATHS).read_text()) == {"last": "websocket"}


def test_a_directory_that_takes_nothing_hinders_nothing(tmp_path: Path) -> None:
    """It is remembered for as long as the process lives."""
    paths = Paths(tmp_path / "gone")
    paths.stood("websocket")
    assert first(paths) == "websocket"
