"""How load is put on a road, and what one round of it tells: rates, times, CPU of both sides, or why it is void."""

import contextlib
import dataclasses
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import nginx, programs, usage
from tests.bench.client import Job, Report
from tests.bench.nginx import BIG_PATH, SINK_PATH, SMALL_PATH, Store
from tests.bench.roads import Road

MIB, GIB = 2**20, 2**30
LEAST_CPU_S = 0.1  # the kernel tells CPU time in hundredths of a second per process
_OVERTIME_S = 60.0  # a load generator that is not done so long after its time is stuck
_SCRIPT = Path(__file__).with_name("report.lua")

Figures = dict[str, float]


class VoidError(Exception):
    """A round whose figures would not mean what they say."""


@dataclass(frozen=True, slots=True)
class Used:
    """What a road and the store have used up to a moment, or between two."""

    server_s: float
    agent_s: float
    connections: int
    requests: int

    @classmethod
    def now(cls, road: Road, store: Store) -> "Used":
        counts = store.counts()
        server_s, agent_s = usage.cpu_s(road.server_pids()), usage.cpu_s(road.agent_pids())
        return cls(server_s, agent_s, counts.connections, counts.requests)

    def since(self, before: "Used") -> "Used":
        return Used(
            server_s=self.server_s - before.server_s,
            agent_s=self.agent_s - before.agent_s,
            connections=self.connections - before.connections - 1,  # the store's counts count themselves
            requests=self.requests - before.requests - 1,
        )

    def cpu(self, unit: str, work: float) -> Figures:
        """CPU of each side, divided by the work done; nothing where so little was used that it is mostly rounding."""
        if self.server_s + self.agent_s < LEAST_CPU_S:
            return {}
        return {f"server CPU {unit}": self.server_s / work, f"agent CPU {unit}": self.agent_s / work}

    def cpu_of_both(self, unit: str, work: float) -> Figures:
        return {f"CPU {unit}": sum(self.cpu(unit, work).values())} if self.cpu(unit, work) else {}


def small(road: Road, store: Store, seconds: float, *, clients: int, fresh: bool) -> Figures:
    """Small answers with wrk, as fast as they go: on kept connections, or each on a new one.

    Raises:
        VoidError: an error, an answer that is not 2xx or too short, or one that the store did not give.
    """
    before = Used.now(road, store)
    told = _wrk(road, clients=clients, fresh=fresh, seconds=seconds)
    used, requests = Used.now(road, store).since(before), told["requests"]
    if told["socket_errors"] or told["not_2xx"]:
        raise VoidError(f"wrk: {told['socket_errors']} socket errors, {told['not_2xx']} answers not 2xx")
    if not requests or told["bytes"] < requests * nginx.SMALL:
        raise VoidError(f"wrk: {told['bytes']} bytes in {requests} answers")
    if used.requests < requests:
        raise VoidError(f"the store saw {used.requests} of {requests} requests")
    return {
        "requests/s": requests / told["duration"] * 1e6,
        "p50 ms": told["p50"] / 1e3,
        "p99 ms": told["p99"] / 1e3,
        "requests per store connection": requests / max(1, used.connections),
        **used.cpu("s/10,000", requests / 1e4),
        **used.cpu_of_both("µs/request", requests / 1e6),
    }


def fresh(road: Road, store: Store, seconds: float, *, clients: int) -> Figures:
    """Small answers, each on a new connection; times from before connecting to the last byte."""
    before = Used.now(road, store)
    report = _client(_job(road, "fresh", seconds, clients=clients))
    used = Used.now(road, store).since(before)
    times = sorted(report.seconds_each)
    return {
        "requests/s": len(times) / report.elapsed_s,
        "p50 ms": quantile(times, 0.50) * 1e3,
        "p99 ms": quantile(times, 0.99) * 1e3,
        "requests per store connection": len(times) / max(1, used.connections),
    }


def bulk(road: Road, store: Store, seconds: float, *, kind: str) -> Figures:
    """Big bodies (`download` or `upload`), one after another, each on a new connection; times as in `fresh`."""
    before = Used.now(road, store)
    report = _client(_job(road, kind, seconds))
    used = Used.now(road, store).since(before)
    moved = len(report.seconds_each) * nginx.BIG
    return {
        "MiB/s": moved / MIB / sum(report.seconds_each),
        **used.cpu("s/GiB", moved / GIB),
    }


def beside(road: Road, _store: Store, seconds: float) -> Figures:
    """Paced small requests alone, then the same while big downloads run."""
    job = _job(road, "paced", seconds, clients=8, pause_s=0.01)
    alone = sorted(_client(job).seconds_each)
    download = _job(road, "download", seconds + 1)
    with _running(_client_command(download)) as downloads:
        time.sleep(0.5)  # the first download is under way, and its channel's window has grown
        during = sorted(_client(job).seconds_each)
        moved = _report(downloads, download)
    return {
        "p50 alone ms": quantile(alone, 0.50) * 1e3,
        "p99 alone ms": quantile(alone, 0.99) * 1e3,
        "p50 beside ms": quantile(during, 0.50) * 1e3,
        "p99 beside ms": quantile(during, 0.99) * 1e3,
        "p99 beside / alone": quantile(during, 0.99) / quantile(alone, 0.99),
        "download MiB/s": len(moved.seconds_each) * nginx.BIG / MIB / sum(moved.seconds_each),
    }


def _wrk(road: Road, *, clients: int, fresh: bool, seconds: float) -> dict[str, int]:
    with _running(_wrk_command(road, clients=clients, fresh=fresh, seconds=seconds)) as process:
        lines = _output(process, seconds).splitlines()
    told: dict[str, int] = json.loads(lines[-1])
    return told


def _wrk_command(road: Road, *, clients: int, fresh: bool, seconds: float) -> list[str]:
    """wrk takes whole seconds."""
    command = ["wrk", f"-t{min(clients, 2)}", f"-c{clients}", f"-d{math.ceil(seconds)}s", "--timeout", "10s"]
    command += ["--latency", "-s", str(_SCRIPT), "-H", f"Authorization: {road.authorization}"]
    command += ["-H", "Connection: close"] if fresh else []
    return [*command, road.url(SMALL_PATH)]


_SIZES = {"download": nginx.BIG, "upload": nginx.BIG, "paced": nginx.SMALL, "fresh": nginx.SMALL}
_PATHS = {"download": BIG_PATH, "upload": SINK_PATH, "paced": SMALL_PATH, "fresh": SMALL_PATH}


def _job(road: Road, kind: str, seconds: float, *, clients: int = 1, pause_s: float = 0) -> Job:
    path = road.path + _PATHS[kind]
    return Job(kind, road.port, path, road.authorization, _SIZES[kind], seconds, clients, pause_s)


def _client(job: Job) -> Report:
    with _running(_client_command(job)) as process:
        return _report(process, job)


def _client_command(job: Job) -> list[str]:
    return [sys.executable, "-m", "tests.bench.client", json.dumps(dataclasses.asdict(job))]


def _report(process: subprocess.Popen[str], job: Job) -> Report:
    """What the client found.

    Raises:
        VoidError: it met an error, or nothing was answered.
    """
    report = Report(**json.loads(_output(process, job.seconds)))
    if report.errors or not report.seconds_each:
        raise VoidError(f"{job.kind}: {len(report.errors)} errors: {report.errors[:3]}")
    return report


@contextlib.contextmanager
def _running(command: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """A load generator at work, ended with the block."""
    with subprocess.Popen(
        command,
        cwd=programs.REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _output(process: subprocess.Popen[str], seconds: float) -> str:
    try:
        output, errors = process.communicate(timeout=seconds + _OVERTIME_S)
    except subprocess.TimeoutExpired:
        raise VoidError(f"no end within {seconds + _OVERTIME_S:.0f} s") from None
    if process.returncode or not output:
        raise VoidError(f"ended with status {process.returncode}: {(errors or output).strip()[-300:]}")
    return output


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that is not below that share of all."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
