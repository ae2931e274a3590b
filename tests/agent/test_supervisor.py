"""What the supervisor tells systemd about loops that are stuck."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.settings import Settings
from agent.supervisor import Supervisor
from agent.wire.token import AccessToken


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


def make(tmp_path: Path) -> Supervisor:
    (tmp_path / "token").write_text(AccessToken.generate(bytes(16)).reveal())
    flags = {
        "relay": "http://127.0.0.1:9",
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
