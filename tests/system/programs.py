"""How the project's programs are run from outside: started with a log of their own, waited for, asked, stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

BIN = Path(sys.executable).parent
AGENT, RELAY = str(BIN / "postern-agent"), str(BIN / "postern-relay")
ROOT = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"
START_SECONDS = 30.0
STOP_SECONDS = 8.0  # between SIGTERM and SIGKILL, when a test has ended
COMMAND_SECONDS = 30.0
LOOK_SECONDS = 0.01  # between two looks
TAIL_LINES = 15
TAIL_CHARACTERS = 600  # of one line
# root goes past the permission bits of files; without these two rights it is refused like everybody else
PLAIN_USER = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
# if a program may not dump core, then because it has forbidden that itself
CORES_ALLOWED = ["sh", "-c", 'ulimit -c "$(ulimit -H -c)"; exec "$@"', "sh"]
HAND_OVER = """
import os, sys
numbers = [int(number) for number in sys.argv[1].split()]
for place, number in enumerate(numbers):
    os.dup2(number, 3 + place)
named = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(numbers)), "LISTEN_FDNAMES": sys.argv[2]}
os.execve(sys.argv[3], sys.argv[3:], os.environ | named)
"""

Found = TypeVar("Found")


def environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """A clean one: nothing of the caller's own settings reaches a program under test."""
    clean = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"}
    return clean | dict(variables or {})


def eventually(what: str, look: Callable[[], Found], seconds: float = 10.0) -> Found:
    """The first true thing that `look` finds; AssertionError with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(LOOK_SECONDS)
    return found


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now; taken together, so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind((HOST, 0))
        return [int(sock.getsockname()[1]) for sock in sockets]


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended."""

    command: Sequence[str]
    status: int
    out: str
    err: str
    ended_at: float  # monotonic

    def __str__(self) -> str:
        return f"{' '.join(self.command)}\n  status {self.status}\n  out: {self.out}\n  err: {self.err}"


def finish(
    *command: str,
    text: str = "",
    plain_user: bool = False,
    seconds: float = COMMAND_SECONDS,
    variables: Mapping[str, str] | None = None,
) -> Finished:
    """Run to the end; `plain_user`: file permissions count, also for root."""
    command = (*(PLAIN_USER if plain_user else ()), *command)
    try:
        done = subprocess.run(
            command,
            input=text,
            capture_output=True,
            text=True,
            timeout=seconds,
            cwd=ROOT,
            env=environment(variables),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        said = (error.stderr or b"").decode(errors="replace")
        raise AssertionError(f"{' '.join(command)} still runs after {seconds:g} s: {said}") from None
    return Finished(command, done.returncode, done.stdout, done.stderr, time.monotonic())


class Program:
    """A program that runs until it is stopped."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        piped: bool = False,
        sockets: Mapping[str, socket.socket] | None = None,
    ) -> None:
        """`sockets` are handed over by name, as systemd does it (sd_listen_fds(3))."""
        self.name, self.command, self.log = name, command, log
        handed = sockets or {}
        self._told = False
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*CORES_ALLOWED, *_taking(handed), *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else output,
                stderr=output,
                cwd=ROOT,
                env=environment(),
                start_new_session=True,
                pass_fds=[sock.fileno() for sock in handed.values()],
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def tail(self) -> str:
        lines = [line[:TAIL_CHARACTERS] for line in self.text().splitlines()[-TAIL_LINES:]]
        return "\n".join([f"--- {self.name}, status {self.process.poll()}", *(lines or ["(its log is empty)"])])

    def wait_for(self, what: str, look: Callable[[], Found], seconds: float = START_SECONDS) -> Found:
        """As `eventually`, and over at once if the program ends."""

        def watched() -> Found:
            found = look()
            assert found or self.running, f"{self.name} ended before {what}\n{self.tail()}"
            return found

        return eventually(f"{self.name}: {what}", watched, seconds)

    def says(self, part: str, seconds: float = START_SECONDS, times: int = 1) -> None:
        """Wait until its log has had the text so many times."""
        self.wait_for(f"{part!r} in its log", lambda: self.text().count(part) >= times, seconds)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ends(self, seconds: float = START_SECONDS) -> int:
        """Its exit status."""
        eventually(f"{self.name} ends\n{self.tail()}", lambda: not self.running, seconds)
        return int(self.process.returncode)

    def end_soon(self) -> None:
        """Tell it to end, without waiting."""
        if self.running and not self._told:
            self._told = True
            self.process.terminate()

    def stop(self) -> None:
        """End it, kindly first."""
        if self.running:
            self.end_soon()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

    def memory(self, field: str = "VmRSS") -> int:
        """Bytes: VmRSS now, or VmHWM, the most it ever had."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"{self.name} has no {field}")


def _taking(sockets: Mapping[str, socket.socket]) -> list[str]:
    """Puts the sockets where a program looks for them, and then becomes it."""
    numbers = " ".join(str(sock.fileno()) for sock in sockets.values())
    return [sys.executable, "-c", HAND_OVER, numbers, ":".join(sockets)] if sockets else []


def problem_of(finished: Finished, name: str) -> str:
    """The one plain sentence with which a command refused; AssertionError if there is anything else than that."""
    assert "Traceback" not in finished.err + finished.out, str(finished)
    said = finished.err.strip()
    assert said, f"it failed without a word: {finished}"
    assert said.splitlines()[-1].startswith((f"{name}", "{")) or '"event"' in said, str(finished)
    return said


def json_of(text: str) -> Any:
    """The last JSON line of an output."""
    import json  # noqa: PLC0415 - for this alone

    return json.loads(text.strip().splitlines()[-1])
