"""The command line of `Proxy`: one TCP hop that makes loopback a long or a broken line, without root.

    python -m tests.lab.delayproxy --listen 127.0.0.1:0 --to 127.0.0.1:Q [--delay-ms 25] [--jitter-ms J]
        [--rate-mbit N] [--window-mb 64] [--control 127.0.0.1:0]

Port 0 lets the kernel choose; the first line of output is JSON, `{"listen": "host:port", "control": "host:port"}`
(or null). Each way is delayed by `--delay-ms` (the round trip grows by twice that), a FIN as well; a new connection
waits one round trip, as a TCP handshake does. Delay alone limits no throughput: up to `--window-mb` are in flight.

The control port takes one command a line and answers each with one line of JSON (the counters of `stats`):

    delay MS | jitter MS | rate MBIT   changed at once; 0 = off
    blackhole       (also SIGUSR1) swallow every byte, FIN and RST; a new connection gets no further than this hop
    blackhole-old   the same for the connections that exist now; new ones work
    resume          (also SIGUSR2) back to normal: a connection that lost something is cut by RST, the others go on
    stall           read and write nothing: back-pressure without loss; ends by resume
    cut | cut-soft  RST, or FIN, to both ends of every connection
    refuse | accept close or open the listener
    stats           the counters alone
"""

import argparse
import asyncio
import contextlib
import json
import signal
from collections.abc import Callable
from typing import Any

from tests.lab.line import Address, Proxy


class Control:
    """The commands of the control port, by name."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._plain: dict[str, Callable[[], None]] = {
            "blackhole": proxy.blackhole,
            "blackhole-old": proxy.blackhole_old,
            "resume": proxy.resume,
            "stall": proxy.stall,
            "cut": proxy.cut,
            "cut-soft": proxy.cut_soft,
            "refuse": proxy.refuse,
            "accept": proxy.listen,
            "stats": lambda: None,
        }

    def obey(self, line: str) -> dict[str, Any]:
        """The answer to one line; a command that is not understood changes nothing."""
        verb, *arguments = line.split() or ["stats"]
        try:
            if verb in {"delay", "jitter"}:
                setattr(self._proxy, f"{verb}_ms", float(*arguments))
            elif verb == "rate":
                self._proxy.rate_mbit = float(*arguments)
            elif verb in self._plain:
                self._plain[verb](*arguments)
            else:
                return {"error": f"unknown command {verb}"}
        except (TypeError, ValueError, OSError) as error:
            return {"error": str(error)}
        return self._proxy.stats()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError, asyncio.CancelledError):
            while line := (await reader.readline()).decode().strip():
                writer.write(json.dumps(self.obey(line)).encode() + b"\n")
                await writer.drain()
        writer.close()


def _address(given: str) -> Address:
    host, _, port = given.rpartition(":")
    return host.strip("[]"), int(port)


def _text(address: tuple[Any, ...]) -> str:
    return f"{address[0]}:{address[1]}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", type=_address, required=True)
    parser.add_argument("--to", type=_address, required=True)
    for name, default in ("delay-ms", 0), ("jitter-ms", 0), ("rate-mbit", 0), ("window-mb", 64):
        parser.add_argument(f"--{name}", type=float, default=default)
    parser.add_argument("--control", type=_address)
    return parser.parse_args()


async def _main() -> None:
    chosen = vars(_options())
    control_at = chosen.pop("control")
    proxy, loop, ended = Proxy(**chosen), asyncio.get_running_loop(), asyncio.Event()
    proxy.listen()
    control = await asyncio.start_server(Control(proxy).serve, *control_at) if control_at else None
    loop.add_signal_handler(signal.SIGUSR1, proxy.blackhole)
    loop.add_signal_handler(signal.SIGUSR2, proxy.resume)
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loop.add_signal_handler(signal.SIGINT, ended.set)
    control_text = _text(control.sockets[0].getsockname()) if control else None
    print(json.dumps({"listen": _text(proxy.listen_at), "control": control_text}), flush=True)
    await ended.wait()
    proxy.close()


if __name__ == "__main__":
    asyncio.run(_main())
