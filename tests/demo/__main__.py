"""The main job, seen: a shop behind nothing but its own agent, called through a relay. Started by `make demo`."""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
READY_SECONDS = 30.0
SHOP = "shop.lan"
TARGET = "/api/products?display=[id,reference,price]&limit=2"


class DemoError(Exception):
    """A step failed; the text says which, and what the program said last."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the first round trip (make demo ONCE=1)")
    once = parser.parse_args().once
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            run(stack, once=once)
    except DemoError as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.")
    return 0


def run(stack: ExitStack, *, once: bool) -> None:
    home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="postern-demo-")))
    http_port, ssh_port = free_ports(2)
    url = f"http://127.0.0.1:{http_port}"
    relay_options = ["--state-dir", str(home / "relay"), "--http", f"127.0.0.1:{http_port}",
                     "--ssh", f"127.0.0.1:{ssh_port}"]  # fmt: skip

    say("1", "a shop", f"a stand-in PrestaShop that calls itself http://{SHOP}")
    shop = start_shop(stack, home)
    say("2", "a relay", f"{url}, agents dial port {ssh_port}")
    ask_relay(relay_options, "init")
    agent = ask_relay(relay_options, "agents", "create", "demo shop")
    connection = ask_relay(relay_options, "connections", "create", "--name", "demo", "--mode", "on-premise",
                           "--agent", agent["id"], "--store-url", f"http://{SHOP}", "--api-key-file", "-",
                           text=shop["keys"]["full"])  # fmt: skip
    start(stack, home, "relay", [str(BIN / "postern-relay"), "serve", *relay_options])
    wait_for(home, "relay", http_port, "/readyz")
    say("3", "an agent", f"enrols with its token and publishes http://{SHOP}; it opens no port")
    start_agent(stack, home, url, agent["token"], shop["url"])
    say("4", "a request", "from the connector to the shop, through the tunnel\n")
    show_round_trip(home, http_port, connection)
    if once:
        return
    curl = f"curl -g -u {connection['access_key']}: '{connection['url']}{TARGET}'"
    print(f"\nIt stays up until Ctrl-C. Try it yourself:\n\n  {curl}\n\n  logs: {home}/*.log")
    while True:
        time.sleep(3600)


def start_shop(stack: ExitStack, home: Path) -> Any:
    process = start(stack, home, "shop", [sys.executable, "-m", "tests.store", "--http", "127.0.0.1:0",
                                          "--domain", SHOP])  # fmt: skip
    line = (process.stdout.readline() if process.stdout else b"").decode()
    if not line:
        raise DemoError("the shop did not start: " + tail(home, "shop"))
    return json.loads(line)


def start_agent(stack: ExitStack, home: Path, url: str, token: str, shop_url: str) -> None:
    token_file = home / "token"
    token_file.touch(mode=0o600)
    token_file.write_text(token + "\n")
    address = shop_url.removeprefix("http://")
    start(stack, home, "agent", [str(BIN / "postern-agent"), "run", "--relay", url, "--store",
                                 f"http://{SHOP}={address}", "--token-file", str(token_file),
                                 "--state-dir", str(home / "agent")])  # fmt: skip


def show_round_trip(home: Path, port: int, connection: Any) -> None:
    """One GET as a connector makes it, printed as it went over the wire; waits for the tunnel before."""
    target = f"/to/{connection['id']}{TARGET}"
    wait_for(home, "agent", port, target, key=connection["access_key"])
    began = time.perf_counter()
    answer, body = get(port, target, connection["access_key"])
    milliseconds = (time.perf_counter() - began) * 1000
    print(f"  > GET {target}\n  > Authorization: Basic (the connection's access key, not the shop's)\n  >")
    print(f"  < HTTP/1.1 {answer.status} {answer.reason}")
    for name, value in answer.getheaders():
        print(f"  < {name}: {value[:90]}")
    print("  <\n" + "\n".join(f"  {line}" for line in body.decode().splitlines()))
    print(f"\n  {len(body)} bytes in {milliseconds:.1f} ms: connector → relay → tunnel → agent → shop, and back")


def ask_relay(options: list[str], *words: str, text: str | None = None) -> Any:
    command = [str(BIN / "postern-relay"), *words, *options[:2], "--json"]
    if words[0] == "connections":
        command += options[2:]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=READY_SECONDS, check=False)
    if done.returncode:
        raise DemoError(f"postern-relay {' '.join(words[:2])}: {done.stderr.strip()}")
    return json.loads(done.stdout) if done.stdout.strip() else None


def start(stack: ExitStack, home: Path, name: str, command: list[str]) -> subprocess.Popen[bytes]:
    log = stack.enter_context((home / f"{name}.log").open("wb"))
    process = subprocess.Popen(command, stdout=subprocess.PIPE if name == "shop" else log, stderr=log,
                               stdin=subprocess.DEVNULL, env={**os.environ, "NO_COLOR": "1"},
                               start_new_session=True)  # fmt: skip
    stack.callback(stop, process)
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
    process.kill()
    process.wait()


def wait_for(home: Path, name: str, port: int, target: str, key: str = "") -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if get(port, target, key)[0].status == 200:
                return
        time.sleep(0.1)
    raise DemoError(f"the {name} was not ready within {READY_SECONDS:.0f} s: {tail(home, name)}")


def get(port: int, target: str, key: str) -> tuple[http.client.HTTPResponse, bytes]:
    headers = {"Authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()} if key else {}
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=15)) as connection:
        connection.request("GET", target, headers=headers)
        answer = connection.getresponse()
        return answer, answer.read()


def free_ports(count: int) -> Iterator[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        ports = [int(sock.getsockname()[1]) for sock in sockets]
    return iter(ports)


def tail(home: Path, name: str) -> str:
    lines = (home / f"{name}.log").read_text(errors="replace").splitlines()
    return " | ".join(lines[-3:]) or "it said nothing"


def say(number: str, what: str, detail: str) -> None:
    print(f"{number}  {what:<10} {detail}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
