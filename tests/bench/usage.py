"""What processes have used, CPU seconds and memory, as Linux accounts for it under /proc."""

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_GONE = (FileNotFoundError, ProcessLookupError)
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """A line of /proc/PID/stat; `started` tells a process from a later one that got its number."""

    pid: int
    parent: int
    started: int
    own_s: float
    children_s: float  # of children that ended and were waited for

    def alive(self) -> bool:
        now = _read(self.pid)
        return now is not None and now.started == self.started


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of a group of processes; `pss` counts shared pages once."""

    rss: int
    pss: int


def tree(roots: Iterable[int]) -> list[Process]:
    """The processes `roots` and all that descend from them."""
    processes = {process.pid: process for process in map(_read, _pids()) if process}
    wanted = [processes[pid] for pid in roots if pid in processes]
    for process in wanted:  # grows while it is walked: children follow their parent
        wanted.extend(child for child in processes.values() if child.parent == process.pid)
    return wanted


def cpu_s(roots: Iterable[int]) -> float:
    """CPU seconds, user and system, that `roots` and their descendants have used in their lives."""
    return sum(process.own_s + process.children_s for process in tree(roots))


def memory(roots: Iterable[int]) -> Memory:
    processes = tree(roots)
    return Memory(
        rss=sum(_kilobytes(process.pid, "status", "VmRSS:") for process in processes) * 1024,
        pss=sum(_kilobytes(process.pid, "smaps_rollup", "Pss:") for process in processes) * 1024,
    )


def others_s() -> float:
    """CPU seconds that programs other than this one and what it started have used since the machine was started."""
    user, nice, system, _idle, _wait, irq, softirq, *_ = (_PROC / "stat").read_text().split()[1:]
    return sum(map(int, (user, nice, system, irq, softirq))) / _TICKS - cpu_s([os.getpid()])


def _pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def _read(pid: int) -> Process | None:
    """None if it is gone, or a zombie: a zombie uses nothing more and cannot be killed."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except _GONE:
        return None
    state, parent, started = fields[0], int(fields[1]), int(fields[19])
    user, system, children_user, children_system = map(int, fields[11:15])
    if state in "ZX":
        return None
    return Process(pid, parent, started, (user + system) / _TICKS, (children_user + children_system) / _TICKS)


def _kilobytes(pid: int, file: str, field: str) -> int:
    """0 for a process that is gone, or whose memory map is not ours to read (sshd protects itself)."""
    with contextlib.suppress(*_GONE, PermissionError):
        for line in (_PROC / str(pid) / file).read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1])
    return 0
