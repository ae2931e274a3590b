"""Recovery loops that are stuck, or fail: what the supervisor tells systemd, and when it ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.settings import Settings
from agent.slot import Slot
from agent.supervisor import Supervisor
from agent.wire.token import AccessToken
from tests.agent.conftest import eventually
from tests.agent.fake_relay import FakeRelay


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "60000")
        yield sock


def everything(heard: socket.socket) -> list[bytes]:
    said = []
    while True:
        try:
            said.append(heard.recv(4096))
        except BlockingIOError:
            return said


def make(tmp_path: Path, relay: FakeRelay | None = None) -> Supervisor:
    (tmp_path / "token").write_text((relay.token if relay else AccessToken.generate(bytes(16))).reveal())
    flags = {
        "relay": relay.url if relay else "http://127.0.0.1:9",
        "stores": ["http://shop.lan"],
        "token_file": tmp_path / "token",
        "state_dir": tmp_path / "state",
    }
    settings = Settings.load(flags, None)
    return Supervisor(settings, lambda: settings)


async def test_the_watchdog_is_fed_only_while_every_recovery_loop_has_its_timer(
    heard: socket.socket, tmp_path: Path
) -> None:
    """A slot that was due long ago stops the feeding; systemd then restarts the agent."""
    supervisor = make(tmp_path)
    informing = asyncio.ensure_future(supervisor._inform())
    await asyncio.sleep(0.3)
    assert everything(heard).count(b"WATCHDOG=1") > 3
    supervisor._lifelines._due["slot 0"] = 0.0
    supervisor._board.changed()
    await asyncio.sleep(0.1)
    everything(heard)
    await asyncio.sleep(0.3)
    assert b"WATCHDOG=1" not in everything(heard)
    supervisor._lifelines.end("slot 0")
    await asyncio.sleep(0.3)
    assert b"WATCHDOG=1" in everything(heard)
    informing.cancel()


async def test_an_enrolment_that_takes_too_long_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the machine was suspended in the middle of it: the agent goes on."""
    monkeypatch.setattr("agent.supervisor.REQUEST_SECONDS", 0.01)
    supervisor, tries, again = make(tmp_path), 0, asyncio.Event()

    async def enrol(_stores: object) -> None:
        nonlocal tries
        tries += 1
        if tries > 1:
            again.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(supervisor._enrolment, "enrol", enrol)
    enrolling = asyncio.ensure_future(supervisor._keep_enrolled())
    await asyncio.wait_for(again.wait(), 10)
    assert not enrolling.done()
    assert supervisor.snapshot()["last_error"]["text"] == "the enrolment was not over in time"
    enrolling.cancel()


async def test_a_loop_that_begins_later_and_fails_ends_the_agent(
    relay: FakeRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slot is begun with the first enrolment: nobody may go on without it, and the service manager starts anew."""

    async def fail(_slot: Slot) -> None:
        raise RuntimeError("a fault of the agent's own")

    monkeypatch.setattr(Slot, "run", fail)
    supervisor = make(tmp_path, relay)
    with pytest.raises(RuntimeError, match="of the agent's own"):
        await asyncio.wait_for(supervisor.run(), 10)


async def test_an_endpoint_whose_name_is_none_is_a_failed_try(relay: FakeRelay, tmp_path: Path) -> None:
    """It is told and tried again, and endpoints that are right are taken as soon as they come."""
    wrong = {"transport": "tcp", "node": "n1", "host": "relay..example.com", "port": 22}
    relay.answer_changes["endpoints"] = [wrong]
    supervisor = make(tmp_path, relay)
    running = asyncio.ensure_future(supervisor.run())
    assert await eventually(lambda: supervisor.snapshot()["last_error"] is not None)
    assert "'relay..example.com' is no name" in supervisor.snapshot()["last_error"]["text"]
    relay.answer_changes.clear()
    supervisor._board.want_admission()
    await relay.tunnel()
    supervisor.stop()
    await asyncio.wait_for(running, 10)
