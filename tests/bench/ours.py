"""Postern as a contender: a relay on SQLite and an agent, set up by the commands that people script."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import client, nginx, programs, roads
from tests.bench.nginx import SMALL_PATH, Store
from tests.bench.programs import HOST, Program
from tests.bench.roads import Road


@dataclass(frozen=True, slots=True)
class Relay:
    """A relay that serves, where it listens, and the environment in which its other commands find it."""

    program: Program
    http: int
    outside: str  # its address as agents know it
    environment: Mapping[str, str]

    def command(self, *arguments: str) -> dict[str, Any]:
        """The answer of `postern-relay … --json`."""
        answer: dict[str, Any] = json.loads(_relay(self.environment, *arguments, "--json"))
        return answer


@dataclass(frozen=True)
class OurRoad(Road):
    """Postern's road, and its relay for who wants to set up more."""

    relay: Relay


def start(stack: contextlib.ExitStack, directory: Path, store: Store, delay_ms: float) -> Road:
    relay = start_relay(stack, directory, delay_ms)
    (directory / "store-key").write_text(roads.STORE_KEY)
    named = relay.command("agents", "create", "bench")
    options = ["--name", "bench", "--mode", "on-premise", "--agent", named["id"]]
    options += ["--store-url", f"http://{store.address}", "--api-key-file", str(directory / "store-key")]
    connection = relay.command("connections", "create", *options)
    agent = _start_agent(stack, directory, relay, named["token"], store)
    caller = roads.basic(connection["access_key"])
    road = OurRoad("ours", relay.http, f"/to/{connection['id']}", caller, (relay.program,), (agent,), relay)
    agent.wait_for("first answer through the tunnel", lambda: _answers(road))
    return road


def start_relay(stack: contextlib.ExitStack, directory: Path, delay_ms: float) -> Relay:
    """Agents reach it over lines with that delay each way, clients without."""
    http, ssh = programs.free_port(), programs.free_port()
    outside = f"http://{HOST}:{roads.lengthened(stack, 'line-http', directory, http, delay_ms)}"
    environment = {
        "POSTERN_RELAY_STATE_DIR": str(directory / "relay"),
        "POSTERN_RELAY_HTTP": f"{HOST}:{http}",
        "POSTERN_RELAY_SSH": f"{HOST}:{ssh}",
        "POSTERN_RELAY_PUBLIC_URL": outside,
        "POSTERN_RELAY_PUBLIC_SSH": f"{HOST}:{roads.lengthened(stack, 'line-ssh', directory, ssh, delay_ms)}",
        "POSTERN_RELAY_ACCESS_LOG": "none",  # as nginx beside it has `access_log off`
    }
    _relay(environment, "init")
    program = programs.start(stack, "postern-relay", [programs.ours("postern-relay"), "serve"], directory, environment)
    program.wait_for(f"listener on port {http}", lambda: programs.accepts(http))
    return Relay(program, http, outside, environment)


def _relay(environment: Mapping[str, str], *arguments: str) -> str:
    name = f"postern-relay {' '.join(arguments[:2])}"
    return programs.run(name, [programs.ours("postern-relay"), *arguments], environment)


def _start_agent(stack: contextlib.ExitStack, directory: Path, relay: Relay, token: str, store: Store) -> Program:
    token_file = directory / "token"
    token_file.touch(mode=0o600)
    token_file.write_text(token)
    command = [programs.ours("postern-agent"), "run", "--relay", relay.outside, "--store", f"http://{store.address}"]
    command += ["--token-file", str(token_file), "--state-dir", str(directory / "agent")]
    return programs.start(stack, "postern-agent", command, directory)


def _answers(road: Road) -> bool | None:
    try:
        with road.caller() as caller:
            caller.get(road.path + SMALL_PATH, size=nginx.SMALL)
    except (OSError, client.AnswerError):
        return None
    return True
