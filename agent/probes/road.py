"""The way to a host, step by step: through which proxy and why, to which addresses, and what is then spoken on it."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.https import trust_anchors
from agent.logs import printable
from agent.probes.reach import connect, connect_each, look_up
from agent.probes.step import Chain, StepError
from agent.proxy import HEAD_BYTES, Proxies, Proxy, ProxyError, variable
from agent.resolver import Address


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an HTTP answer; names of `fields` in lower case, the first of a name wins."""

    status: int
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Wire:
    """An open connection, TLS or not."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, target: str, host: str, *fields: str) -> Head:
        """Send a GET, read the head of the answer; the body is left unread. Raises StepError if it is not HTTP."""
        lines = (f"GET {target} HTTP/1.1", f"Host: {host}", "Accept: */*", *fields)
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode() + b"\r\n")
        await self.writer.drain()
        try:
            return _parsed(await self.reader.readuntil(b"\r\n\r\n"))
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            raise StepError(
                "the other end closed without an HTTP answer", "does a web server listen on this port?"
            ) from None


@dataclass(frozen=True, slots=True)
class Road:
    """A way that was walked as far as TCP (and CONNECT). Each `open` is a connection of its own."""

    host: str
    port: int
    address: Address
    """Of the proxy, if there is one."""
    proxy: Proxy | None = None
    ca_file: Path | None = None
    """Believed of a proxy that is spoken to with TLS."""

    @asynccontextmanager
    async def open(self, tls: ssl.SSLContext | None = None, name: str | None = None) -> AsyncIterator[Wire]:
        """Connect; with `tls`, shake hands in the host's name or in `name`. Raises OSError, StepError."""
        reader, writer = await asyncio.open_connection(sock=await connect(self.address), limit=HEAD_BYTES)
        try:
            if self.proxy:
                await _pass(self.proxy, self, reader, writer)
            if tls:
                await writer.start_tls(tls, server_hostname=name or self.host)
            yield Wire(reader, writer)
        finally:
            writer.transport.abort()


@dataclass(frozen=True, slots=True)
class WayOut:
    """Which proxy is asked, if any, and why; `ca_file` is believed of one that speaks TLS."""

    proxy: Proxy | None
    why: str
    ca_file: Path | None


async def approach(chain: Chain, host: str, port: int, out: WayOut) -> Road | None:
    """The steps up to an open port: `proxy`, then name, TCP and CONNECT of the proxy, or name and TCP of the host."""
    proxy = out.proxy
    chain.succeed("proxy", f"{proxy}, {out.why}" if proxy else out.why)
    if proxy is None:
        return await _directly(chain, host, port)
    remedy = "is the proxy's name right, and does this network resolve it?"
    addresses = await look_up(chain, proxy.host, proxy.port, remedy, whose="proxy ")
    remedy = f"is the proxy {proxy} up, and is that its port?"
    answering = await chain.step("proxy tcp", lambda: connect_each(addresses, remedy), remedy)
    road = Road(host, port, answering[0], proxy, out.ca_file) if answering else None

    async def pass_through() -> tuple[Road, str]:
        assert road is not None  # noqa: S101 - the step before gave it
        async with road.open():
            return road, f"lets this machine through to {host}:{port}"

    return await chain.step("proxy connect", pass_through, f"is {proxy} an HTTP proxy?")


async def _directly(chain: Chain, host: str, port: int) -> Road | None:
    addresses = await look_up(chain, host, port, "is the name right, and does this network resolve names?")
    remedy = f"let this machine out to {host}, port {port}"
    answering = await chain.step("tcp", lambda: connect_each(addresses, remedy), remedy)
    return Road(host, port, answering[0]) if answering else None


def reason(
    proxies: Proxies, host: str, port: int, *, setting: bool, environment: Mapping[str, str] = os.environ
) -> str:
    """Why this proxy is used for the host, or none; `setting`: the agent has one of its own. Names, never contents."""
    if setting:
        return "from the agent's own setting, --proxy" if proxies.to(host, port) else "none for a loopback address"
    name = variable(environment)
    if name is None:
        return "none is set"
    if proxies.to(host, port):
        return f"from {name}"
    return f"none, though {name} is set: NO_PROXY exempts {host}, or it is a loopback address"


async def _pass(proxy: Proxy, road: Road, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if proxy.scheme == "https":
        await writer.start_tls(trust_anchors(road.ca_file), server_hostname=proxy.host)
    writer.write(proxy.request(road.host, road.port))
    await writer.drain()
    try:
        proxy.judge(await reader.readuntil(b"\r\n\r\n"), road.host, road.port)
    except ProxyError as error:
        seen, _, remedy = str(error).partition(": ")
        raise StepError(seen, remedy or "ask whoever runs the proxy") from None
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise StepError(f"what answers at {proxy} is no HTTP proxy", "is that the proxy's address and port?") from None


def _parsed(head: bytes) -> Head:
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ", 2)
    if not lines[0].startswith("HTTP/") or len(words) < 2 or not words[1].isdecimal() or len(words[1]) != 3:
        raise StepError(f"what answers is no web server ({printable(lines[0], 40)})", "is that the right port?")
    fields: dict[str, str] = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        fields.setdefault(name.strip().lower(), value.strip())
    return Head(int(words[1]), fields)
