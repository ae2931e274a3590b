"""Runs inside a machine: a shop on 127.0.0.1:8000, and callers who go on while the relay is restarted under them.

Arguments: the connection's URL, the file of the CA. The access key comes on standard input. Prints one JSON object: how
many requests were answered, what went wrong, and what each restart cost. Needs nothing but Python, curl and systemctl.
"""

import base64
import http.client
import json
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

RESTARTS = 3
WORKERS = 6
PAUSE_SECONDS = 0.15  # of each worker between two requests
SLOW_SECONDS = 4.0
PATIENCE_SECONDS = 40


class Shop(BaseHTTPRequestHandler):
    """Says what it was asked with, slowly for `slow`; counts by path."""

    protocol_version = "HTTP/1.1"
    seen: list[str] = []  # noqa: RUF012 - one list for all requests is meant

    def do_GET(self) -> None:
        self.seen.append(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if "slow" in self.path:
            time.sleep(SLOW_SECONDS)
        told = json.dumps([self.command, len(body)]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)

    do_POST = do_GET  # noqa: N815 - as the base class wants it

    def log_message(self, *_: Any) -> None:
        pass


class Callers:
    """Some keep their connection, some take a new one each time, one is curl. Nobody tries again."""

    def __init__(self, url: str, ca: str, key: str) -> None:
        self.url, self.ca, self.key = urlsplit(url), ca, key
        self.context = ssl.create_default_context(cafile=ca)
        self.headers = {"Authorization": "Basic " + base64.b64encode(f"{key}:".encode()).decode()}
        self.answered = 0
        self.slowest = 0.0
        self.failures: list[str] = []
        self.stop = threading.Event()

    def connection(self) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(
            self.url.hostname or "", self.url.port, timeout=PATIENCE_SECONDS, context=self.context
        )

    def ask(self, line: http.client.HTTPSConnection, tag: str, *, post: bool) -> int:
        body = b"x" * 1000 if post else None
        line.request("POST" if post else "GET", f"{self.url.path}/api/orders?{tag}", body, self.headers)
        answer = line.getresponse()
        answer.read()
        return answer.status

    def work(self, number: int) -> None:
        line, count = self.connection(), 0
        while not self.stop.wait(PAUSE_SECONDS):
            began, count = time.monotonic(), count + 1
            try:
                if number == 0:
                    self.note(self.curl(), "curl")
                else:
                    self.note(self.ask(line, f"n={number}-{count}", post=bool(count % 2)), f"worker {number}")
                    if number % 2:
                        line.close()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"worker {number}: {error!r}")
                line.close()
            self.slowest = max(self.slowest, time.monotonic() - began)

    def note(self, status: int, who: str) -> None:
        self.answered += status == 200
        if status != 200:
            self.failures.append(f"{who}: status {status}")

    def curl(self) -> int:
        command = [
            "curl",
            "--silent",
            "--cacert",
            self.ca,
            "--max-time",
            str(PATIENCE_SECONDS),
            "--user",
            f"{self.key}:",
        ]
        target = f"{self.url.geturl()}/api/orders?curl"
        told = ["--output", "/dev/null", "--write-out", "%{http_code}\n"]
        done = subprocess.run([*command, *told, target, *told, target], capture_output=True, text=True, check=False)
        statuses = done.stdout.split()
        return 200 if statuses == ["200", "200"] else int(statuses[-1]) if statuses else -done.returncode

    def slow(self, got: list[Any]) -> None:
        try:
            got.append(self.ask(self.connection(), "slow", post=True))
        except (OSError, http.client.HTTPException) as error:
            got.append(repr(error))


def restart() -> float:
    began = time.monotonic()
    subprocess.run(["systemctl", "restart", "postern-relay.service"], check=True)
    return time.monotonic() - began


def wait_for(condition: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)


def main() -> None:
    shop = ThreadingHTTPServer(("127.0.0.1", 8000), Shop)
    threading.Thread(target=shop.serve_forever, daemon=True).start()
    callers = Callers(sys.argv[1], sys.argv[2], sys.stdin.read().strip())
    workers = [threading.Thread(target=callers.work, args=(number,)) for number in range(WORKERS)]
    for worker in workers:
        worker.start()
    took: list[float] = []
    for _ in range(RESTARTS):
        wait_for(lambda before=callers.answered: callers.answered > before + 40)
        took.append(restart())
    slow: list[Any] = []
    under_way = threading.Thread(target=callers.slow, args=(slow,))
    under_way.start()
    wait_for(lambda: any("slow" in path for path in Shop.seen))
    took.append(restart())
    under_way.join()
    wait_for(lambda before=callers.answered: callers.answered > before + 40)
    callers.stop.set()
    for worker in workers:
        worker.join()
    numbered = [path for path in Shop.seen if "n=" in path]
    told = {
        "answered": callers.answered,
        "failures": callers.failures,
        "slowest": callers.slowest,
        "restarts": took,
        "slow": slow,
        "slow arrived": sum("slow" in path for path in Shop.seen),
        "twice": len(numbered) - len(set(numbered)),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
