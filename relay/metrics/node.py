"""A node's metrics: their names, what they mean, and where each figure stands. No label names an account or an agent.

Labels have values that this code knows beforehand, so that a scrape is as long for a thousand agents as for one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from agent.wire.refusal import EnrolmentRefusal
from relay.gateway.errors import FAILURES
from relay.gateway.gateway import Gateway
from relay.gateway.holding import Holding
from relay.gateway.tally import DURATIONS, Tally
from relay.metrics.loop_lag import BOUNDS, LoopLag
from relay.metrics.surface_tally import SurfaceTally
from relay.tunnels.admission import Admission, Refusal
from relay.tunnels.registry import Registry

NAMED = "postern_relay_"
ENROLLED, AWAY = "enrolled", "database_unavailable"
"""How an enrolment is counted that succeeded, or found no database; others by the code of their refusal."""
EVENTS = (
    *("agent.online", "agent.degraded", "agent.offline", "agent.flapping", "agent.steady", "agent.clone"),
    *("agent.version_behind", "tunnel.up", "tunnel.down", "store.reachable", "store.unreachable"),
    *("store.key_accepted", "store.key_refused", "certificate.expiring", "token.expiring", "changed"),
)
"""Kinds of notices. Each stands at 0 from the beginning, so that the first one is seen to be an increase."""
_REFUSALS = (*(refusal.value for refusal in EnrolmentRefusal), AWAY)


class Figures(Protocol):
    """What the database knows of all accounts together."""

    @property
    def agents(self) -> int: ...

    @property
    def never(self) -> int: ...

    @property
    def revoked(self) -> int: ...

    @property
    def connections(self) -> int: ...

    @property
    def waiting(self) -> int: ...

    @property
    def dead(self) -> int: ...


@dataclass(kw_only=True)
class Node:
    """Where the figures stand. `silence` answers for how many seconds the database has not."""

    version: str
    gateway: Gateway
    holding: Holding
    registry: Registry
    admission: Admission
    surface: SurfaceTally
    enrolments: Counter[str]
    silence: Callable[[], float]
    database_up: Callable[[], bool]
    http_connections: Callable[[], int] = int
    certificate_ends: Callable[[], float | None] = lambda: None
    """Unix seconds; None: TLS is not ours."""
    lines_dropped: Callable[[], int] = int
    """Of the access log."""
    degraded: Callable[[], int] = int
    """Agents with a tunnel, and with something amiss."""
    stores: Callable[[], Mapping[str, int]] = dict
    """How many of those that are looked at are reachable, unreachable, unknown."""
    events: Mapping[str, int] = field(default_factory=dict)
    """How many notices of each kind have been published."""
    lag: LoopLag = field(default_factory=LoopLag)
    figures: Figures | None = None
    """None: the database was not asked yet, or did not answer."""


class NodeCollector(Collector):
    """Asked by a registry for each scrape."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def collect(self) -> Iterator[Metric]:
        node = self._node
        yield InfoMetricFamily(f"{NAMED}build", "What runs.", value={"version": node.version})
        yield from _requests(node.gateway)
        yield _gauge("requests_held", "Requests that wait for a tunnel to come back.", node.holding.held)
        yield _gauge("http_connections", "Connections of connectors, browsers and agents.", node.http_connections())
        yield from _surface(node.surface)
        yield from _tunnels(node)
        yield from _agents(node)
        yield from _machine(node)

    def describe(self) -> Iterator[Metric]:
        """Nothing: whoever registers this need not be asked for figures yet."""
        return iter(())


def _requests(gateway: Gateway) -> Iterator[Metric]:
    totals = gateway.traffic.totals()
    answers = {f"{digit}xx": totals.answers[digit] for digit in (2, 3, 4, 5)} | {"none": totals.answers[0]}
    yield _counts_by("requests", "Requests under /to/ that are over, by the store's answer.", "answer", answers)
    yield _errors(totals, gateway.traffic.refused)
    yield _counter("requests_retried", "Requests that were sent a second time.", totals.retried)
    yield _counter("requests_abandoned", "Requests whose connector left before the end.", totals.left)
    yield _counter("request_bytes", "Bodies of requests, passed on to stores.", totals.bytes_in, unit="bytes")
    yield _counter("answer_bytes", "Bodies of answers, passed on to connectors.", totals.bytes_out, unit="bytes")
    yield _histogram(
        "request_duration_seconds",
        "From a request's head to the end of its answer.",
        dict(zip(DURATIONS, totals.within(), strict=True)),
        totals.requests,
        totals.seconds,
    )
    yield _gauge("requests_in_flight", "Requests that are let in and not over.", len(gateway))
    yield _gauge("requests_queued", "Requests that wait for their turn at a store.", gateway.waiting)


def _errors(totals: Tally, refused: Mapping[tuple[str, str], int]) -> Metric:
    text = "Requests that the relay answered itself, or whose answer broke off, by code and by the hop to blame."
    family = CounterMetricFamily(f"{NAMED}request_errors", text, labels=["code", "origin"])
    for failure in FAILURES.values():
        named = failure.code, failure.origin.value
        family.add_metric(named, totals.errors[named] + refused.get(named, 0))
    return family


def _surface(tally: SurfaceTally) -> Iterator[Metric]:
    answers = {f"{digit}xx": tally.answers[digit] for digit in (2, 3, 4, 5)} | {"none": tally.answers[0]}
    yield _counts_by("api_requests", "Requests to /v1 and its like that are over.", "answer", answers)
    yield _counter("api_request_seconds", "How long these took, all together.", tally.seconds, unit="seconds")


def _tunnels(node: Node) -> Iterator[Metric]:
    standing = [tunnel for tunnel in node.registry if not tunnel.lost]
    ways = Counter(tunnel.transport for tunnel in standing)
    by_way = {way: ways[way] for way in ("tcp", "websocket")}
    yield _gauges_by("tunnels", "Tunnels that stand on this node.", "transport", by_way)
    yield _counter("tunnels_opened", "Tunnels that came.", node.registry.came)
    yield _counter("tunnels_found_dead", "Tunnels that did not answer any more.", node.registry.died)
    yield _gauge("channels", "TCP connections to stores, through these tunnels.", sum(t.channels for t in standing))
    yield _gauge("logins_waiting", "Connections of agents that have not logged in yet.", node.admission.pending)
    refused = {refusal.name.lower(): node.admission.refused[refusal] for refusal in Refusal}
    yield _counts_by("logins_refused", "Connections of agents that were turned away.", "reason", refused)
    results = {result: node.enrolments[result] for result in (ENROLLED, *_REFUSALS)}
    yield _counts_by("enrolments", "Enrolments and renewals, by what came of them.", "result", results)


def _agents(node: Node) -> Iterator[Metric]:
    here = {tunnel.identity.agent: tunnel.identity.instance for tunnel in node.registry if not tunnel.lost}
    enrolled = sum(instance.startswith("ins_") for instance in here.values())
    yield _gauge("agents_connected", "Agents with a tunnel on this node.", len(here))
    known = node.figures
    if known:
        degraded = min(node.degraded(), len(here))
        states = {"online": len(here) - degraded, "degraded": degraded, "offline": max(0, known.agents - enrolled)}
        states |= {"never": max(0, known.never - len(here) + enrolled), "revoked": known.revoked}
        yield _gauges_by("agents", "Agents of all accounts by state.", "state", states)
        yield _gauge("connections", "Connections of all accounts.", known.connections)
        deliveries = {"waiting": known.waiting, "dead": known.dead}
        yield _gauges_by("deliveries", "Events for webhooks: not delivered yet, or given up.", "state", deliveries)
    yield _gauges_by("stores", "Stores that agents publish and connections lead to.", "state", node.stores())
    events = {kind: node.events.get(kind, 0) for kind in EVENTS}
    yield _counts_by("events", "What happened to agents, stores and records.", "kind", events)


def _machine(node: Node) -> Iterator[Metric]:
    yield _gauge("draining", "1: the relay is about to leave.", int(node.gateway.draining))
    yield _gauge("database_up", "1: the database has answered lately.", int(node.database_up()))
    silence = "How long ago the database last answered."
    yield _gauge("database_silence_seconds", silence, node.silence(), unit="seconds")
    late = "How much later than asked a timer rang."
    *counts, number = node.lag.within()
    buckets = dict(zip(BOUNDS, counts, strict=True))
    yield _histogram("event_loop_lag_seconds", late, buckets, number, node.lag.seconds)
    ends = node.certificate_ends()
    if ends is not None:
        text = "When the relay's own TLS certificate ends, unix time."
        yield _gauge("certificate_expiry_timestamp_seconds", text, ends, unit="seconds")
    text = "Lines of the access log that nobody took in time."
    yield _counter("access_log_lines_dropped", text, node.lines_dropped())


def _gauge(name: str, text: str, value: float, *, unit: str = "") -> Metric:
    return GaugeMetricFamily(NAMED + name, text, value=value, unit=unit)


def _counter(name: str, text: str, value: float, *, unit: str = "") -> Metric:
    return CounterMetricFamily(NAMED + name, text, value=value, unit=unit)


def _gauges_by(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(NAMED + name, text, labels=[label])
    for said, value in values.items():
        family.add_metric([said], value)
    return family


def _counts_by(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(NAMED + name, text, labels=[label])
    for said, value in values.items():
        family.add_metric([said], value)
    return family


def _histogram(name: str, text: str, buckets: Mapping[float, int], number: int, seconds: float) -> Metric:
    family = HistogramMetricFamily(NAMED + name, text, unit="seconds")
    bounds = [(str(bound), float(count)) for bound, count in buckets.items()]
    family.add_metric([], [*bounds, ("+Inf", float(number))], sum_value=seconds)
    return family
