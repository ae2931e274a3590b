"""The peers: nginx that routes by path and checks a key, in front of OpenSSH's sshd and `ssh -R`."""

import contextlib
import getpass
import re
from functools import partial
from pathlib import Path

from tests.bench import nginx, programs, roads
from tests.bench.nginx import Store
from tests.bench.programs import HOST, Program
from tests.bench.roads import Road

PATH = "/to/con_bench"
CALLER_KEY = "CALLER" * 5 + "KY"
CIPHER = "aes128-gcm@openssh.com"  # the one that Postern prefers, and OpenSSH's fastest here

_SSHD = """
ListenAddress {host}:{port}
HostKey {directory}/host
AuthorizedKeysFile {directory}/client.pub
PidFile none
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
LogLevel ERROR
"""


def _start(
    stack: contextlib.ExitStack, directory: Path, store: Store, delay_ms: float, *, name: str, session: bool
) -> Road:
    sshd, ssh_port = _start_sshd(stack, directory)
    line = roads.lengthened(stack, "line", directory, ssh_port, delay_ms)
    ssh = _start_ssh(stack, directory, line, store, session=session)
    stack.callback(programs.stop, sshd)  # while ssh is connected: later the session's command is no child of sshd
    tunnel = ssh.wait_for("remote forward", lambda: _allocated(ssh.text()))
    caller = roads.basic(CALLER_KEY)
    front, port = nginx.start_front(
        stack,
        directory,
        path=PATH,
        caller=caller,
        store_key=roads.basic(roads.STORE_KEY),
        tunnel=tunnel,
        store=store.address,
    )
    return Road(name, port, PATH, caller, (front, sshd), (ssh,))


# With a session sshd sets TCP_NODELAY on its connection; with -N it never does.
with_session = partial(_start, name="P", session=True)
without_session = partial(_start, name="N", session=False)


def _start_sshd(stack: contextlib.ExitStack, directory: Path) -> tuple[Program, int]:
    for key in "host", "client":
        programs.run("ssh-keygen", ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / key)])
    port, config = programs.free_port(), directory / "sshd_config"
    config.write_text(_SSHD.format(host=HOST, port=port, directory=directory))
    with contextlib.suppress(PermissionError):  # only root's sshd wants it
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    sshd = programs.start(stack, "sshd", [programs.find("sshd"), "-D", "-e", "-f", str(config)], directory)
    sshd.wait_for(f"listener on port {port}", lambda: programs.accepts(port))
    return sshd, port


def _start_ssh(stack: contextlib.ExitStack, directory: Path, port: int, store: Store, *, session: bool) -> Program:
    key = (directory / "host.pub").read_text()
    (directory / "known_hosts").write_text(f"[{HOST}]:{port} {key}")
    options = {
        "IdentityFile": directory / "client",
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": directory / "known_hosts",
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "ExitOnForwardFailure": "yes",
        "Ciphers": CIPHER,
    }
    command = ["ssh", "-F", "none", "-p", str(port), "-R", f"{HOST}:0:{store.address}"]
    command += [f"-o{option}={value}" for option, value in options.items()]
    command += [] if session else ["-N"]
    command += [f"{getpass.getuser()}@{HOST}"]
    command += ["sleep", "infinity"] if session else []
    return programs.start(stack, "ssh", command, directory)


def _allocated(log: str) -> int | None:
    found = re.search(r"Allocated port (\d+) for remote forward", log)
    return int(found[1]) if found else None
