"""What systemd is told (sd_notify(3)) and what it asks for: readiness, a status line, the watchdog."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """Sends to the socket that systemd named, or to nobody where there is none."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self.watchdog_seconds = _watchdog_seconds(environment)

    def tell(self, *assignments: str) -> None:
        """Send lines such as `READY=1`; a service manager that went away is no reason to fail."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as s:
            s.setblocking(False)
            s.connect(address)
            s.sendall("\n".join(assignments).encode())

    def ready(self, status: str) -> None:
        self.tell("READY=1", _status(status))

    def status(self, status: str) -> None:
        self.tell(_status(status))

    def alive(self) -> None:
        self.tell("WATCHDOG=1")

    def reloading(self) -> None:
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str) -> None:
        self.tell("STOPPING=1", _status(status))


def _status(text: str) -> str:
    return "STATUS=" + " ".join(text.split())


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    """How often systemd wants to hear `WATCHDOG=1` from this very process, or None if it does not."""
    text, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not text.isdecimal() or int(text) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(text) / 1e6
