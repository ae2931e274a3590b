"""How other programs are found, started with a log of their own, waited for, and stopped with all their children."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.bench import usage

HOST = "127.0.0.1"
START_S = 30.0  # a contender that is not up by then has failed
STOP_S = 5.0  # between SIGTERM and SIGKILL
LOOK_S = 0.02  # between two looks at something that comes up
LOG_TAIL = 15  # lines of a log shown with a failure
REPOSITORY = Path(__file__).resolve().parents[2]

Found = TypeVar("Found")

# program -> Debian package that has it
_NEEDED = {
    "nginx": "nginx-light",
    "sshd": "openssh-server",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "wrk": "wrk",
}


class ContenderError(Exception):
    """A program of the bench did not do what it was started for; the text names it and ends with its log."""


def missing() -> str:
    """One line that names the programs that are not installed and how to get them; empty if none is missing."""
    absent = [program for program in _NEEDED if not find(program)]
    packages = dict.fromkeys(_NEEDED[program] for program in absent)
    return f"missing: {', '.join(absent)}; apt-get install {' '.join(packages)}" if absent else ""


def find(program: str) -> str:
    """Its path, also where `sbin` is not in PATH; empty if it is not installed."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin") or ""


def ours(command: str) -> str:
    """A command of the project, from the environment that runs the bench."""
    return str(Path(sys.executable).parent / command)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
    return port


def accepts(port: int) -> bool | None:
    """True once something listens there, else None."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return None
    return True


@dataclass(frozen=True, slots=True)
class Program:
    """A program that was started: its process and where its output goes."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def failure(self, what: str) -> ContenderError:
        tail = self.text().splitlines()[-LOG_TAIL:]
        return ContenderError("\n    ".join([f"{self.name}: {what}", *(tail or ["(its log is empty)"])]))

    def wait_for(self, what: str, look: Callable[[], Found | None], seconds: float = START_S) -> Found:
        """What `look` finds, once it finds something.

        Raises:
            ContenderError: the program ended, or it took longer.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if (found := look()) is not None:
                return found
            if (status := self.process.poll()) is not None:
                raise self.failure(f"ended with status {status} before {what}")
            time.sleep(LOOK_S)
        raise self.failure(f"no {what} within {seconds:.0f} s")


def start(
    stack: contextlib.ExitStack,
    name: str,
    command: Sequence[str],
    directory: Path,
    environment: Mapping[str, str] | None = None,
) -> Program:
    """Start it in a session of its own (Ctrl-C is for the bench to handle); `stack` stops it."""
    log = directory / f"{name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    program = Program(name, process, log)
    stack.callback(stop, program)
    return program


def stop(program: Program) -> None:
    """End it and its children; sshd's live in sessions of their own, and a session's command outlives its line."""
    family = usage.tree([program.pid])
    program.process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        program.process.wait(STOP_S)
    deadline = time.monotonic() + STOP_S
    while (left := [process for process in family if process.alive()]) and time.monotonic() < deadline:
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        time.sleep(LOOK_S)
    program.process.wait(STOP_S)


def run(name: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """The standard output of a command that ends by itself.

    Raises:
        ContenderError: it failed; with the end of its standard error.
    """
    try:
        ended = subprocess.run(
            command,
            cwd=REPOSITORY,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ContenderError(f"{name}: {error}") from None
    if ended.returncode:
        tail = (ended.stderr or ended.stdout).splitlines()[-LOG_TAIL:]
        raise ContenderError("\n    ".join([f"{name}: ended with status {ended.returncode}", *tail]))
    return ended.stdout
