"""The whole road as tests hold it: a relay, its agents and shops as real processes, and connections through them."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.system import caller
from tests.system.caller import Answer, Headers, basic
from tests.system.programs import AGENT, HOST, RELAY, START_SECONDS, Finished, Program, eventually, finish, free_ports

STANDS = '"tunnel stands"'  # what an agent says when its stores are published
OPEN: list[Road] = []  # whose logs are shown when a test fails


@dataclass(frozen=True, slots=True)
class Shop:
    """A stand-in store that runs as a process of its own."""

    program: Program
    url: str
    keys: Mapping[str, str]
    control: str

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    @property
    def key(self) -> str:
        return self.keys["full"]

    def set(self, **knobs: object) -> None:
        """Change knobs; they hold from the next request on."""
        self._ask("POST", "knobs", json.dumps({name: _text(value) for name, value in knobs.items()}).encode())

    def seen(self, part: str = "") -> list[Seen]:
        """The requests whose line has this text, as they stood on the shop's wire."""
        told = self._ask("GET", "requests")
        return [Seen(one["line"], one["headers"], one["status"]) for one in told if part in one["line"]]

    def looks(self) -> int:
        """How often a relay has looked, of itself, whether it is well."""
        return self.counts()["looks"]

    def requests(self) -> list[dict[str, Any]]:
        """The last 10,000 requests, with `time` and `status`."""
        told: list[dict[str, Any]] = self._ask("GET", "requests")
        return told

    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = self._ask("GET", "counts")
        return counts

    def wait_for_seen(self, part: str, times: int = 1, seconds: float = 10.0) -> None:
        eventually(f"the shop sees {part!r} {times} times", lambda: len(self.seen(part)) >= times, seconds)

    @contextlib.contextmanager
    def troubled(self, **knobs: object) -> Iterator[None]:
        """Knobs for the length of a block."""
        before = self._ask("GET", "knobs")
        self.set(**knobs)
        try:
            yield
        finally:
            self.set(**{name: before[name] for name in knobs})

    def ask(self, method: str, path: str, headers: Headers = (), body: bytes = b"", *, host: str) -> Answer:
        """A direct call, in the name of the shop's domain."""
        return caller.ask(self.port, method, path, [("Host", host), *headers], body)

    def _ask(self, method: str, what: str, body: bytes = b"") -> Any:
        port = int(re.findall(r":(\d+)/", self.control)[0])
        answer = caller.ask(port, method, f"/__store__/{what}", body=body)
        assert answer.status == 200, answer
        return answer.json


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as a shop got it."""

    line: str
    headers: list[tuple[str, str]]
    status: int

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def names(self) -> set[str]:
        return {name.lower() for name, _ in self.headers}

    @property
    def text(self) -> str:
        return "\n".join([self.line, *(f"{name}: {value}" for name, value in self.headers)])


@dataclass(frozen=True, slots=True)
class Entry:
    """An agent as the relay knows it."""

    id: str
    token: str


@dataclass(frozen=True, slots=True)
class Agent:
    """A `postern-agent` that runs for an entry."""

    entry: Entry
    program: Program
    state_dir: Path
    token_file: Path

    def wait_until_it_stands(self, times: int = 1, seconds: float = START_SECONDS) -> None:
        self.program.says(STANDS, seconds, times)


@dataclass(frozen=True, slots=True)
class Connection:
    """What a connector holds: the base URL and the access key."""

    id: str
    access_key: str
    relay_port: int
    store_key: str

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.relay_port}/to/{self.id}"

    def ask(
        self,
        path: str,
        method: str = "GET",
        headers: Headers = (),
        body: bytes = b"",
        *,
        key: str | None = None,
        token: str | None = None,
        seconds: float = caller.SECONDS,
    ) -> Answer:
        """One exchange with the connection's own access key, with another one, or with an API token."""
        credential = caller.bearer(token) if token else basic(self.access_key if key is None else key)
        return caller.ask(
            self.relay_port, method, f"/to/{self.id}{path}", [credential, *headers], body, seconds=seconds
        )

    def bare(self, path: str, method: str = "GET", headers: Headers = (), body: bytes = b"") -> Answer:
        """One exchange without a credential."""
        return caller.ask(self.relay_port, method, f"/to/{self.id}{path}", headers, body)


@dataclass
class Road:
    """One relay and whatever a test puts at both of its ends. Everything ends with `close`."""

    home: Path
    public_url: str = ""
    public_ssh: str = ""
    settings: Sequence[str] = ()  # further flags of the relay's
    secrets: set[str] = field(default_factory=set)  # texts that no log may hold
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _programs: list[Program] = field(default_factory=list)
    _count: int = 0

    def __post_init__(self) -> None:
        self.http_port, self.ssh_port = free_ports(2)
        OPEN.append(self)

    @property
    def url(self) -> str:
        return self.public_url or f"http://{HOST}:{self.http_port}"

    @property
    def state_dir(self) -> Path:
        return self.home / "relay"

    @property
    def programs(self) -> Sequence[Program]:
        return self._programs

    @property
    def options(self) -> list[str]:
        given = ["--state-dir", str(self.state_dir), "--http", f"{HOST}:{self.http_port}"]
        given += ["--ssh", f"{HOST}:{self.ssh_port}"]
        given += ["--public-url", self.public_url] if self.public_url else []
        return given + (["--public-ssh", self.public_ssh] if self.public_ssh else []) + list(self.settings)

    def start_relay(
        self, sockets: Mapping[str, socket.socket] | None = None, *, command: Sequence[str] = (RELAY,)
    ) -> Program:
        """Start (or start again) the relay on the road's ports, and wait until it is ready.

        `sockets` are handed over to it by name, as systemd does it.
        """
        program = self.start("relay", [*command, "serve", *self.options], sockets=sockets)
        program.wait_for("ready", self._ready)
        self.relay = program
        return program

    @cached_property
    def operator(self) -> str:
        """An API token that may do everything."""
        return str(self.cli("tokens", "create", "--name", "tests", "--scope", "operate")["token"])

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        piped: bool = False,
        sockets: Mapping[str, socket.socket] | None = None,
    ) -> Program:
        program = Program(name, command, self.home / f"{name}.log", piped=piped, sockets=sockets)
        self._programs.append(program)
        self._stack.callback(program.stop)
        return program

    def command(self, *words: str, text: str = "") -> Finished:
        """`postern-relay` on this road's relay, with --json."""
        return finish(RELAY, *words, *self.options, "--json", text=text)

    def cli(self, *words: str, text: str = "") -> Any:
        """What `postern-relay` printed; AssertionError if it failed."""
        done = self.command(*words, text=text)
        assert done.status == 0, str(done)
        return json.loads(done.out)

    def api(self, method: str, path: str, body: Mapping[str, Any] | None = None, token: str = "") -> Answer:
        return caller.ask_json(self.http_port, method, path, token or self.operator, body)

    def ask(self, target: str, method: str = "GET", headers: Headers = (), body: bytes = b"") -> Answer:
        """Any request to the relay."""
        return caller.ask(self.http_port, method, target, headers, body)

    def new_agent(self, name: str = "", **more: Any) -> Entry:
        answer = self.api("POST", "/v1/agents", {"name": name or self._name("agent"), **more})
        assert answer.status == 201, answer
        self._note_secret(answer.json["token"])
        return Entry(answer.json["id"], answer.json["token"])

    def start_shop(self, *options: str, name: str = "", scheme: str = "http", **knobs: object) -> Shop:
        given = [text for knob, value in knobs.items() for text in ("--knob", f"{knob}={_text(value)}")]
        command = [sys.executable, "-m", "tests.store", f"--{scheme}", f"{HOST}:0", "--control", f"{HOST}:0"]
        program = self.start(name or self._name("shop"), [*command, *given, *options], piped=True)
        assert program.process.stdout
        line = program.process.stdout.readline()
        assert line, program.tail()
        told = json.loads(line)
        for key in told["keys"].values():
            self._note_secret(key)
        return Shop(program, told["url"], told["keys"], told["control"])

    def start_agent(
        self,
        entry: Entry,
        stores: Sequence[str],
        *,
        state_dir: Path | None = None,
        wait: bool = True,
        relay: str = "",
        options: Sequence[str] = (),
        command: Sequence[str] = (AGENT,),
    ) -> Agent:
        """Start an agent that publishes stores, such as `http://shop.test=127.0.0.1:8000`."""
        name = self._name("postern-agent")
        token_file = self.home / f"{name}.token"
        token_file.touch(mode=0o600)
        token_file.write_text(entry.token + "\n")
        directory = state_dir or self.home / f"{name}.state"
        given = [word for store in stores for word in ("--store", store)]
        started = [*command, "run", "--relay", relay or self.url, "--token-file", str(token_file)]
        program = self.start(name, [*started, "--state-dir", str(directory), *given, *options])
        agent = Agent(entry, program, directory, token_file)
        if wait:
            agent.wait_until_it_stands()
        return agent

    def connect(self, agent: str, store_url: str, key: str, **more: Any) -> Connection:
        """Make a connection through the typed surface."""
        form = {"name": self._name("connection"), "mode": "on-premise", "agent": agent, "store_url": store_url}
        answer = self.api("POST", "/v1/connections", {**form, "api_key": key, **more})
        assert answer.status == 201, answer
        self._note_secret(answer.json["access_key"])
        self._note_secret(key)
        return Connection(answer.json["id"], answer.json["access_key"], self.http_port, key)

    def new_token(self, scope: str, **more: Any) -> tuple[str, str]:
        """(id, text) of a new API token."""
        answer = self.api("POST", "/v1/tokens", {"name": self._name("token"), "scopes": [scope], **more})
        assert answer.status == 201, answer
        self._note_secret(answer.json["token"])
        return answer.json["id"], answer.json["token"]

    def logs(self) -> str:
        return "\n".join(program.tail() for program in self._programs)

    def leaks(self) -> list[str]:
        """Which of the road's secrets stand in which log."""
        texts = {path.name: path.read_text(errors="replace") for path in self.home.glob("*.log")}
        return [
            f"{secret[:12]}… in {name}" for name, text in texts.items() for secret in self.secrets if secret in text
        ]

    def close(self) -> None:
        """End everything. AssertionError if a program has written a traceback."""
        OPEN.remove(self)
        for program in reversed(self._programs):
            program.end_soon()
        self._stack.close()
        broken = {program.log: program for program in self._programs if "Traceback (most recent" in program.text()}
        assert not broken, "a traceback in a log:\n" + "\n".join(program.tail() for program in broken.values())

    def _ready(self) -> bool:
        with contextlib.suppress(OSError, caller.BrokenOffError):
            return self.ask("/readyz").status == 200
        return False

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}-{self._count}"

    def _note_secret(self, text: str) -> None:
        self.secrets.add(text)


NewRoad = Callable[..., Road]


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, bytes):
        return value.decode("latin-1").encode("unicode_escape").decode("ascii")
    return str(value)
