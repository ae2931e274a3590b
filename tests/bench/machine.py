"""On what the figures were taken: the machine and the versions of all programs."""

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path

from tests.bench import programs


def description() -> dict[str, str]:
    return {
        "CPU": f"{_cpu_model()}, {len(os.sched_getaffinity(0))} cores",
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "unknown"),
        "nginx": _version("nginx", "-v"),
        "OpenSSH": _version("ssh", "-V"),
        "wrk": _version("wrk", "--version"),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "asyncssh": importlib.metadata.version("asyncssh"),
        "uvloop": importlib.metadata.version("uvloop"),
    }


def _cpu_model() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _version(program: str, option: str) -> str:
    """The first line that it prints, on whatever stream and with whatever status."""
    told = subprocess.run([programs.find(program), option], capture_output=True, text=True, timeout=10, check=False)
    return (told.stdout + told.stderr).strip().splitlines()[0]
