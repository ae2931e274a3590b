"""What every contender is to the bench: a road from a client to the store, with processes on two sides."""

import base64
import contextlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import client, nginx, programs
from tests.bench.client import AnswerError
from tests.bench.nginx import BIG_PATH, SINK_PATH, SMALL_PATH, Store
from tests.bench.programs import HOST, ContenderError, Program

STORE_KEY = "BENCH" * 6 + "ST"  # PrestaShop's webservice keys have 32 characters


@dataclass(frozen=True)
class Road:
    """A way to the store that is up. `server` and `agent` are the processes whose CPU and memory are counted."""

    name: str
    port: int
    path: str  # before /api/
    authorization: str
    server: Sequence[Program]
    agent: Sequence[Program]

    def url(self, path: str) -> str:
        return f"http://{HOST}:{self.port}{self.path}{path}"

    def server_pids(self) -> list[int]:
        return [program.pid for program in self.server]

    def agent_pids(self) -> list[int]:
        return [program.pid for program in self.agent]

    def caller(self) -> client.Caller:
        return client.Caller(self.port, self.authorization)

    def check_running(self) -> None:
        """Raises ContenderError, with the log, if one of its programs has ended."""
        for program in (*self.server, *self.agent):
            if (status := program.process.poll()) is not None:
                raise program.failure(f"ended with status {status}")

    def failure(self, what: str) -> ContenderError:
        """With the ends of all its logs."""
        logs = [str(program.failure("its log ends")) for program in (*self.server, *self.agent)]
        return ContenderError("\n  ".join([what, *logs]))


# How a contender is started: with its processes on the stack, its files in the directory, which is empty, in front of
# the store, and with so many milliseconds each way between its two sides.
Start = Callable[[contextlib.ExitStack, Path, Store, float], Road]


def direct(_stack: contextlib.ExitStack, _directory: Path, store: Store, _delay_ms: float) -> Road:
    """No tunnel: what the store and the load generator can do alone."""
    return Road("store alone", store.port, "", basic(STORE_KEY), (), ())


def basic(key: str) -> str:
    """The header of a PrestaShop client: its key as user name, no password."""
    return "Basic " + base64.b64encode(f"{key}:".encode()).decode()


def lengthened(stack: contextlib.ExitStack, name: str, directory: Path, port: int, delay_ms: float) -> int:
    """A port that leads to `port` over a line with that delay each way; without a delay `port` itself."""
    if not delay_ms:
        return port
    command = [sys.executable, "-m", "tests.lab.delayproxy", "--listen", f"{HOST}:0", "--to", f"{HOST}:{port}"]
    line = programs.start(stack, name, [*command, "--delay-ms", str(delay_ms)], directory)
    told = line.wait_for("address", lambda: line.text() or None)
    return int(json.loads(told.splitlines()[0])["listen"].rpartition(":")[2])


def check(road: Road, store: Store) -> None:
    """That its figures will mean what they say: connections are kept, or closed where that is asked, a caller without
    a key gets nothing, and big bodies arrive whole, both ways.

    Raises:
        ContenderError: it is not so.
    """
    try:
        _check_connections(road)
        _check_key(road)
        _check_bodies(road, store)
    except (OSError, AnswerError) as error:
        raise road.failure(f"{road.name} is not fit to be measured: {error}") from None


def _check_connections(road: Road) -> None:
    with road.caller() as caller:
        for _ in range(20):
            caller.get(road.path + SMALL_PATH, size=nginx.SMALL)
        caller.get(road.path + SMALL_PATH, size=nginx.SMALL, close=True)
        if not caller.at_end():
            raise AnswerError("kept a connection that was to be closed")


def _check_key(road: Road) -> None:
    if road.path:
        with client.Caller(road.port, basic("WRONG")) as caller, contextlib.suppress(AnswerError):
            caller.get(road.path + SMALL_PATH, size=nginx.SMALL)
            raise ContenderError(f"{road.name} answers a caller with a wrong key")


def _check_bodies(road: Road, store: Store) -> None:
    received = bytearray()
    with road.caller() as caller:
        caller.get(road.path + BIG_PATH, size=nginx.BIG, take=received.extend)
        if received != store.big:
            raise AnswerError("changed a body on its way")
    with road.caller() as caller:
        caller.upload(road.path + SINK_PATH, size=nginx.BIG)
