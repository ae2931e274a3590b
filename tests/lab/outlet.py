"""The proxy that leads out of a merchant's network, as a program: CONNECT to one place, for who knows the password.

    python -m tests.lab.outlet --listen 10.77.1.20:3128 --to relay.test:443 [--chain F --key F --ca F] < USER:PASSWORD

With a certificate of its own it inspects: it shows that one to the client, reads along, and speaks TLS to the place
itself, which it believes by `--ca`. It prints one line when it listens, and one for whatever it was asked.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import ssl
import sys
from functools import partial

PART = 64 * 1024
DENIED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
WHO_ARE_YOU = (
    b'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="lan"\r\nContent-Length: 0\r\n\r\n'
)
GO_ON = b"HTTP/1.1 200 Connection established\r\n\r\n"


class Outlet:
    """`shown` and `believed` are there if it inspects: whom it plays, and whom it believes."""

    def __init__(
        self, to: str, credentials: str, shown: ssl.SSLContext | None, believed: ssl.SSLContext | None
    ) -> None:
        self._to, self._shown, self._believed = to, shown, believed
        self._password = "basic " + base64.b64encode(credentials.encode()).decode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, target, _ = head.split(" ", 2)
            refusal = self._judge(method, target, head)
            print(method, target, refusal.split(b" ", 2)[1].decode() if refusal else "200", flush=True)
            writer.write(refusal or GO_ON)
            if not refusal:
                await self._pass(reader, writer)
        writer.close()

    def _judge(self, method: str, target: str, head: str) -> bytes:
        lines = [line.partition(":") for line in head.split("\r\n")[1:]]
        given = [value.strip() for name, _, value in lines if name.lower() == "proxy-authorization"]
        if not any(value.lower() == self._password.lower() for value in given):
            return WHO_ARE_YOU
        return b"" if (method, target) == ("CONNECT", self._to) else DENIED

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._shown:
            await writer.start_tls(self._shown)
        host, _, port = self._to.rpartition(":")
        theirs, ours = await asyncio.open_connection(host, int(port), ssl=self._believed)
        ways = [asyncio.ensure_future(copy(*pair)) for pair in ((reader, ours), (theirs, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        ours.transport.abort()
        writer.transport.abort()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(PART):
        writer.write(data)
        await writer.drain()


async def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("--listen", "--to", "--chain", "--key", "--ca"):
        parser.add_argument(name)
    given = parser.parse_args()
    shown = believed = None
    if given.chain:
        shown = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        shown.load_cert_chain(given.chain, given.key)
        believed = ssl.create_default_context(cafile=given.ca)
    outlet = Outlet(given.to, sys.stdin.readline().strip(), shown, believed)
    host, _, port = given.listen.rpartition(":")
    server = await asyncio.start_server(partial(outlet.serve), host, int(port))
    print("listening", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
