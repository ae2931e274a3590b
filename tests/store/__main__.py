"""`python -m tests.store`: the stand-in store as a program, ready when its one JSON line appears."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import ssl
import sys

from tests.store.control import Control
from tests.store.fixtures import DEMO, CatalogueError
from tests.store.keys import NAMES
from tests.store.knobs import KnobError, Knobs
from tests.store.store import Store

USAGE = 2


def main() -> None:
    options = _parser().parse_args()
    try:
        asyncio.run(_run(options))
    except (KnobError, CatalogueError, ValueError, OSError) as error:
        print(f"tests.store: {error}", file=sys.stderr)
        sys.exit(USAGE)


async def _run(options: argparse.Namespace) -> None:
    host, port = _address(options.http or options.https)
    tls = _tls(options)
    checked = Knobs()
    knobs: dict[str, object] = {}
    for given in options.knob:
        name, _, value = given.partition("=")
        checked.set(name, value)
        knobs[name] = getattr(checked, name)
    knobs |= {"domain": options.domain} if options.domain else {}
    knobs |= {"base_path": options.base_path} if options.base_path else {}
    keys = {name: value for name, _, value in (given.partition("=") for given in options.key)}
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        store = await stack.enter_async_context(
            Store.serve(host, port, tls=tls, keys=keys, seed=options.seed, catalogue=options.catalogue, knobs=knobs)
        )
        ready: dict[str, object] = {"url": store.url, "keys": {name: store.keys[name] for name in NAMES}}
        if options.control:
            control = await stack.enter_async_context(Control.serve(store, *_address(options.control)))
            ready["control"] = control.url
        print(json.dumps(ready), flush=True)
        await stop.wait()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.store", description="Serve a stand-in PrestaShop webservice."
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--http", metavar="HOST:PORT", help="listen here; port 0 takes a free one")
    where.add_argument("--https", metavar="HOST:PORT", help="the same with TLS")
    parser.add_argument("--tls-cert", metavar="FILE", help="certificate chain, PEM")
    parser.add_argument("--tls-key", metavar="FILE", help="its private key, PEM")
    parser.add_argument("--domain", help="the shop's own domain (default: the address it listens on)")
    parser.add_argument("--base-path", metavar="PATH", help="the shop's folder, such as /prestashop")
    parser.add_argument("--catalogue", default=DEMO, help="demo, or large:N for N simple products")
    parser.add_argument("--key", action="append", default=[], metavar="NAME=VALUE", help="set the key full, …")
    parser.add_argument("--seed", type=int, help="make the same keys at each start")
    parser.add_argument("--knob", action="append", default=[], metavar="NAME=VALUE", help="set a trouble; repeatable")
    parser.add_argument(
        "--control", metavar="HOST:PORT", help="serve /__store__/ here, to change knobs and read counts"
    )
    return parser


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"an address is HOST:PORT, not {text!r}")
    return host.strip("[]"), int(port)


def _tls(options: argparse.Namespace) -> ssl.SSLContext | None:
    if not options.tls_cert and not options.https:
        return None
    if not options.tls_cert:
        raise ValueError("--https needs --tls-cert (and --tls-key)")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.tls_cert, options.tls_key)
    return context


if __name__ == "__main__":
    main()
