"""What reaches the service manager, seen at a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.wire.systemd import Notifier


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


def notifier(address: str, **more: str) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": address, **more})


def test_each_word_arrives_as_systemd_expects_it(heard: socket.socket) -> None:
    """One datagram each, assignments in lines (sd_notify(3))."""
    said = notifier(heard.getsockname())
    said.ready("all\nis well")
    assert heard.recv(999) == b"READY=1\nSTATUS=all is well"
    said.status("1 of 2 tunnels")
    assert heard.recv(999) == b"STATUS=1 of 2 tunnels"
    said.alive()
    assert heard.recv(999) == b"WATCHDOG=1"
    said.stopping("leaving")
    assert heard.recv(999) == b"STOPPING=1\nSTATUS=leaving"
    said.reloading()
    first, second = heard.recv(999).split(b"\n")
    assert first == b"RELOADING=1"
    assert second.startswith(b"MONOTONIC_USEC=")


def test_an_abstract_socket_is_reached() -> None:
    """A leading '@' stands for the NUL byte of an abstract address."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0postern-test-{os.getpid()}")
        sock.settimeout(5)
        notifier(f"@postern-test-{os.getpid()}").alive()
        assert sock.recv(99) == b"WATCHDOG=1"


@pytest.mark.parametrize("address", ["", "/nowhere/at/all"])
def test_nobody_listening_is_no_failure(address: str) -> None:
    """Without a service manager, or with one that went away, the agent just runs."""
    said = notifier(address)
    said.ready("well")
    assert said.watchdog_seconds is None


@pytest.mark.parametrize(
    ("microseconds", "pid", "seconds"),
    [
        ("60000000", "", 60.0),
        ("3000000", str(os.getpid()), 3.0),
        ("3000000", "1", None),
        ("0", "", None),
        ("x", "", None),
    ],
    ids=["all", "this", "another", "none", "no number"],
)
def test_the_watchdog_counts_only_for_this_process(microseconds: str, pid: str, seconds: float | None) -> None:
    """WATCHDOG_PID names whom systemd means."""
    assert notifier("", WATCHDOG_USEC=microseconds, WATCHDOG_PID=pid).watchdog_seconds == seconds
