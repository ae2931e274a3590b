"""`postern-agent status`: what a person and a program read of a running agent, and the sentence where there is none."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from agent import status as asking
from agent.condition import as_text, standing, state
from agent.failure import AgentError
from agent.status import SOCKET, read_status, serve_status
from tests.agent.conftest import PROGRAM, Agent
from tests.agent.fake_relay import FakeRelay
from tests.system.programs import PLAIN_USER

NOW = 1_793_000_000.0
TUNNEL = {
    "slot": 0,
    "state": "standing",
    "node": "n1",
    "transport": "websocket",
    "address": "192.0.2.1:443",
    "since": NOW - 7200,
    "channels": 1,
    "round_trip_ms": 12.5,
}
STATUS: dict[str, Any] = {
    "version": "0.1.0",
    "pid": 42,
    "started": NOW - 90_000,
    "relay": "https://relay.test",
    "agent": {"id": "agt_a", "name": "Shop Lyon"},
    "instance": "ins_a",
    "certificate_seconds": 3661,
    "tunnels": [TUNNEL, {"slot": 1, "state": "dialling"}],
    "draining": [{"channels": 2}],
    "stores": [{"origin": "http://shop.lan", "address": "192.168.1.20:80"}],
    "last_error": {"at": NOW - 60, "text": "tunnel lost: \033[31mthe relay stopped answering"},
}


def lines(**changes: Any) -> dict[str, str]:
    told = as_text(STATUS | changes, NOW)
    return {line[:12].strip(): line[13:] for line in told}


def test_a_person_reads_the_state_first_and_then_each_part() -> None:
    """Name, process, certificate, each tunnel with transport, node, address, round trip, channels and age, stores."""
    told = lines()
    assert list(told)[:3] == ["state", "agent", "instance"]
    assert told["state"] == "degraded, 1 of 2 tunnels stand: requests pass, and the rest is being dialled"
    assert told["agent"] == "Shop Lyon (agt_a)"
    assert told["process"].startswith("42, version 0.1.0, up 25 h 0 min (since 20")
    assert told["certificate"] == "1 h 1 min left, renewed by itself"
    assert told["tunnel 0"] == (
        "standing for 2 h 0 min, websocket to node n1 at 192.0.2.1:443, round trip 12.5 ms, 1 channel"
    )
    assert told["tunnel 1"] == "dialling"
    assert told["draining"] == "an older tunnel, 2 channels"
    assert told["store"] == "http://shop.lan at 192.168.1.20:80"


def test_the_last_trouble_has_its_time_and_a_remedy() -> None:
    """Or says that it is over; what a terminal would obey is escaped."""
    told = lines()
    assert told["last error"].startswith("1 min 0 s ago (20")
    assert told["last error"].endswith("tunnel lost: \\x1b[31mthe relay stopped answering")
    assert told[""].startswith("-> 'postern-agent check'")
    assert lines(tunnels=[TUNNEL])[""] == "-> over: every tunnel has come up since"
    assert "last error" not in lines(last_error=None)


@pytest.mark.parametrize(
    ("tunnels", "word", "stands"),
    [
        ([], "enrolling", False),
        (["dialling", "waiting"], "offline", False),
        (["standing", "waiting"], "degraded", True),
        (["standing", "standing"], "online", True),
    ],
)
def test_the_state_is_one_word(tunnels: list[str], word: str, stands: bool) -> None:
    """And one tunnel is enough for requests to pass."""
    status = {"tunnels": [{"state": each} for each in tunnels]}
    assert (state(status), standing(status)) == (word, stands)


def test_an_agent_of_another_version_is_read_all_the_same() -> None:
    """Members that it does not tell are left out."""
    told = list(as_text({"tunnels": [{"state": "standing"}], "agent": None}, NOW))
    assert told[0].startswith("state        online")
    assert any("not enrolled yet" in line for line in told)


async def test_the_real_command_shows_the_running_agent(
    agent: Agent, relay: FakeRelay, token_file: Path, tmp_path: Path
) -> None:
    """Status 0 while a tunnel stands; --json is what the agent said, and the state."""
    directory = tmp_path / "state"
    running = await agent.start(
        *("run", "--relay", relay.url, "--token-file", token_file, "--state-dir", directory),
        *("--store", "http://shop.lan=127.0.0.1:9"),
    )
    await running.says("tunnel stands")
    told = await agent.finish("status", "--state-dir", directory, "--json")
    status = json.loads(told.out)
    assert told.status == 0
    assert (status["state"], status["pid"]) == ("online", running.process.pid)
    assert status["tunnels"][0]["transport"] == "tcp"
    read = await agent.finish("status", "--state-dir", directory)
    assert read.status == 0
    assert f"tcp to node n1 at 127.0.0.1:{relay.ssh_port}" in read.out
    await relay.stop_ssh()
    await running.says("tunnel lost; dialling again")
    told = await agent.finish("status", "--state-dir", directory)
    assert told.status == 1
    assert told.out.startswith("state        offline, 0 of 1 tunnels stand")
    await relay.start_ssh()


async def test_a_socket_that_was_left_behind_is_no_agent(tmp_path: Path) -> None:
    """Its process was killed."""
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / SOCKET))
    left.close()
    with pytest.raises(AgentError, match=f"no agent runs with {tmp_path}: start it with"):
        read_status(tmp_path, chosen=True)


async def test_what_answers_and_is_no_agent_is_told(tmp_path: Path) -> None:
    """Another program on that path."""

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello\n")
        writer.close()

    async with await asyncio.start_unix_server(serve, tmp_path / SOCKET):
        with pytest.raises(AgentError, match="is not an agent"):
            await asyncio.to_thread(read_status, tmp_path, chosen=True)


async def test_an_agent_that_hangs_is_told_in_bounded_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the socket, and does not answer."""
    monkeypatch.setattr(asking, "ANSWER_SECONDS", 0.2)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / SOCKET))
        silent.listen(1)
        began = time.monotonic()
        with pytest.raises(AgentError, match="does not answer"):
            read_status(tmp_path, chosen=True)
    assert time.monotonic() - began < 2


async def test_whoever_named_the_wrong_directory_hears_of_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The packaged service answers without --state-dir, and is not asked for another one."""
    monkeypatch.setattr(asking, "RUNTIME_DIRECTORY", tmp_path / "service")
    (tmp_path / "service").mkdir()
    async with serve_status(tmp_path / "service", lambda: {"pid": 1}):
        with pytest.raises(AgentError, match="the service's own agent answers without --state-dir"):
            await asyncio.to_thread(read_status, tmp_path / "other", chosen=True)
        told = await asyncio.to_thread(read_status, tmp_path / "other", chosen=False)
    assert told == {"pid": 1}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_another_user_hears_whose_it_is(tmp_path: Path) -> None:
    """One sentence with the way out, no trace."""
    directory = tmp_path / "state"
    directory.mkdir(mode=0o700)
    async with serve_status(directory, lambda: STATUS):
        os.chown(directory, 65534, 65534)
        command = [*PLAIN_USER, str(PROGRAM), "status", "--state-dir", str(directory)]
        done = await asyncio.to_thread(lambda: subprocess.run(command, capture_output=True, text=True, check=False))
    assert done.returncode == 1
    assert "belongs to the agent's own user" in done.stderr
    assert done.stderr.count("\n") == 1


async def test_an_agent_that_leaves_lets_its_successors_socket_be(tmp_path: Path) -> None:
    """The successor begins while the other one's channels finish; and the last one leaves no socket behind."""
    async with AsyncExitStack() as successor:
        async with serve_status(tmp_path, lambda: {"pid": 1}):
            await successor.enter_async_context(serve_status(tmp_path, lambda: {"pid": 2}))
        assert await asyncio.to_thread(read_status, tmp_path, chosen=True) == {"pid": 2}
    assert not (tmp_path / SOCKET).exists()
