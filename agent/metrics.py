"""What a running agent tells Prometheus and probes on this machine: its status as metrics, and whether it is ready."""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import structlog

from agent.condition import standing, state
from agent.loopback import Loopback
from agent.wire.pages import Page, Render, serve_pages

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text"
OPENMETRICS_CONTENT_TYPE = f"{OPENMETRICS}; version=1.0.0; charset=utf-8"
_STATES = ("online", "degraded", "offline", "enrolling")
_PAGE = os.sysconf("SC_PAGE_SIZE")

Sample = tuple[Mapping[str, object], float]

log = structlog.get_logger()


@asynccontextmanager
async def serve_metrics(address: Loopback | None, snapshot: Callable[[], dict[str, Any]]) -> AsyncIterator[None]:
    """Answer there while the block runs; None: nowhere. An agent that cannot is worse off, but works: it is logged."""
    if address is None:
        yield
        return
    try:
        server = await serve_pages(address.bind(), pages(snapshot))
    except OSError as error:
        log.warning("no metrics here", metrics_http=str(address), error=error.strerror)
        yield
        return
    port = server.sockets[0].getsockname()[1]
    log.info("metrics served", metrics_http=str(address._replace(port=port)))
    async with server:
        yield


def pages(snapshot: Callable[[], dict[str, Any]]) -> dict[str, Render]:
    async def metrics(accept: str) -> Page:
        openmetrics = OPENMETRICS in accept
        text = "".join(f"{line}\n" for line in exposition(snapshot(), time.time(), openmetrics=openmetrics))
        return Page(200, OPENMETRICS_CONTENT_TYPE if openmetrics else CONTENT_TYPE, text.encode())

    async def ready(_accept: str) -> Page:
        status = snapshot()
        stands = standing(status)
        body = {"status": "ready" if stands else "not_ready", "state": state(status)}
        return Page(200 if stands else 503, "application/json", json.dumps(body).encode() + b"\n")

    return {"/metrics": metrics, "/readyz": ready}


def exposition(status: Mapping[str, Any], now: float, *, openmetrics: bool) -> Iterator[str]:
    """The lines of a scrape, from the status as the socket tells it; in OpenMetrics a family has no `_total`."""
    for name, kind, unit, text, samples in _families(status, now):
        family = name.removesuffix("_total") if openmetrics and kind == "counter" else name
        yield f"# HELP {family} {text}"
        yield f"# TYPE {family} {kind}"
        if openmetrics and unit:
            yield f"# UNIT {family} {unit}"
        for labels, value in samples:
            written = ",".join(f'{label}="{_escaped(str(said))}"' for label, said in labels.items())
            yield f"{name}{{{written}}} {value:.15g}" if written else f"{name} {value:.15g}"
    if openmetrics:
        yield "# EOF"


def _families(status: Mapping[str, Any], now: float) -> Iterator[tuple[str, str, str, str, Sequence[Sample]]]:
    """(name, type, unit, help, samples)."""
    own = "postern_agent_"
    slots = status["tunnels"]
    stand = [slot for slot in slots if slot["state"] == "standing"]
    how, error, left = state(status), status["last_error"], status["certificate_seconds"]
    draining = sum(tunnel["channels"] for tunnel in status["draining"])
    yield f"{own}build_info", "gauge", "", "The version that runs.", [({"version": status["version"]}, 1)]
    each_state: list[Sample] = [({"state": one}, float(one == how)) for one in _STATES]
    yield f"{own}state", "gauge", "", "1 for the state that the agent is in.", each_state
    yield f"{own}tunnels_wanted", "gauge", "", "Tunnels that the relay has asked for.", [({}, len(slots))]
    yield f"{own}tunnels", "gauge", "", "Tunnels that stand.", [
        ({"transport": way}, sum(slot["transport"] == way for slot in stand)) for way in ("tcp", "websocket")
    ]  # fmt: skip
    yield f"{own}tunnel_round_trip_seconds", "gauge", "seconds", "Smoothed round trip to the relay.", [
        ({"slot": slot["slot"]}, slot["round_trip_ms"] / 1000) for slot in stand if slot["round_trip_ms"] is not None
    ]  # fmt: skip
    yield f"{own}tunnel_start_time_seconds", "gauge", "seconds", "When the tunnel came to stand, unix time.", [
        ({"slot": slot["slot"]}, slot["since"]) for slot in stand
    ]  # fmt: skip
    channels = sum(slot["channels"] for slot in stand) + draining
    yield f"{own}channels", "gauge", "", "Connections to stores, open or being opened.", [({}, channels)]
    yield f"{own}stores", "gauge", "", "Stores that are published.", [({}, len(status["stores"]))]
    yield f"{own}certificate_expiry_timestamp_seconds", "gauge", "seconds", \
        "When the certificate ends, unless it is renewed before, unix time.", \
        [({}, round(now + left))] if left is not None else []  # fmt: skip
    yield f"{own}last_error_timestamp_seconds", "gauge", "seconds", "When something last failed, unix time.", \
        [({}, error["at"])] if error else []  # fmt: skip
    yield from _process(status)


def _process(status: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str, Sequence[Sample]]]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    yield "process_cpu_seconds_total", "counter", "seconds", "CPU time, user and system.", [
        ({}, usage.ru_utime + usage.ru_stime)
    ]  # fmt: skip
    yield "process_resident_memory_bytes", "gauge", "bytes", "Memory in use.", [({}, resident)]
    yield "process_start_time_seconds", "gauge", "seconds", "When the agent began, unix time.", [
        ({}, status["started"])
    ]  # fmt: skip


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
