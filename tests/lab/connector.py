"""The connector in the cloud while a test runs: what it asks, and what became of it so far."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.lab.network import Network
from tests.lab.traffic import NUMBER, PATIENCE_SECONDS, Fate

RATE = 20
"""Requests a second, half of them GETs."""
MOST = 0.8
"""Part of the requests that a busy machine gets to send in time."""


class Connector:
    """Asks without a pause from `asking` on; `fates` grows while it does."""

    def __init__(self, label: str, process: subprocess.Popen[str]) -> None:
        self.label = label
        self._process = process
        self.fates: list[Fate] = []

    @classmethod
    @contextmanager
    def asking(cls, network: Network, connection: dict[str, str], ca: Path, label: str) -> Iterator[Connector]:
        """The connector at work; when the block ends, what is under way is waited for."""
        words = ("--url", connection["url"], "--ca", str(ca), "--rate", str(RATE), "--label", label)
        log = ca.with_name(f"{label}.log")
        process = network.spawn("cloud", sys.executable, "-m", "tests.lab.traffic", *words, log=log)
        connector = cls(label, process)
        assert process.stdin
        assert process.stdout
        process.stdin.write(connection["access_key"] + "\n")
        process.stdin.close()
        reader = threading.Thread(target=connector._read, args=(process.stdout,))
        reader.start()
        try:
            yield connector
        finally:
            process.terminate()
            reader.join(PATIENCE_SECONDS + 5)
            process.kill()
            process.wait()
        if log.stat().st_size:
            raise AssertionError(f"the connector failed: {log.read_text()[-1000:]}")

    def rest(self) -> None:
        """Ask nothing until `go_on`."""
        self._process.send_signal(signal.SIGUSR1)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGUSR2)

    def all_well_for(self, seconds: float) -> bool:
        """Whether every request that began in the last seconds, and had a second's time, was answered well."""
        now = time.time()
        ended = [fate for fate in self.fates if now - seconds < fate.begin < now - 1]
        return len(ended) > (seconds - 1) * RATE * MOST and all(fate.well for fate in ended)

    def arrived(self, seen: list[dict[str, Any]]) -> list[int]:
        """The numbers of this connector's requests in the shop's record."""
        marks = [value for request in seen for name, value in request["headers"] if name.lower() == NUMBER.lower()]
        return [int(mark.rpartition("-")[2]) for mark in marks if mark.rpartition("-")[0] == self.label]

    def _read(self, lines: Any) -> None:
        for line in lines:
            self.fates.append(Fate(**json.loads(line)))
