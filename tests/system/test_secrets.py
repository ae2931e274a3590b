"""Canaries: keys and tokens planted on a road of its own, and looked for wherever they must not be."""

from __future__ import annotations

import base64
import contextlib
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.system.caller import JSON, Answer, BrokenOffError, ask_raw, basic, bearer, request
from tests.system.lan import DOMAIN
from tests.system.programs import AGENT, HOST, Finished, Program, finish
from tests.system.road import Agent, Connection, Entry, NewRoad, Road, Shop

STORE_KEY = "CANARYKEYCANARYKEYCANARYKEY12345"
KEY_BYTES = STORE_KEY.encode()


@dataclass
class Told:
    """Everything that anybody was told while the canaries were alive."""

    road: Road
    shop: Shop
    agent: Agent
    plain: Connection
    secrets: dict[str, bytes]  # by name: in no answer, log, argument or environment
    answers: list[Answer] = field(default_factory=list)
    commands: list[Finished] = field(default_factory=list)
    processes: set[bytes] = field(default_factory=set)  # arguments and environments that were seen


def forms(name: str, text: str) -> dict[str, bytes]:
    """A secret as it may look: plain, as Basic makes it, in base64, in hex, percent-encoded."""
    raw = text.encode()
    coded = {"Basic": base64.b64encode(raw + b":"), "base64": base64.b64encode(raw), "hex": raw.hex().encode()}
    # base64 of something longer that holds it, whatever stands before it, but for its first and last characters
    shifted = {f"base64+{n}": base64.b64encode(b"x" * n + raw)[4 : -4 - n] for n in (1, 2)}
    return {name: raw, **{f"{name} in {how}": form.rstrip(b"=") for how, form in (coded | shifted).items()}}


@contextlib.contextmanager
def watching(processes: set[bytes]) -> Iterator[None]:
    """Look at the arguments and the environment of every process, again and again, while the block runs."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            for place in Path("/proc").glob("[0-9]*"):
                for what in ("cmdline", "environ"):
                    with contextlib.suppress(OSError):
                        processes.add((place / what).read_bytes())

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


@pytest.fixture(scope="module")
def told(new_road: NewRoad) -> Told:
    """A whole life with canaries: made on the command line, used in every way, errors provoked at every step."""
    road = new_road("canaries")
    processes: set[bytes] = set()
    with watching(processes):
        shop = road.start_shop("--domain", DOMAIN, "--key", "full=" + STORE_KEY)
        made, agent_token = make_on_the_command_line(road)
        agent = road.start_agent(
            Entry(made[0]["id"], agent_token), [f"http://{DOMAIN}={HOST}:{shop.port}", f"http://refused.test={HOST}:1"]
        )
        plain, query = (Connection(one["id"], one["access_key"], road.http_port, STORE_KEY) for one in made[1:3])
        api_token = made[3]["token"]
        secrets = forms("store key", STORE_KEY) | forms("access token", agent_token) | forms("API token", api_token)
        secrets |= forms("access key", plain.access_key) | forms("access key 2", query.access_key)
        everything = Told(road, shop, agent, plain, secrets, processes=processes)
        use(everything, plain, query, api_token)
        everything.commands += administrate(road, plain, agent)
    return everything


def make_on_the_command_line(road: Road) -> tuple[list[dict[str, str]], str]:
    """An agent, a connection with the key in the header and one with it in the query, an API token."""
    agent = road.cli("agents", "create", "canary")
    form = ["--mode", "on-premise", "--agent", "canary", "--store-url", f"http://{DOMAIN}", "--api-key-file", "-"]
    with ThreadPoolExecutor() as pool:
        plain = pool.submit(road.cli, "connections", "create", "--name", "plain", *form, text=STORE_KEY + "\n")
        query = [*form, "--name", "query", "--key-place", "ws_key"]
        query_made = pool.submit(road.cli, "connections", "create", *query, text=STORE_KEY)
        token = pool.submit(road.cli, "tokens", "create", "--name", "canary", "--scope", "manage")
        return [agent, plain.result(), query_made.result(), token.result()], agent["token"]


def use(told: Told, plain: Connection, query: Connection, token: str) -> None:
    """Requests that succeed, that the store refuses, that the relay refuses, and that break."""
    road, shop = told.road, told.shop
    paths = ["/api", "/api/orders?limit=1", "/api/nosuch", "/api/products?id_shop=99&x=1", "/api/customers", "/admin"]
    for connection in (plain, query):
        key = connection.access_key
        for path in paths:
            mark = "&" if "?" in path else "?"
            told.answers += [
                connection.ask(path),
                connection.ask(path, headers=[JSON]),
                connection.ask(path, token=token),
            ]
            told.answers += [
                connection.bare(f"{path}{mark}ws_key={key}"),
                connection.bare(f"{path}{mark}ws_key={key}x"),
            ]
        told.answers.append(connection.ask("/api/customers", "POST", body=b'{"not": "xml"}'))
        told.answers.append(connection.ask("/api/customers", "POST", body=b""))
        for method in ("TRACE", "OPTIONS", "HEAD", "DELETE", "FOO"):
            told.answers.append(connection.ask("/api/customers/999", method))
        told.answers.append(
            ask_raw(road.http_port, request("GET", f"/to/{connection.id}/api", [basic(key), basic(key)]))
        )
        told.answers.append(connection.ask("/api/orders", headers=[("Sec-Fetch-Mode", "navigate")]))
        for trouble in TROUBLES:
            with shop.troubled(**trouble), contextlib.suppress(BrokenOffError):
                told.answers.append(connection.ask("/api/orders?limit=2"))
    for path in ("/v1/agents", "/v1/connections", f"/v1/connections/{plain.id}", "/v1/tokens", "/v1/status",
                 f"/v1/agents/{told.agent.entry.id}", f"/v1/agents/{told.agent.entry.id}/tokens", "/v1/audit-events",
                 "/metrics", "/openapi.json", "/docs", "/v1/nosuch", f"/v1/agents/{token}"):  # fmt: skip
        answer = road.api("GET", path, token=token)
        answer.body = answer.body.replace(token.encode()[:80], b"") if token in path else answer.body
        told.answers.append(answer)
    wrong = {
        "name": "x",
        "mode": "on-premise",
        "agent": told.agent.entry.id,
        "store_url": "nonsense",
        "api_key": STORE_KEY,
    }
    told.answers.append(road.api("POST", "/v1/connections", wrong, token))
    told.answers.append(road.api("POST", "/v1/connections", {**wrong, "api_key": STORE_KEY + "X"}, token))
    told.answers.append(road.api("PATCH", f"/v1/connections/{plain.id}", {"api_key": [STORE_KEY]}, token))
    told.answers.append(road.ask("/v1/agents", headers=[bearer(token[:-1])]))


TROUBLES: list[dict[str, object]] = [
    {"hang_up": "before_answer"},
    {"raw_answer": b"HTTP/1.1 200 OK\r\nX-Echo: " + KEY_BYTES + b"\r\nContent-Length: 0\r\n\r\n"},
    {"raw_answer": b"HTTP/1.1 302 Found\r\nLocation: /?ws_key=" + KEY_BYTES + b"\r\nContent-Length: 0\r\n\r\n"},
    {"raw_answer": b"HTTP/1.1 103 Hints\r\nLink: " + KEY_BYTES + b"\r\n\r\nHTTP/1.1 204 No\r\n\r\n"},
    {"raw_answer": b"HTTP/1.1 200 OK\r\nBad Line " + KEY_BYTES + b"\r\n\r\n"},
    {"raw_answer": KEY_BYTES + b"\r\n\r\n"},
    {"raw_answer": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + KEY_BYTES + b"\r\n\r\n"},
    {"webservice": False},
    {"fatal": True},
    {"moved_to": "http://elsewhere.test"},
]  # fmt: skip


def administrate(road: Road, plain: Connection, agent: Agent) -> list[Finished]:
    """What the command lines print later on, for people and for programs, and when they are used wrongly."""
    asked: list[tuple[list[str], str]] = [
        (["connections", "show", plain.id], ""),
        (["audit", "list"], ""),
        (["status"], ""),
        (["connections", "update", plain.id, "--store-url", "http://x y", "--api-key-file", "-"], STORE_KEY),
        (["connections", "update", plain.id, "--api-key-file", "-"], STORE_KEY + STORE_KEY),
    ]
    token, state = ["--token-file", str(agent.token_file)], str(agent.state_dir)
    by_agent = [
        ["run", "--relay", road.url, "--store", "http://x y", *token, "--state-dir", f"{state}2"],
        ["check", "--relay", road.url, "--store", f"http://{DOMAIN}", *token, "--state-dir", f"{state}3", "--json"],
        ["status", "--json", "--state-dir", state],
    ]
    with ThreadPoolExecutor() as pool:
        done = [pool.submit(road.command, *words, text=text) for words, text in asked]
        done += [pool.submit(finish, AGENT, *words) for words in by_agent]
        return [each.result() for each in done]


def found_in(told: Told, text: bytes) -> list[str]:
    return [name for name, form in told.secrets.items() if form in text]


def test_the_canaries_were_alive(told: Told) -> None:
    """The secrets were used: requests succeeded with each, and the store got its key in both ways."""
    assert sum(answer.status == 200 for answer in told.answers) > 20
    assert len({answer.verdict for answer in told.answers}) > 8
    seen = told.shop.seen("/api/orders?limit=1")
    assert {one.values("Authorization")[0] for one in seen if one.values("Authorization")} == {basic(STORE_KEY)[1]}
    assert any(f"ws_key={STORE_KEY}" in one.target for one in seen)
    assert all(command.status < 3 or command.status == 78 for command in told.commands)
    assert len(told.processes) > 20
    assert any(b"# TYPE postern_relay_requests_total counter" in answer.body for answer in told.answers)
    assert told.road.relay.text().count('"event":"request"') > 100


def test_96_no_log_holds_a_secret(told: Told) -> None:
    """96. Neither key nor token nor their base64, also not for ws_key, Location, error 127 and broken answers."""
    logs = {path.name: path.read_bytes() for path in told.road.home.glob("*.log")}
    assert {"relay.log"} < set(logs)
    assert len(logs["relay.log"]) > 200
    assert {name: found_in(told, text) for name, text in logs.items() if found_in(told, text)} == {}


def test_no_answer_holds_the_stores_key_or_a_token(told: Told) -> None:
    """Nothing that a caller is told repeats a secret, but for their own access key in a redirect of the shop's."""
    wrong = [(found_in(told, answer.everything), answer.everything) for answer in told.answers]
    own_key_in_location = re.compile(rb"(?i)location: [^\r]*ws_key=[A-Z0-9]{32}")
    assert [one for one in wrong if [name for name in one[0] if not name.startswith("access key")]] == []
    assert [one for one in wrong if one[0] and not own_key_in_location.search(one[1])] == []


def test_not_even_the_reason_phrase_holds_the_stores_key(told: Told) -> None:
    """It is taken out wherever a store's head repeats it."""
    raw = b"HTTP/1.1 200 " + STORE_KEY.encode() + b"\r\nContent-Length: 0\r\n\r\n"
    with told.shop.troubled(raw_answer=raw):
        assert found_in(told, told.plain.ask("/api/orders").everything) == []


def test_no_command_prints_a_secret_again(told: Told) -> None:
    """`show`, `list`, `status`, refusals and the audit trail hold none, and a refused key is not repeated."""
    for command in told.commands:
        assert found_in(told, (command.out + command.err).encode()) == [], str(command)


def test_no_argument_and_no_environment_holds_a_secret(told: Told) -> None:
    """Of any process, for as long as it lived: tokens come from files, keys from standard input."""
    ours = [text for text in told.processes if b"--key\0full=" not in text]  # the stand-in store is given its key so
    assert [found_in(told, text) for text in ours if found_in(told, text)] == []
    assert any(b"postern-agent" in text for text in ours)
    assert any(b"postern-relay" in text for text in ours)


def test_the_database_holds_no_secret_plain(told: Told) -> None:
    """Every byte of the state directory but the master keys: store keys are sealed, tokens and access keys hashed."""
    files = [path for path in told.road.state_dir.rglob("*") if path.is_file() and path.parent.name != "keys"]
    assert "relay.db" in {path.name for path in files}
    assert any(path.name.endswith("-wal") for path in files)
    assert {path.name: found_in(told, path.read_bytes()) for path in files if found_in(told, path.read_bytes())} == {}
    master = (told.road.state_dir / "keys" / "master.keys").read_bytes()
    assert found_in(told, master) == []
    for path in told.road.state_dir.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_the_agents_state_holds_no_token(told: Told) -> None:
    """What an agent keeps is its own key (0600) and what the relay told it; not the token, and nothing of the store."""
    files = [path for path in told.agent.state_dir.rglob("*") if path.is_file()]
    assert len(files) > 1
    assert {path.name: found_in(told, path.read_bytes()) for path in files if found_in(told, path.read_bytes())} == {}
    assert told.agent.state_dir.stat().st_mode & 0o077 == 0
    for path in files:
        assert path.stat().st_mode & 0o077 == 0, path


def core_limit(program: Program) -> str:
    limits = Path(f"/proc/{program.pid}/limits").read_text()
    return str(re.findall(r"Max core file size\s+(\S+)", limits)[0])


def test_a_crash_leaves_no_core(told: Told) -> None:
    """Neither program may dump core: its memory holds keys."""
    assert {program.name: core_limit(program) for program in (told.road.relay, told.agent.program)} == {
        "relay": "0",
        told.agent.program.name: "0",
    }


def test_the_agent_opens_no_port(told: Told) -> None:
    """It listens nowhere: every TCP socket of the process is one that it dialled."""
    inodes = {
        link[8:-1]
        for path in Path(f"/proc/{told.agent.program.pid}/fd").iterdir()
        if (link := str(path.readlink())).startswith("socket:[")
    }
    listening = [
        line.split()[1]
        for table in ("tcp", "tcp6", "udp", "udp6")
        for line in Path(f"/proc/{told.agent.program.pid}/net/{table}").read_text().splitlines()[1:]
        if line.split()[9] in inodes and (line.split()[3] == "0A" or table.startswith("udp"))
    ]
    assert inodes
    assert listening == []


def test_neither_program_starts_another(told: Told) -> None:
    """There is nobody who could inherit an environment or a descriptor."""
    for program in (told.road.relay, told.agent.program):
        assert Path(f"/proc/{program.pid}/task/{program.pid}/children").read_text().split() == []
