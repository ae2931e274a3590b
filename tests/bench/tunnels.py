"""What an idle tunnel costs the relay: 2,000 of them, opened by one process that plays all the agents."""

import contextlib
import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import programs, usage
from tests.bench.agents import Job
from tests.bench.load import Figures
from tests.bench.nginx import Store
from tests.bench.ours import OurRoad
from tests.bench.roads import Road

TUNNELS = 2000
AGENTS = 40  # an agent has no places for so many instances
OPEN_S = 300.0  # for all of them: some milliseconds each on both ends, and a relay that takes them at its own pace
SETTLE_S = 3.0


def idle(road: Road, store: Store, seconds: float) -> Figures:
    """The relay's growth per tunnel, and what it does while they are idle for `seconds`."""
    if not isinstance(road, OurRoad):
        raise TypeError(f"{road.name} has no tunnels like ours")
    relay = road.server_pids()
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="postern-bench-")))
        tokens = [_token(road, number) for number in range(AGENTS)]
        time.sleep(SETTLE_S)
        before, cpu, at = usage.memory(relay), usage.cpu_s(relay), time.monotonic()
        job = Job(road.relay.outside, tokens, f"http://{store.address}", TUNNELS)
        command = [sys.executable, "-m", "tests.bench.agents", json.dumps(dataclasses.asdict(job))]
        agents = programs.start(stack, "agents", command, directory)
        agents.wait_for(f"{TUNNELS} tunnels", lambda: '"tunnels"' in agents.text() or None, OPEN_S)
        opened_s, opened_cpu = time.monotonic() - at, usage.cpu_s(relay) - cpu
        time.sleep(SETTLE_S)
        cpu = usage.cpu_s(relay)
        time.sleep(seconds)
        idle_cpu, after = usage.cpu_s(relay) - cpu, usage.memory(relay)
        if agents.process.poll() is not None:
            raise agents.failure("a tunnel was lost")
    return {
        "kB per idle tunnel": (after.rss - before.rss) / TUNNELS / 1000,
        "relay RSS MiB without": before.rss / 2**20,
        "relay RSS MiB with": after.rss / 2**20,
        "tunnels opened/s": TUNNELS / opened_s,
        "relay CPU ms per tunnel opened": opened_cpu / TUNNELS * 1e3,
        "relay CPU share while idle": idle_cpu / seconds,
    }


def _token(road: OurRoad, number: int) -> str:
    named = road.relay.command("agents", "create", f"many-{number}", "--places", str(TUNNELS // AGENTS))
    token: str = named["token"]
    return token
