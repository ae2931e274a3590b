"""Runs in a unit's place and tries what the unit should not allow; prints one JSON object, attempt by attempt."""

import ctypes
import errno
import json
import mmap
import os
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
AF_NETLINK, AF_PACKET = 16, 17
CLONE_NEWUSER = 0x10000000
SYS_KEYCTL = {"x86_64": 250, "aarch64": 219}[os.uname().machine]
PTRACE_TRACEME = 0
KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING = 0, -4


def attempt(action: Callable[[], object]) -> str:
    """The name of the error that it met, or `done`."""
    try:
        said = action()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return said if isinstance(said, str) else "done"


def call(function: str, *arguments: object) -> None:
    if getattr(LIBC, function)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), function)


def set_user_id() -> None:
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).chmod(0o4755)


def bind(port: int) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", port))


def schedule() -> None:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def others() -> str:
    seen = [path.name for path in Path("/proc").iterdir() if path.name.isdecimal()]
    return "only itself" if seen == [str(os.getpid())] else f"{len(seen)} processes"


def status(field: str) -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(field + ":"))


ATTEMPTS: dict[str, Callable[[], object]] = {
    "write /etc": lambda: Path("/etc/probe").write_text(""),
    "write /opt/postern": lambda: Path("/opt/postern/probe").write_text(""),
    "write /var/tmp of others": lambda: list(Path("/var/tmp/wheels").iterdir()),
    "list /root": lambda: list(Path("/root").iterdir()),
    "listen below 1024": lambda: bind(443),
    "packet socket": lambda: socket.socket(AF_PACKET, socket.SOCK_RAW),
    "netlink socket": lambda: socket.socket(AF_NETLINK, socket.SOCK_RAW),
    "memory to write and execute": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC),
    "new namespace": lambda: call("unshare", CLONE_NEWUSER),
    "set-user-ID file": set_user_id,
    "host name": lambda: socket.sethostname("probe"),
    "clock": lambda: call("settimeofday", ctypes.create_string_buffer(16), None),
    "mount": lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None),
    "ptrace": lambda: call("ptrace", PTRACE_TRACEME, 0, None, None),
    "kernel keyring": lambda: call("syscall", SYS_KEYCTL, KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING, 1),
    "real-time scheduling": schedule,
    "/dev/kmsg": lambda: Path("/dev/kmsg").open().close(),
    "/proc/sys": lambda: list(Path("/proc/sys").iterdir()),
    "other processes": others,
    "capabilities": lambda: status("CapEff"),
    "no new privileges": lambda: status("NoNewPrivs"),
}

if __name__ == "__main__":
    json.dump({name: attempt(action) for name, action in ATTEMPTS.items()}, sys.stdout)
    print()
