"""Callers that keep asking while something else goes on: how long each small request took, and what went wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.system.caller import BrokenOffError, Line, basic, request
from tests.system.road import Connection

TARGET = "/api/orders?limit=1"


class Callers:
    """One for each of these connections, with a pause between two requests, each on a line of its own."""

    def __init__(self, connections: Sequence[Connection], *, pause: float) -> None:
        self.seconds: list[float] = []
        self.failed: list[str] = []
        self._pause = pause
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(one,)) for one in connections]

    @contextmanager
    def calling(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in self._threads:
                thread.join()

    @property
    def p99(self) -> float:
        return sorted(self.seconds)[int(len(self.seconds) * 0.99)]

    def _call(self, connection: Connection) -> None:
        while not self._over.wait(self._pause):
            began = time.monotonic()
            try:
                answer = connection.ask(TARGET)
            except (BrokenOffError, OSError) as error:
                self.failed.append(repr(error))
                continue
            self.seconds.append(time.monotonic() - began)
            if answer.status != 200:
                self.failed.append(str(answer))


class LastingCallers(Callers):
    """Each keeps its line."""

    def _call(self, connection: Connection) -> None:
        target, head = f"/to/{connection.id}{TARGET}", [basic(connection.access_key)]
        with Line(connection.relay_port) as line:
            while not self._over.wait(self._pause):
                began = time.monotonic()
                line.send(request("GET", target, head))
                answer = line.read()
                self.seconds.append(answer.at - began)
                if answer.status != 200:
                    self.failed.append(str(answer))
