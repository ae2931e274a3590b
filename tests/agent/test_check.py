"""`postern-agent check`: what it finds, what it says to do, and that it changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from agent import check as checking
from agent.enrolment import Enrolment
from agent.https import Link
from agent.identity import Identity
from agent.wire.destination import Store
from tests.agent.conftest import Agent, Finished, OpenShop, eventually
from tests.agent.fake_relay import Answer
from tests.agent.test_enrolment import certificate
from tests.agent.visited_relay import VisitedRelay, connect_proxy, visited_relay
from tests.system.certificates import Certificates

Check = Callable[..., Any]
STORES = (Store.parse("http://127.0.0.1:9"),)
REALM = b'Basic realm="Welcome to PrestaShop Webservice, please enter the authentication key as the login."'


def answering(head: bytes) -> Any:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head)
            await writer.drain()
        writer.close()

    return serve


OK = answering(b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: " + REALM + b"\r\nContent-Length: 0\r\n\r\n")


@pytest.fixture
async def relay() -> AsyncIterator[VisitedRelay]:
    async with visited_relay() as running:
        yield running


@pytest.fixture
def check(agent: Agent, relay: VisitedRelay, token_file: Path, tmp_path: Path) -> Check:
    """Runs the check with the relay, the token and these stores; gives the lines by name too."""

    async def run(*stores: str, relay_url: str = relay.url, **environment: str) -> tuple[Finished, dict[str, Any]]:
        named = [part for store in stores or ("http://127.0.0.1:9",) for part in ("--store", store)]
        ended = await agent.finish(
            *("check", "--json", "--relay", relay_url, "--token-file", token_file),
            *("--state-dir", tmp_path / "state", *named),
            **environment,
        )
        return ended, {line["name"]: line for line in json.loads(ended.out)["checks"]}

    return run


@pytest.fixture
def arguments(relay: VisitedRelay, token_file: Path, tmp_path: Path) -> tuple[object, ...]:
    """Of an agent that runs with the same state directory."""
    where = ("--relay", relay.url, "--token-file", token_file, "--state-dir", tmp_path / "state")
    return *where, "--store", "http://127.0.0.1:9"


def failed(lines: dict[str, Any]) -> set[str]:
    return {name for name, line in lines.items() if line["status"] == "FAIL"}


async def test_where_everything_is_right_nothing_fails(check: Check, open_shop: OpenShop) -> None:
    """Status 0; what cannot be known yet is skipped, not guessed."""
    shop = await open_shop(OK)
    ended, lines = await check(f"http://shop.lan=127.0.0.1:{shop.port}")
    assert ended.status == 0
    skipped = {name for name, line in lines.items() if line["status"] == "SKIP"}
    assert skipped == {"agent", "relay dns", "relay tls", "relay enrolment", "ssh tcp"}
    assert failed(lines) == set()
    assert lines["relay proxy"]["detail"] == "none is set"
    assert lines["relay clock"]["detail"] == "right"
    assert "(401)" in lines["relay websocket"]["detail"]
    assert lines["http://shop.lan api"]["detail"].startswith("PrestaShop's webservice answers")


async def test_the_object_has_the_shape_that_is_promised(check: Check) -> None:
    """Programs read it."""
    ended, lines = await check()
    told = json.loads(ended.out)
    assert list(told) == ["ok", "status", "version", "at", "checks", "seconds", "bundle"]
    assert (told["ok"], told["status"], told["bundle"]) == (False, 1, None)
    assert abs(told["at"] - time.time()) < 60
    assert all(set(line) == {"name", "status", "ms", "detail", "remedy"} for line in lines.values())


async def test_it_changes_nothing_and_takes_no_place(check: Check, relay: VisitedRelay, tmp_path: Path) -> None:
    """No state directory, no enrolment, no SSH login; the token is asked about with a void signature."""
    await check()
    assert not (tmp_path / "state").exists()
    assert [asked.token_id for asked in relay.asked] == [relay.token.id]
    assert relay.places_taken == set()
    assert relay.connections == relay.tunnels_ever == 0


async def test_people_get_lines_with_a_remedy_each(agent: Agent, relay: VisitedRelay, token_file: Path) -> None:
    """PASS, FAIL or SKIP, the step, what was seen, and below a failure what to do; status 1."""
    ended = await agent.finish(
        *("check", "--relay", relay.url, "--token-file", token_file, "--store", "http://shop.lan=127.0.0.1:9")
    )
    assert ended.status == 1
    lines = ended.out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("FAIL  http://shop.lan tcp"))
    assert "127.0.0.1: Connection refused" in lines[first]
    assert lines[first + 1].strip().startswith("-> is the web server up, is 9 its port")
    assert lines[first + 2].startswith("SKIP  http://shop.lan http")
    assert " 1 failed, " in lines[-2]
    assert lines[-1].startswith("begin with 'http://shop.lan tcp'")
    assert "\033" not in ended.out


async def test_a_relay_that_is_down_fails_at_its_step(check: Check) -> None:
    """What comes after is skipped, what does not depend on it is tried all the same."""
    ended, lines = await check(relay_url="http://127.0.0.1:9")
    assert ended.status == 1
    assert failed(lines) == {"relay tcp", "http://127.0.0.1:9 tcp"}
    for step in ("http", "clock", "enrolment", "token", "websocket"):
        assert lines[f"relay {step}"]["detail"] == "not tried, since 'relay tcp' failed"


@pytest.mark.parametrize(
    ("ahead", "status", "words"),
    [
        (7200, "FAIL", "this machine's clock is 7200 s ahead, and the relay takes at most 3600 s"),
        (-7200, "FAIL", "this machine's clock is 7200 s behind, and the relay takes at most 3600 s"),
        (900, "PASS", "this machine's clock is 900 s ahead: that works, up to 3600 s, but set it"),
        (-900, "PASS", "this machine's clock is 900 s behind: that works, up to 3600 s, but set it"),
        (40, "PASS", "40 s ahead, which is harmless"),
    ],
)
async def test_a_wrong_clock_is_told_in_seconds(
    check: Check, relay: VisitedRelay, ahead: int, status: str, words: str
) -> None:
    """From the Date of the relay's answer, give or take what the answer takes."""
    relay.date = lambda: time.time() - ahead
    _, lines = await check()
    assert lines["relay clock"]["status"] == status
    near = {words.replace(str(abs(ahead)), str(abs(ahead) + n), 1) for n in (-1, 0, 1, 2)}
    assert lines["relay clock"]["detail"] in near


async def test_a_running_agent_is_believed_and_not_disturbed(
    check: Check, agent: Agent, relay: VisitedRelay, arguments: tuple[object, ...]
) -> None:
    """Its tunnel proves certificate and login: nothing is renewed, nobody logs in beside it."""
    running = await agent.start("run", *arguments)
    await running.says("tunnel stands")
    tunnel, asked = relay.tunnels[-1], len(relay.asked)
    _, lines = await check()
    assert lines["agent"]["detail"].endswith("1 of 1 tunnels stand")
    assert lines["relay enrolment"]["detail"].startswith("proved by the running agent; its certificate lasts ")
    assert lines["relay token"]["detail"].startswith("the relay takes it")
    ssh = f"ssh 127.0.0.1:{relay.ssh_port}"
    assert "SSH-2.0" in lines[f"{ssh} banner"]["detail"]
    assert lines[f"{ssh} login"]["detail"].startswith("the running agent's tunnel stands here, for ")
    assert len(relay.asked) == asked
    assert relay.tunnels == [tunnel]
    assert relay.tunnels_ever == 1
    assert running.process.returncode is None


async def test_an_enrolled_agent_that_is_stopped_logs_in_and_publishes_nothing(
    check: Check, relay: VisitedRelay, tmp_path: Path
) -> None:
    """With the installation's own key: one renewal, one login that ends at once."""
    await enrol(relay, tmp_path / "state")
    before = {path.name: path.read_bytes() for path in (tmp_path / "state").iterdir()}
    _, lines = await check()
    ssh = f"ssh 127.0.0.1:{relay.ssh_port}"
    assert lines["agent"]["status"] == "SKIP"
    assert "as one of 'Backoffice'" in lines["relay enrolment"]["detail"]
    assert lines[f"{ssh} login"]["detail"] == "the relay lets this installation in"
    assert relay.renewals == 1
    assert [asked.request.visit for asked in relay.asked] == [False, True], "it says that it is only looking"
    assert relay.tunnels_ever == 0
    assert await eventually(lambda: relay.connections == 0)
    assert {path.name: path.read_bytes() for path in (tmp_path / "state").iterdir()} == before


async def test_with_a_ticket_the_upgrade_goes_all_the_way(check: Check, relay: VisitedRelay, tmp_path: Path) -> None:
    """101, and SSH answers through it."""
    await enrol(relay, tmp_path / "state")
    name_websocket(tmp_path / "state" / "enrolment.json", relay)
    _, lines = await check()
    assert lines["relay websocket"]["detail"] == "the upgrade passes (101), and SSH answers through it"
    assert relay.upgrades[-1] == 101


async def enrol(relay: VisitedRelay, directory: Path) -> None:
    """What an agent that ran and was stopped leaves behind."""
    identity = Identity.open(directory)
    try:
        await Enrolment(relay.url, identity, lambda: relay.token, Link(relay.url, None)).enrol(STORES)
    finally:
        identity.unlock()


def name_websocket(memory: Path, relay: VisitedRelay) -> None:
    """As if the last enrolment had named one."""
    saved = json.loads(memory.read_text())
    url = relay.url.replace("http", "ws", 1) + "/v1/agent/tunnel"
    saved["endpoints"].append(
        {"transport": "websocket", "node": "n1", "host": "127.0.0.1", "port": relay.http_port, "url": url}
    )
    memory.write_text(json.dumps(saved))


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("token_revoked", (78, "the access token of this installation was revoked")),
        ("agent_revoked", (78, "this agent was revoked")),
        ("instance_revoked", (78, "this installation was revoked")),
        ("instance_unknown", (1, "does not know this installation")),
        ("relay_overloaded", (1, "too much to do")),
        ("nonsense", (1, "answers 403 to an enrolment")),
    ],
)
async def test_what_the_relay_says_of_this_installation_is_told(
    check: Check, relay: VisitedRelay, tmp_path: Path, code: str, outcome: tuple[int, str]
) -> None:
    """With the exit status with which `run` would end, and a remedy; the login is then not tried."""
    await enrol(relay, tmp_path / "state")
    relay.answers = [Answer.problem(code)]
    ended, lines = await check()
    status, words = outcome
    assert ended.status == status
    assert words in lines["relay enrolment"]["detail"]
    assert lines["relay enrolment"]["remedy"]
    assert lines[f"ssh 127.0.0.1:{relay.ssh_port} login"]["status"] == "SKIP"


async def test_a_token_of_another_relay_is_told_before_anybody_enrols(check: Check, relay: VisitedRelay) -> None:
    """Status 78: it is well formed, and the relay does not know it."""
    relay.tokens.clear()
    ended, lines = await check()
    assert ended.status == 78
    assert lines["token"]["status"] == "PASS"
    assert lines["relay token"]["detail"] == "the relay does not know this access token"
    assert "postern-relay agents tokens create" in lines["relay token"]["remedy"]


async def test_a_relay_that_goes_by_another_name_is_told(check: Check, relay: VisitedRelay) -> None:
    """The signature is made for a name; the relay says which is its own."""
    relay.answers = [Answer.problem("relay_mismatch", relay="https://relay.example.com")]
    ended, lines = await check()
    assert ended.status == 78
    assert lines["relay token"]["remedy"] == "name it as it calls itself: --relay https://relay.example.com"


async def test_bad_settings_are_one_failed_line(agent: Agent) -> None:
    """Status 78, as `run` would end; the sentence is that of `run`."""
    ended = await agent.finish("check", "--relay", "ftp://x", "--store", "http://shop.lan")
    assert ended.status == 78
    assert ended.out.startswith("FAIL  settings  relay: ")
    assert ended.err == ""


async def test_a_bad_token_and_a_bad_directory_are_found_together(
    agent: Agent, relay: VisitedRelay, tmp_path: Path
) -> None:
    """Not one after the other, a restart each; nothing is mended by looking."""
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o777)
    (tmp_path / "bad").write_text("postern_nonsense")
    arguments = ("--relay", relay.url, "--store", "http://127.0.0.1:9", "--state-dir", state)
    ended = await agent.finish("check", *arguments, "--token-file", tmp_path / "bad")
    lines = [line for line in ended.out.splitlines() if line.startswith("FAIL")]
    assert ended.status == 78
    assert [line.split()[1] for line in lines[:2]] == ["state", "token"]
    assert f"-> chmod 700 {state}" in ended.out
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


async def test_the_whole_has_a_deadline_of_its_own(
    relay: VisitedRelay, token_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not done by then has failed, at the step where it stood; what was done counts."""
    monkeypatch.setattr(checking, "TOTAL_SECONDS", 0.5)
    async with hanging() as port:
        flags = {"relay": relay.url, "token_file": token_file, "state_dir": tmp_path / "state"}
        began = time.monotonic()
        lines = await checking.check({**flags, "stores": [f"http://127.0.0.1:{port}"]}, None, lambda _line: None)
    assert time.monotonic() - began < 3
    outcome = {line.name: line.status for line in lines}
    assert outcome[f"http://127.0.0.1:{port} http"] == "FAIL"
    assert outcome["relay http"] == "PASS"


@contextlib.asynccontextmanager
async def hanging() -> AsyncIterator[int]:
    """A port that takes connections and says nothing."""
    gone = asyncio.Event()

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await gone.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    gone.set()
    server.close()


async def test_a_store_with_tls_is_looked_at_and_left_to_the_relay_to_judge(check: Check, tmp_path: Path) -> None:
    """Its own certificate is no failure here: the connection at the relay may have been given it."""
    made = Certificates.make(tmp_path, "www.shop.fr")
    async with serving(OK, made) as port:
        _, lines = await check(f"https://www.shop.fr=127.0.0.1:{port}")
        _, other = await check(f"https://shop.lan=127.0.0.1:{port}")
    assert failed(lines) == set()
    tls = lines["https://www.shop.fr tls"]["detail"]
    assert "TLS 1.3, certificate for www.shop.fr, signed by Test CA, valid until 20" in tls
    assert "(0 days left, renew it); no public authority vouches for it" in tls
    assert lines["https://www.shop.fr api"]["status"] == "PASS"
    assert "no public authority" in other["https://shop.lan tls"]["detail"]


async def test_a_stores_certificate_that_has_ended_fails(check: Check, tmp_path: Path) -> None:
    """The relay would refuse it, whatever else it was told."""
    _, context = certificate(tmp_path, -7200, -3600)
    server = await asyncio.start_server(OK, "127.0.0.1", 0, ssl=context)
    _, lines = await check(f"https://localhost:{server.sockets[0].getsockname()[1]}")
    server.close()
    tls = next(line for name, line in lines.items() if name.endswith(" tls") and name.startswith("https"))
    assert tls["status"] == "FAIL"
    assert "(expired 1 days ago)" in tls["detail"]
    assert "renew the store's certificate" in tls["remedy"]


async def test_plain_http_where_tls_was_said_is_told(check: Check, open_shop: OpenShop) -> None:
    """And where the web server is none."""
    shop = await open_shop(lambda _, writer: writer.write(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"))
    _, lines = await check(f"https://a.lan=127.0.0.1:{shop.port}", f"http://b.lan=127.0.0.1:{shop.port}")
    assert "no TLS" in lines["https://a.lan tls"]["detail"]
    assert "publish it as http://" in lines["https://a.lan tls"]["remedy"]
    assert "what answers is no web server (SSH-2.0-OpenSSH_9.9)" in lines["http://b.lan http"]["detail"]


@contextlib.asynccontextmanager
async def serving(answer: Any, made: Certificates) -> AsyncIterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.chain, made.key)
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def test_a_relay_with_an_unknown_ca_names_it_and_the_remedy(
    agent: Agent, tmp_path: Path, relay: VisitedRelay, token_file: Path
) -> None:
    """Which is how a network that inspects TLS looks; once its CA is given, that is said, and all goes on."""
    ca, context = certificate(tmp_path, -3600, 30 * 86_400)
    async with visited_relay(context) as inspected:
        inspected.tokens = relay.tokens
        asked = ("check", "--json", "--relay", inspected.url, "--token-file", token_file,
                 "--store", "http://127.0.0.1:9", "--state-dir", tmp_path / "state")  # fmt: skip
        ended = await agent.finish(*asked)
        tls = {line["name"]: line for line in json.loads(ended.out)["checks"]}["relay tls"]
        assert tls["status"] == "FAIL"
        assert "signed by Test relay" in tls["detail"]
        assert "--ca-file" in tls["remedy"]
        ended = await agent.finish(*asked, "--ca-file", ca)
        lines = {line["name"]: line for line in json.loads(ended.out)["checks"]}
    assert lines["relay tls"]["detail"].startswith("TLS 1.3, certificate for localhost, signed by Test relay, valid un")
    assert "(29 days left)" in lines["relay tls"]["detail"]
    assert "no public authority" in lines["relay tls"]["detail"]
    assert failed(lines) == {"http://127.0.0.1:9 tcp"}
    assert {"relay dns v4", "relay dns v6"} <= set(lines)


async def test_a_certificate_that_has_ended_is_told_from_a_wrong_clock(
    agent: Agent, tmp_path: Path, token_file: Path
) -> None:
    """By the Date of an answer that is believed for nothing else."""
    ca, context = certificate(tmp_path, -7200, -3600)
    async with visited_relay(context) as relay:
        asked = ("check", "--json", "--relay", relay.url, "--token-file", token_file, "--ca-file", ca,
                 "--store", "http://127.0.0.1:9", "--state-dir", tmp_path / "state")  # fmt: skip
        right = json.loads((await agent.finish(*asked)).out)["checks"]
        relay.date = lambda: time.time() - 5000
        wrong = json.loads((await agent.finish(*asked)).out)["checks"]
    right, wrong = ({line["name"]: line for line in lines}["relay tls"] for lines in (right, wrong))
    assert "the relay needs a new certificate" in right["remedy"]
    assert "this machine's clock is 5" in wrong["detail"]
    assert wrong["remedy"].startswith("set it")


async def test_a_proxy_is_named_with_the_reason_and_walked_through(check: Check, tmp_path: Path) -> None:
    """From the environment, with Basic credentials, which are shown nowhere; TLS, HTTP and upgrade go through it."""
    made = Certificates.make(tmp_path, "relay.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.chain, made.key)
    async with visited_relay(context) as relay, connect_proxy(relay.http_port, "user:s3cret/word") as proxy:
        relay.public_url = f"https://relay.test:{relay.http_port}"
        by = f"http://user:s3cret%2Fword@127.0.0.1:{proxy.port}"
        _, lines = await check(relay_url=relay.url, HTTPS_PROXY=by, POSTERN_AGENT_CA_FILE=str(made.ca))
        assert failed(lines) == {"relay token", "http://127.0.0.1:9 tcp"}  # the token is another relay's
        assert lines["relay proxy"]["detail"] == f"127.0.0.1:{proxy.port}, from HTTPS_PROXY"
        assert lines["relay proxy connect"]["detail"] == f"lets this machine through to relay.test:{relay.http_port}"
        assert "certificate for relay.test, signed by Test CA" in lines["relay tls"]["detail"]
        assert set(proxy.asked) == {f"relay.test:{relay.http_port}"}
        assert relay.upgrades == [401]
        assert "relay tcp" not in lines
        _, ours = await check(relay_url=relay.url, POSTERN_AGENT_PROXY=by, POSTERN_AGENT_CA_FILE=str(made.ca))
        assert ours["relay proxy"]["detail"].endswith(", from the agent's own setting, --proxy")
    assert "s3cret" not in json.dumps([lines, ours])


@pytest.mark.parametrize(
    ("user", "status", "seen", "remedy"),
    [
        ("user:wrong@", 200, "does not take the user name and password that it was given (407)", "ask whoever"),
        ("", 200, "wants a user name and password (407)", "POSTERN_AGENT_PROXY"),
        ("user:right@", 403, "does not allow relay.test:443 (403)", "let this machine out there"),
        ("user:right@", 502, "cannot reach relay.test:443 (502 No)", "ask whoever"),
    ],
)
async def test_a_proxy_that_does_not_let_through_is_the_failed_step(
    check: Check, user: str, status: int, seen: str, remedy: str
) -> None:
    """CONNECT is a step of its own, with what the proxy's answer means."""
    async with connect_proxy(9, "user:right") as proxy:
        proxy.status = status
        _, lines = await check(relay_url="https://relay.test", HTTPS_PROXY=f"http://{user}127.0.0.1:{proxy.port}")
    connect = lines["relay proxy connect"]
    assert connect["status"] == "FAIL"
    assert seen in connect["detail"]
    assert remedy in connect["remedy"]
    assert lines["relay tls"]["detail"] == "not tried, since 'relay proxy connect' failed"
    assert "wrong" not in json.dumps(lines)


async def test_no_proxy_is_given_as_the_reason(check: Check) -> None:
    """Whoever set both wonders which one counts."""
    _, lines = await check(
        relay_url="https://relay.invalid", HTTPS_PROXY="http://127.0.0.1:9", NO_PROXY="relay.invalid"
    )
    assert lines["relay proxy"]["detail"] == (
        "none, though HTTPS_PROXY is set: NO_PROXY exempts relay.invalid, or it is a loopback address"
    )
    assert failed(lines) >= {"relay dns v4", "relay dns v6"}


async def test_a_proxy_that_is_down_fails_at_its_own_step(check: Check) -> None:
    """Not as 'the relay cannot be reached'."""
    _, lines = await check(relay_url="https://relay.invalid", HTTPS_PROXY="http://127.0.0.1:9")
    assert lines["relay proxy tcp"]["status"] == "FAIL"
    assert lines["relay proxy connect"]["status"] == "SKIP"


async def test_a_port_that_is_not_ssh_is_seen(check: Check, relay: VisitedRelay, tmp_path: Path) -> None:
    """A firewall that answers in the relay's place, or cuts what looks like SSH."""
    await enrol(relay, tmp_path / "state")
    await relay.stop_ssh()
    server = await asyncio.start_server(answering(b""), "127.0.0.1", relay.ssh_port)
    server.close()
    await server.wait_closed()
    blocked = await asyncio.start_server(
        lambda _, writer: writer.write(b"HTTP/1.0 403 No\r\n"), "127.0.0.1", relay.ssh_port
    )
    _, lines = await check()
    blocked.close()
    banner = lines[f"ssh 127.0.0.1:{relay.ssh_port} banner"]
    assert banner["detail"] == "the port answers, but not with SSH"
    assert "WebSocket" in banner["remedy"]
    await relay.start_ssh()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can look at somebody else's state directory")
async def test_root_may_check_for_the_agents_user(check: Check, relay: VisitedRelay, tmp_path: Path) -> None:
    """As a technician does with sudo."""
    await enrol(relay, tmp_path / "state")
    for path in (tmp_path / "state", *(tmp_path / "state").iterdir()):
        os.chown(path, 65534, 65534)
    _, lines = await check()
    assert "it belongs to user 65534" in lines["state directory"]["detail"]
    assert lines["relay enrolment"]["status"] == "PASS"
