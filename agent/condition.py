"""What a running agent's status means: whether it does its work, and the lines that a person reads."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from agent.logs import printable

State = Literal["online", "degraded", "offline", "enrolling"]
_MEANING: dict[State, str] = {
    "online": "all is well",
    "degraded": "requests pass, and the rest is being dialled",
    "offline": "no request reaches the stores; the agent goes on dialling",
    "enrolling": "the relay has not let this agent in yet",
}
_TROUBLE_CHARACTERS = 500


def state(status: Mapping[str, Any]) -> State:
    """`online`: every wanted tunnel stands; `degraded`: some; `offline`: none; `enrolling`: none is wanted yet."""
    tunnels = _tunnels(status)
    if not tunnels:
        return "enrolling"
    stand = sum(_stands(tunnel) for tunnel in tunnels)
    return "online" if stand == len(tunnels) else "degraded" if stand else "offline"


def standing(status: Mapping[str, Any]) -> bool:
    """Whether at least one tunnel stands."""
    return any(_stands(tunnel) for tunnel in _tunnels(status))


def as_text(status: Mapping[str, Any], now: float | None = None) -> Iterator[str]:
    """The lines that `postern-agent status` prints; an agent of another version may tell less, or more."""
    now = time.time() if now is None else now
    for name, text in _fields(status, now):
        yield f"{name:<12} {text}".rstrip()


def span(seconds: float) -> str:
    """A duration as people say it: `9 days`, `3 h 5 min`, `2 min 7 s`, `12 s`."""
    whole = max(0, round(seconds))
    if whole >= 2 * 86_400:
        return f"{whole // 86_400} days"
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def _fields(status: Mapping[str, Any], now: float) -> Iterator[tuple[str, str]]:
    tunnels, agent = _tunnels(status), status.get("agent")
    stand = sum(_stands(tunnel) for tunnel in tunnels)
    how = state(status)
    count = f", {stand} of {len(tunnels)} tunnels stand" if tunnels else ""
    yield "state", f"{how}{count}: {_MEANING[how]}"
    yield "agent", f"{agent.get('name')} ({agent.get('id')})" if agent else "not enrolled yet"
    yield "instance", str(status.get("instance"))
    yield "relay", str(status.get("relay"))
    started = status.get("started")
    up = f", up {span(now - started)} (since {_moment(started)})" if started else ""
    yield "process", f"{status.get('pid')}, version {status.get('version')}{up}"
    if (left := status.get("certificate_seconds")) is not None:
        yield "certificate", f"{span(left)} left, renewed by itself" if left > 0 else "expired"
    for tunnel in tunnels:
        yield f"tunnel {tunnel.get('slot')}", _tunnel(tunnel, now)
    for tunnel in status.get("draining") or ():
        yield "draining", f"an older tunnel, {_count(tunnel.get('channels', 0))}"
    for store in status.get("stores") or ():
        yield "store", f"{store.get('origin')} at {store.get('address')}"
    yield from _trouble(status, now)


def _trouble(status: Mapping[str, Any], now: float) -> Iterator[tuple[str, str]]:
    error = status.get("last_error")
    if not error:
        return
    at = error.get("at", now)
    text = printable(str(error.get("text")), _TROUBLE_CHARACTERS)
    yield "last error", f"{span(now - at)} ago ({_moment(at)}): {text}"
    how = state(status)
    if how == "online":
        yield "", "-> over: every tunnel has come up since"
    else:
        yield "", "-> 'postern-agent check' tries each step of the way and says what to do"


def _tunnel(tunnel: Mapping[str, Any], now: float) -> str:
    if not _stands(tunnel):
        return str(tunnel.get("state"))
    since, round_trip = tunnel.get("since"), tunnel.get("round_trip_ms")
    parts = [
        f"standing for {span(now - since)}" if since else "standing",
        f"{tunnel.get('transport')} to node {tunnel.get('node')} at {tunnel.get('address')}",
        f"round trip {round_trip:g} ms" if round_trip is not None else "",
        _count(tunnel.get("channels", 0)),
    ]
    return ", ".join(part for part in parts if part)


def _tunnels(status: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return status.get("tunnels") or ()


def _stands(tunnel: Mapping[str, Any]) -> bool:
    return tunnel.get("state") == "standing"


def _count(channels: int) -> str:
    return f"{channels} channel{'' if channels == 1 else 's'}"


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
