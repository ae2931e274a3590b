"""`postern-agent check`: what it finds, what it says to do, and that it changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.https import no_trust
from agent.probes import StepError, judge
from agent.wire.destination import Store
from tests.agent.conftest import Agent, Finished, OpenShop
from tests.agent.fake_relay import FakeRelay
from tests.agent.test_enrolment import certificate

Check = Callable[..., Any]


def answering(head: bytes) -> Any:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\n")
            writer.write(head)
            await writer.drain()
        writer.close()

    return serve


OK = answering(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")


@pytest.fixture
def check(agent: Agent, relay: FakeRelay, token_file: Path, tmp_path: Path) -> Check:
    """Runs the check with the relay, the token and these stores; gives the lines by name too."""

    async def run(*stores: str, relay_url: str = relay.url, **environment: str) -> tuple[Finished, dict[str, Any]]:
        named = [part for store in stores for part in ("--store", store)]
        ended = await agent.finish(
            *("check", "--json", "--relay", relay_url, "--token-file", token_file),
            *("--state-dir", tmp_path / "state", *named),
            **environment,
        )
        return ended, {line["name"]: line for line in json.loads(ended.out)["checks"]}

    return run


async def test_where_everything_is_right_all_passes(check: Check, open_shop: OpenShop) -> None:
    """Status 0; what cannot be known yet is skipped, not guessed."""
    shop = await open_shop(OK)
    ended, lines = await check(f"http://shop.lan=127.0.0.1:{shop.port}")
    assert ended.status == 0
    assert json.loads(ended.out)["ok"] is True
    skipped = {name for name, line in lines.items() if line["status"] == "SKIP"}
    assert skipped == {"relay tls", "relay ssh"}
    assert {line["status"] for line in lines.values()} == {"PASS", "SKIP"}
    assert lines["relay clock"]["detail"] == "right"
    assert lines["http://shop.lan http"]["detail"] == "the webservice answers (401)"
    assert set(lines["token"]) == {"name", "status", "ms", "detail", "remedy"}


async def test_it_changes_nothing_and_takes_no_place(check: Check, relay: FakeRelay, tmp_path: Path) -> None:
    """No state directory, no enrolment, no SSH login."""
    await check("http://127.0.0.1:9")
    assert not (tmp_path / "state").exists()
    assert relay.asked == []
    assert relay.tunnels_ever == 0


async def test_people_get_lines_with_a_remedy_each(agent: Agent, relay: FakeRelay, token_file: Path) -> None:
    """PASS, FAIL or SKIP, the step, what was seen, and below a failure what to do; status 1."""
    ended = await agent.finish(
        *("check", "--relay", relay.url, "--token-file", token_file, "--store", "http://shop.lan=127.0.0.1:9")
    )
    assert ended.status == 1
    lines = ended.out.splitlines()
    failed = next(i for i, line in enumerate(lines) if line.startswith("FAIL  http://shop.lan tcp"))
    assert "127.0.0.1:9: Connection refused" in lines[failed]
    assert lines[failed + 1].strip() == "-> is the web server up, and is that its port?"
    assert lines[failed + 2].startswith("SKIP  http://shop.lan http")


async def test_a_relay_that_is_down_fails_at_its_step(check: Check) -> None:
    """What comes after is skipped, what does not depend on it is tried all the same."""
    ended, lines = await check("http://127.0.0.1:9", relay_url="http://127.0.0.1:9")
    assert ended.status == 1
    assert lines["relay dns"]["status"] == "PASS"
    assert lines["relay tcp"]["status"] == "FAIL"
    assert lines["relay http"]["status"] == lines["relay clock"]["status"] == "SKIP"
    assert lines["relay http"]["detail"] == "not tried, since 'relay tcp' failed"
    assert lines["http://127.0.0.1:9 tcp"]["status"] == "FAIL"


async def test_a_wrong_clock_is_told_in_seconds(check: Check, relay: FakeRelay) -> None:
    """From the Date of the relay's answer."""
    relay.date = lambda: time.time() + 7200
    _, lines = await check("http://127.0.0.1:9")
    assert lines["relay clock"]["status"] == "FAIL"
    assert lines["relay clock"]["detail"] in {f"this machine's clock is {n} s behind" for n in (7199, 7200, 7201)}
    relay.date = lambda: time.time() - 40
    _, lines = await check("http://127.0.0.1:9")
    assert lines["relay clock"]["status"] == "PASS"
    assert "s ahead, which is harmless" in lines["relay clock"]["detail"]


async def test_after_an_enrolment_the_ssh_port_is_known_and_tried(
    check: Check, agent: Agent, relay: FakeRelay, token_file: Path, tmp_path: Path
) -> None:
    """And the agent that runs there is not disturbed."""
    arguments = ("--relay", relay.url, "--token-file", token_file, "--state-dir", tmp_path / "state")
    running = await agent.start("run", *arguments, "--store", "http://127.0.0.1:9")
    await running.says("tunnel stands")
    _, lines = await check("http://127.0.0.1:9")
    assert lines[f"relay ssh 127.0.0.1:{relay.ssh_port}"]["detail"] == "answers with SSH"
    assert "holds this instance" in lines["state directory"]["detail"]
    await relay.stop_ssh()
    _, lines = await check("http://127.0.0.1:9")
    assert lines[f"relay ssh 127.0.0.1:{relay.ssh_port}"]["status"] == "FAIL"
    assert running.process.returncode is None


async def test_bad_settings_are_one_failed_line(agent: Agent, tmp_path: Path) -> None:
    """Status 1, as for every check that fails; the sentence is that of `run`."""
    ended = await agent.finish("check", "--relay", "ftp://x", "--store", "http://shop.lan")
    assert ended.status == 1
    assert ended.out.startswith("FAIL  settings  relay: ")
    assert ended.err == ""


async def test_a_bad_token_and_a_bad_directory_are_found_together(
    agent: Agent, relay: FakeRelay, tmp_path: Path
) -> None:
    """Not one after the other, a restart each."""
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o777)
    (tmp_path / "bad").write_text("postern_nonsense")
    arguments = ("--relay", relay.url, "--store", "http://127.0.0.1:9", "--state-dir", state)
    ended = await agent.finish("check", *arguments, "--token-file", tmp_path / "bad")
    failed = [line for line in ended.out.splitlines() if line.startswith("FAIL")]
    assert [line.split()[1] for line in failed[:2]] == ["state", "token"]
    assert state.stat().st_mode & 0o777 == 0o777


async def test_silence_everywhere_is_told_in_bounded_time(check: Check) -> None:
    """A relay and stores that take connections and never answer."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(100)
        port = silent.getsockname()[1]
        began = time.monotonic()
        ended, lines = await check(
            f"http://127.0.0.1:{port}", f"https://localhost:{port}", relay_url=f"http://127.0.0.1:{port}"
        )
    assert time.monotonic() - began < 15
    assert ended.status == 1
    assert lines["relay http"]["detail"] == "no answer within 5 s"
    assert lines[f"http://127.0.0.1:{port} http"]["detail"] == "no answer within 5 s"
    assert lines[f"https://localhost:{port} tls"]["detail"] == "no answer within 5 s"


async def test_a_store_with_tls_is_looked_at_and_left_to_the_relay_to_judge(
    check: Check, relay: FakeRelay, tmp_path: Path
) -> None:
    """Its own certificate is no failure here; plain HTTP on that port is."""
    _, context = certificate(tmp_path, -3600, 3600)
    server = await asyncio.start_server(OK, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    ended, lines = await check(f"https://www.shop.fr=127.0.0.1:{port}")
    assert ended.status == 0
    assert "shows a certificate for CN=Test relay" in lines["https://www.shop.fr tls"]["detail"]
    plain = await asyncio.start_server(lambda _, writer: writer.write(b"HTTP/1.1 400 Bad\r\n\r\n"), "127.0.0.1", 0)
    ended, lines = await check(f"https://www.shop.fr=127.0.0.1:{plain.sockets[0].getsockname()[1]}")
    assert lines["https://www.shop.fr tls"]["status"] == "FAIL"
    assert "no TLS" in lines["https://www.shop.fr tls"]["detail"]
    server.close()
    plain.close()


async def test_a_relay_with_an_unknown_ca_says_what_to_do(check: Check, relay: FakeRelay, tmp_path: Path) -> None:
    """Which is how a network that inspects TLS looks."""
    path, context = certificate(tmp_path, -3600, 3600)
    server = await asyncio.start_server(relay.answer_http, "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    _, lines = await check("http://127.0.0.1:9", relay_url=url)
    assert lines["relay tls"]["status"] == "FAIL"
    assert "--ca-file" in lines["relay tls"]["detail"]
    _, lines = await check("http://127.0.0.1:9", relay_url=url, POSTERN_AGENT_CA_FILE=str(path))
    assert lines["relay tls"]["detail"].startswith("trusted, signed by Test relay, valid until ")
    assert lines["relay http"]["detail"] == "alive; its certificate is signed by Test relay"
    server.close()


async def test_behind_a_proxy_the_direct_steps_are_skipped(check: Check) -> None:
    """They may well be forbidden there; the proxy's credentials are not shown."""
    _, lines = await check(
        "http://127.0.0.1:9", relay_url="https://relay.test", HTTPS_PROXY="http://user:secret@127.0.0.1:9"
    )
    assert lines["relay tcp"] == {
        "name": "relay tcp",
        "status": "SKIP",
        "ms": 0,
        "detail": "goes through the proxy 127.0.0.1:9",
        "remedy": None,
    }
    assert lines["relay http"]["status"] == "FAIL"
    assert "secret" not in json.dumps(lines)


STORE = Store.parse("http://192.168.1.20")


@pytest.mark.parametrize(
    ("head", "seen", "remedy"),
    [
        (
            "HTTP/1.1 302 Found\r\nLocation: https://www.shop.fr/api\r\n",
            "to https://www.shop.fr/api",
            "--store https://www.shop.fr=192.168.1.20:443",
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: http://shop.lan/\r\n",
            "redirects (302)",
            "--store http://shop.lan=192.168.1.20:80",
        ),
        ("HTTP/1.1 301 Moved\r\n", "redirects (301) to nowhere", "--store https://www.shop.fr=192.168.1.20:443"),
        ("HTTP/1.1 404 Not Found\r\n", "/api answers 404", "friendly URLs"),
        ("HTTP/1.1 503 Service Unavailable\r\n", "/api answers 503", "maintenance mode"),
        ("HTTP/1.1 500 Oops\r\n", "/api answers 500", "web server's log"),
        ("HTTP/1.1 403 Forbidden\r\n", "/api answers 403", "let this machine in"),
        ("SSH-2.0-OpenSSH\r\n", "no web server", "the store's port"),
        ("HTTP/1.1\r\n", "no web server", "the store's port"),
    ],
)
def test_each_answer_of_a_store_has_its_remedy(head: str, seen: str, remedy: str) -> None:
    """What a merchant can do, in plain words."""
    with pytest.raises(StepError) as caught:
        judge(STORE, head + "\r\n")
    assert seen in str(caught.value)
    assert remedy in caught.value.remedy


def test_nothing_here_verifies_by_accident() -> None:
    """The context with which stores are looked at believes nobody, and is used for nothing else."""
    assert no_trust().verify_mode == ssl.CERT_NONE
