"""How the programs are used wrongly: commands with something bad in them, run a few at a time, and what they said."""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.system.lan import DOMAIN, Lan
from tests.system.programs import AGENT, HOST, RELAY, Finished, finish, problem_of
from tests.system.road import Connection, Road

FAILED, USAGE, CONFIGURATION = 1, 2, 78
LONGEST = 700  # characters that a person may be asked to read
SECONDS = 15.0  # a refusal takes a second, more where several run at once
AT_ONCE = 4
KEY = "K" * 32
PASSWORD = "hunter2"  # stands in addresses that are given, and must not be repeated
NUMBERS = itertools.count()  # of state directories: none is shared


@dataclass(frozen=True, slots=True)
class Ground:
    """What the commands stand on: a road that works, a directory to spoil, a token that nobody has used."""

    home: Path
    road: Road
    lan: Lan
    connection: Connection
    token: str

    def file(self, name: str, content: str | bytes, mode: int) -> Path:
        path = self.home / name
        for parent in (path.parent.parent, path.parent):
            parent.mkdir(mode=0o700, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        return path

    def folder(self, name: str, mode: int) -> Path:
        path = self.home / name
        path.mkdir()
        path.chmod(mode)
        return path

    def resolved(self, value: Value) -> str | None:
        return None if value is None else str(value(self) if callable(value) else value)

    def words(self, given: Mapping[str, Value]) -> list[str]:
        """`--name value` for each that is not None."""
        named = {name.replace("_", "-"): self.resolved(value) for name, value in given.items()}
        return [word for name, value in named.items() if value is not None for word in (f"--{name}", value)]


Make = Callable[[Ground], object]
Value = str | Path | Make | None
Run = Callable[[Ground], Finished]


@dataclass(frozen=True, slots=True)
class Case:
    """How to do it wrong, the exit status, and words that the sentence has."""

    run: Run
    status: int
    words: tuple[str, ...] = ()


def at(name: str) -> Make:
    """A path in the ground's directory."""
    return lambda ground: ground.home / name


def file(name: str, content: str | bytes | Callable[[str], str], mode: int = 0o600, *, below: str = "") -> Make:
    """A file, its content made from the good token where it is a function; or a path below the file."""
    return lambda ground: ground.file(name, content(ground.token) if callable(content) else content, mode) / below


def folder(name: str, mode: int = 0o700, *, below: str = "") -> Make:
    return lambda ground: ground.folder(name, mode) / below


def spoiled_folder(name: str, content: str, mode: int, *, up: int = 1) -> Make:
    """A directory with one file in it, such as `state/instance_key`; `up` levels above the file."""
    return lambda ground: ground.file(name, content, mode).parents[up - 1]


def program(name: str, *words: str, variables: Mapping[str, str] | None = None) -> Run:
    """Just these words, and these variables in the environment."""
    return lambda _ground: finish(name, *words, seconds=SECONDS, variables=variables)


def agent(**but: Value) -> Run:
    """`postern-agent run` with good settings but for those; None leaves one out."""
    good: dict[str, Value] = {"store": f"http://{DOMAIN}=127.0.0.1:9", "token_file": at("token")}

    def run(ground: Ground) -> Finished:
        own: dict[str, Value] = {"relay": ground.road.url, "state_dir": ground.home / f"state-{next(NUMBERS)}"}
        return finish(AGENT, "run", *ground.words(own | good | but), plain_user=True, seconds=SECONDS)

    return run


def serve(but: Mapping[str, Value], variables: Mapping[str, str] | None = None) -> Run:
    """`postern-relay serve` on free ports, but for what is said."""
    good: dict[str, Value] = {"http": f"{HOST}:0", "ssh": f"{HOST}:0"}

    def run(ground: Ground) -> Finished:
        words = ground.words({"state_dir": ground.home / f"state-{next(NUMBERS)}", **good, **but})
        return finish(RELAY, "serve", *words, plain_user=True, seconds=SECONDS, variables=variables)

    return run


def command(*words: str) -> Run:
    """`postern-relay` on the road's database."""
    return lambda ground: finish(RELAY, *words, "--state-dir", str(ground.road.state_dir), seconds=SECONDS)


def connect(**but: Value) -> Run:
    """`postern-relay connections create` with a good form but for that."""
    good: dict[str, Value] = {
        "name": f"bad {next(NUMBERS)}",
        "mode": "on-premise",
        "agent": lambda ground: ground.lan.agent.entry.id,
    }
    good |= {"store_url": f"http://{DOMAIN}", "api_key_file": at("key")}
    return lambda ground: command("connections", "create", *ground.words(good | but))(ground)


def on_a_copy(name: str, keys: Callable[[str], str] | None, mode: int = 0o600) -> Run:
    """A relay on a copy of the road's database, with master keys made from the good ones; None: without them."""

    def run(ground: Ground) -> Finished:
        copied = ground.folder(f"copy-{name}", 0o700)
        with sqlite3.connect(ground.road.state_dir / "relay.db") as live, sqlite3.connect(copied / "relay.db") as copy:
            live.backup(copy)
        good = (ground.road.state_dir / "keys" / "master.keys").read_text()
        file = copied / "keys" / "master.keys"
        if keys:
            ground.file(str(file.relative_to(ground.home)), keys(good), mode)
        done = serve({"state_dir": copied})(ground)
        assert not keys or file.read_text() == keys(good), "the keys were changed"
        return done

    return run


@contextmanager
def running(cases: Mapping[str, Case], ground: Ground) -> Iterator[dict[str, Future[Finished]]]:
    """All cases as processes, a few at a time; each ready to be waited for."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(case.run, ground) for name, case in cases.items()}
        pool.shutdown(cancel_futures=True)


def check(ground: Ground, case: Case, done: Finished) -> None:
    """The exit status, one plain sentence with its words, and no secret repeated in it."""
    said = problem_of(done, "postern-agent" if AGENT in done.command else "postern-relay")
    assert done.status == case.status, str(done)
    sentence = said.splitlines()[-1]
    if sentence.startswith("{"):
        sentence = json.loads(sentence)["event"]
    assert len(sentence) < LONGEST, str(done)
    for word in case.words:
        assert word.lower() in sentence.lower(), f"{word!r} is not said: {done}"
    for secret in (PASSWORD, KEY[1:], ground.token[12:]):
        assert secret not in done.out + done.err, f"a secret is repeated: {done}"
