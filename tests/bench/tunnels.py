"""What an idle tunnel costs the relay: 2,000 of them, opened by one process that plays all the agents."""

import contextlib
import dataclasses
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench import programs, usage
from tests.bench.agents import ENROLLED, STANDING, Job
from tests.bench.load import MIB, Figures
from tests.bench.nginx import Store
from tests.bench.ours import OurRoad
from tests.bench.programs import Program
from tests.bench.roads import Road

TUNNELS = 2000
AGENTS = 40  # an agent has no places for so many instances
OPEN_S = 300.0  # for all of them: some milliseconds each on both ends, and a relay that takes them at its own pace
SETTLE_S = 3.0


def idle(road: Road, store: Store, seconds: float) -> Figures:
    """The relay's growth per tunnel, what each cost it, and what it does while they are idle for `seconds`."""
    if not isinstance(road, OurRoad):
        raise TypeError(f"{road.name} has no tunnels like ours")
    tokens = [_token(road, number) for number in range(AGENTS)]
    time.sleep(SETTLE_S)
    before = _Moment.of(road)
    with contextlib.ExitStack() as stack:
        agents = _start_agents(stack, road.relay.outside, tokens, f"http://{store.address}")
        agents.wait_for(ENROLLED, lambda: ENROLLED in agents.text() or None, OPEN_S)
        enrolled = _Moment.of(road)
        agents.wait_for(STANDING, lambda: STANDING in agents.text() or None, OPEN_S)
        standing = _Moment.of(road)
        time.sleep(SETTLE_S)
        settled = _Moment.of(road)
        time.sleep(seconds)
        after = _Moment.of(road)
        if agents.process.poll() is not None:
            raise agents.failure("a tunnel was lost")
    return {
        "kB per idle tunnel": (after.rss - before.rss) / TUNNELS / 1000,
        "relay RSS MiB without": before.rss / MIB,
        "relay RSS MiB with": after.rss / MIB,
        "enrolments/s": TUNNELS / (enrolled.at - before.at),
        "tunnels opened/s": TUNNELS / (standing.at - enrolled.at),
        "relay CPU ms per enrolment": (enrolled.cpu_s - before.cpu_s) / TUNNELS * 1e3,
        "relay CPU ms per tunnel opened": (standing.cpu_s - enrolled.cpu_s) / TUNNELS * 1e3,
        "relay CPU share while idle": (after.cpu_s - settled.cpu_s) / (after.at - settled.at),
    }


@dataclass(frozen=True, slots=True)
class _Moment:
    at: float
    cpu_s: float
    rss: int

    @classmethod
    def of(cls, road: Road) -> "_Moment":
        relay = road.server_pids()
        return cls(time.monotonic(), usage.cpu_s(relay), usage.memory(relay).rss)


def _start_agents(stack: contextlib.ExitStack, relay: str, tokens: list[str], store: str) -> Program:
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="postern-bench-")))
    job = Job(relay, tokens, store, TUNNELS, str(directory))
    command = [sys.executable, "-m", "tests.bench.agents", json.dumps(dataclasses.asdict(job))]
    return programs.start(stack, "agents", command, directory)


def _token(road: OurRoad, number: int) -> str:
    named = road.relay.command("agents", "create", f"many-{number}", "--places", str(TUNNELS // AGENTS))
    token: str = named["token"]
    return token
