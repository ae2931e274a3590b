"""A machine with a real systemd, as tests hold it: what `machine.sh` starts, and what is asked of it from outside."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SCRIPT = HERE / "machine.sh"
COMMAND_SECONDS = 60.0
LOOK_AGAIN_SECONDS = 0.05


class LabError(Exception):
    """A part of the lab failed, not what is tested in it; the text has what it said."""


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine by name. It has a disk of its own and lives in the named network namespace, or in one of its own."""

    name: str
    net: str = "private"

    def start(self, *, keep: bool = False) -> None:
        """Boot: from a pristine disk, or from the one that the last `stop` or `crash` left."""
        script(SCRIPT, "start", self.name, "--net", self.net, *(["--keep"] if keep else []))

    def stop(self, *, keep: bool = False) -> None:
        script(SCRIPT, "stop", self.name, *(["--keep"] if keep else []))

    def crash(self) -> None:
        """A power cut; the disk stays."""
        script(SCRIPT, "crash", self.name)

    def freeze(self) -> None:
        """Every process of it stands still, as on a host that is suspended."""
        script(SCRIPT, "freeze", self.name)

    def thaw(self) -> None:
        script(SCRIPT, "thaw", self.name)

    def run(
        self, *command: str, text: str | None = None, check: bool = True, seconds: float = COMMAND_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root inside, with `text` as its standard input."""
        return script(SCRIPT, "exec", self.name, *command, text=text, check=check, seconds=seconds)

    def tell(self, *command: str) -> str:
        """What a command says on standard output."""
        return self.run(*command).stdout.strip()

    def put(self, source: Path, target: str) -> None:
        """Copy a file or a directory in; what `target` names must not exist as a directory."""
        script(SCRIPT, "put", self.name, str(source), target)

    def write(self, target: str, content: str, *, mode: int = 0o644) -> None:
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory, "file")
            file.touch(mode=0o600)
            file.write_text(content)
            file.chmod(mode)
            self.put(file, target)

    def unit(self, unit: str, *names: str) -> Mapping[str, str]:
        """Properties of a unit as `systemctl show` has them."""
        lines = self.tell("systemctl", "show", unit, f"--property={','.join(names)}").splitlines()
        return dict(line.split("=", 1) for line in lines)

    def journal(self, unit: str, *, since: float = 0.0) -> list[dict[str, Any]]:
        """Entries of this boot about a unit, by it and by systemd, from `since` (unix seconds) on."""
        lines = self.tell("journalctl", "-b", "-u", unit, "-o", "json", "--no-pager", f"--since=@{since:.6f}")
        return [json.loads(line) for line in lines.splitlines()]

    def last_words(self) -> str:
        """The end of what its own services have logged, for who looks for the cause of a failure."""
        words = (
            "journalctl",
            "-b",
            "-n",
            "40",
            "-u",
            "postern-*",
            "-u",
            "probe",
            "-o",
            "short-iso-precise",
            "--no-pager",
        )
        return self.run(*words, check=False).stdout

    def events(self, unit: str, *, since: float = 0.0) -> list[tuple[float, dict[str, Any]]]:
        """The unit's own log lines with their unix time; a line that is no JSON object is its own `event`."""
        entries = [entry for entry in self.journal(unit, since=since) if entry.get("_SYSTEMD_UNIT") == unit]
        return [(int(entry["__REALTIME_TIMESTAMP"]) / 1e6, _event(str(entry["MESSAGE"]))) for entry in entries]


@contextmanager
def running(machine: Machine) -> Iterator[None]:
    """The machine, pristine, while the block runs; one that an interrupted run left is taken away first."""
    machine.stop()
    machine.start()
    try:
        yield
    except LabError as error:
        error.add_note(machine.last_words())
        raise
    finally:
        machine.stop()


def script(
    *command: str | Path, text: str | None = None, check: bool = True, seconds: float = COMMAND_SECONDS
) -> subprocess.CompletedProcess[str]:
    """Run one of the lab's programs under a deadline. Raises LabError with what it said, unless `check` is off."""
    done = subprocess.run(
        [str(word) for word in command],
        input=text if text is not None else "",
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if check and done.returncode:
        words = " ".join(str(word) for word in command)
        raise LabError(f"{words}: exit status {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done


def eventually(condition: Callable[[], Any], what: str, *, seconds: float = 30.0) -> float:
    """Wait until the condition holds; how long it took. Raises AssertionError with what was waited for."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > seconds:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(LOOK_AGAIN_SECONDS)
    return time.monotonic() - began


def _event(message: str) -> dict[str, Any]:
    try:
        event = json.loads(message)
    except ValueError:
        return {"event": message}
    return event if isinstance(event, dict) else {"event": message}
