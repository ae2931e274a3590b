"""`postern-agent check`: which ways are tried side by side, and what must not be disturbed by trying.

`--json` prints one object, whose members only ever become more:

    {"ok": bool,             nothing failed
     "status": int,          the exit status: 0, 1, or 78 where `run` would end for good
     "version": str, "at": int (unix seconds), "seconds": float (how long it took),
     "bundle": str | null,   where the support archive was written
     "checks": [{"name": str, "status": "PASS" | "FAIL" | "SKIP", "ms": int, "detail": str, "remedy": str | null}]}

A name is stable: `settings`, `state directory`, `token`, `agent`; then a way and a step of it, such as `relay tls`,
`ssh relay.example.com:2222 banner`, `http://shop.lan api`. A step without a line was not come to.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from agent.bundle import Bundle
from agent.condition import span
from agent.failure import ConfigurationError
from agent.https import Link
from agent.logs import printable
from agent.opening import Ways
from agent.probes.here import Here, look_here
from agent.probes.membership import Membership, Registrar, join
from agent.probes.relay import relay, whereabouts
from agent.probes.road import WayOut, approach, reason
from agent.probes.ssh import banner, login
from agent.probes.step import Chain, Line
from agent.probes.store import store
from agent.probes.websocket import tunnel_url, websocket
from agent.proxy import Proxies
from agent.resolver import DaemonThreads, Resolver
from agent.settings import Settings
from agent.telling import Telling, as_object, verdict
from agent.transports import TcpDialer
from agent.wire.enrolment import Endpoint

TOTAL_SECONDS = 27.0
"""Deadline of the whole: with the start of the program, it ends within 30 s."""
ENDPOINTS = 8
"""So many endpoints are tried; a relay has one for each node and transport."""

Tell = Callable[[Line], object]


def run(flags: Mapping[str, Any], config: Path | None, *, as_json: bool, archive: Path | None, out: TextIO) -> int:
    """Check, tell it on `out`, and write the support archive if one is named; the exit status. Raises AgentError."""
    telling = Telling(out, as_json=as_json)
    with contextlib.ExitStack() as stack:
        bundle = stack.enter_context(Bundle.at(archive)) if archive else None
        lines = asyncio.run(check(flags, config, telling.hear))
        if bundle:
            bundle.fill(flags, config, as_object(lines))
    telling.end(lines, archive)
    return verdict(lines)


async def check(
    flags: Mapping[str, Any], config: Path | None, tell: Tell, clock: Callable[[], float] = time.time
) -> list[Line]:
    """Try everything; each line is told as soon as it is known, and all are given in order at the end."""
    asyncio.get_running_loop().set_default_executor(DaemonThreads())
    try:
        settings = Settings.load(flags, config)
        proxies = Proxies.of(settings.proxy)
        link = Link(settings.relay, settings.ca_file, proxies)
    except ConfigurationError as error:
        line = Line("settings", "FAIL", str(error).rstrip("."), "mend this first; nothing else was tried", final=True)
        tell(line)
        return [line]
    return await _Check(settings, proxies, link, tell, clock).run()


class _Check:
    """One check. What goes side by side are chains; the login waits for what the relay says of this installation."""

    def __init__(
        self, settings: Settings, proxies: Proxies, link: Link, tell: Tell, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._proxies = proxies
        self._link = link
        self._tell = tell
        self._clock = clock
        self._resolver = Resolver()
        self._chains: list[Chain] = []
        self._membership: asyncio.Future[Membership | None] = asyncio.get_running_loop().create_future()

    async def run(self) -> list[Line]:
        began = time.monotonic()
        here = await look_here(self._chain(""), self._settings)
        ways = [asyncio.ensure_future(way) for way in self._ways(here)]
        left = TOTAL_SECONDS - (time.monotonic() - began)
        _, late = await asyncio.wait(ways, timeout=left)
        for way in late:
            way.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for way in set(ways) - late:
            way.result()
        for chain in self._chains:
            if chain.doing:
                chain.stop(TOTAL_SECONDS)
        return [line for chain in self._chains for line in chain.lines]

    def _ways(self, here: Here) -> Iterator[Coroutine[Any, Any, None]]:
        endpoints = here.memory.endpoints[:ENDPOINTS] if here.memory else ()
        home = whereabouts(self._settings.relay)
        yield self._to_relay(self._chain("relay"), here)
        for endpoint in endpoints:
            host, port = (
                (endpoint.host, endpoint.port) if endpoint.transport == "tcp" else whereabouts(endpoint.url or "")
            )
            where = f"{printable(host)}:{port}"
            if endpoint.transport == "tcp":
                yield self._to_ssh(self._chain(f"ssh {where}"), here, endpoint)
            elif (host, port) != home:
                yield self._to_websocket(self._chain(f"websocket {where}"), endpoint)
        if not any(endpoint.transport == "tcp" for endpoint in endpoints):
            self._chain("ssh").skip("tcp", "its address is known after the first enrolment")
        for each in self._settings.stores:
            yield store(self._chain(each.origin), each, self._resolver)

    async def _to_relay(self, chain: Chain, here: Here) -> None:
        url = self._settings.relay
        registrar = Registrar(url, self._link, tuple(store.origin for store in self._settings.stores), self._clock)
        try:
            road = await relay(chain, url, self._way_out(*whereabouts(url)), link=self._link, clock=self._clock)
            membership = await join(chain, registrar, here)
            self._membership.set_result(membership)
        finally:
            if not self._membership.done():
                self._membership.set_result(None)
        if road is None:
            chain.skip("websocket", f"not tried, since 'relay {chain.broken}' failed")
            return
        chain.broken = ""  # the upgrade does not need what may have failed since
        if here.memory and all(endpoint.transport == "tcp" for endpoint in here.memory.endpoints):
            chain.skip("websocket", "this relay names none")
            return
        await websocket(chain, road, tunnel_url(url), self._settings.ca_file, membership.ticket if membership else None)

    async def _to_ssh(self, chain: Chain, here: Here, endpoint: Endpoint) -> None:
        road = await approach(chain, endpoint.host, endpoint.port, self._way_out(endpoint.host, endpoint.port))
        await banner(chain, road)
        if not chain.broken and (tunnel := here.agent.tunnel_at(endpoint.node, "tcp")):
            chain.succeed("login", f"the running agent's tunnel stands here, for {span(time.time() - tunnel['since'])}")
            return
        membership = await self._membership
        otherwise = "not tried, since 'relay enrolment' did not pass"
        if here.agent.stands_whole:
            otherwise = "not needed: all tunnels of the running agent stand, on other ways"
        dialer = TcpDialer(self._resolver, Ways(self._resolver, self._proxies, self._link.tls))
        await login(chain, endpoint, dialer, membership, otherwise=otherwise)

    async def _to_websocket(self, chain: Chain, endpoint: Endpoint) -> None:
        url = endpoint.url or ""
        host, port = whereabouts(url)
        road = await approach(chain, host, port, self._way_out(host, port))
        membership = await self._membership
        await websocket(chain, road, url, self._settings.ca_file, membership.ticket if membership else None)

    def _way_out(self, host: str, port: int) -> WayOut:
        why = reason(self._proxies, host, port, setting=self._settings.proxy is not None)
        return WayOut(self._proxies.to(host, port), why, self._settings.ca_file)

    def _chain(self, subject: str) -> Chain:
        chain = Chain(subject, self._tell)
        self._chains.append(chain)
        return chain
