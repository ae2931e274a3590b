"""The relay's socket units under a real systemd: TLS on port 443 without a right to it, restarts unnoticed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.certificates import issue
from tests.lab.machine import HERE, Machine, eventually, running
from tests.lab.parties import CA, INSTALL_SECONDS, RELAY_UNIT, ROOT, WHEELS

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

SOCKETS = ("postern-relay.socket", "postern-relay-ssh.socket")
HOST = "localhost"
SLOWEST_SECONDS = 20.0
"""A request that waited for the successor, with a request of four seconds under way in the one that left."""
SETTINGS = f"""
public_url = "https://{HOST}"
http = "0.0.0.0:443"
ssh = "0.0.0.0:2222"
"""
CREDENTIALS = """
[Service]
LoadCredential=tls.cert:/etc/postern/tls/fullchain.pem
LoadCredential=tls.key:/etc/postern/tls/privkey.pem
"""


@pytest.fixture(scope="module")
def machine(ground: Path, wheels: Path) -> Iterator[Machine]:
    """A relay on its socket units, doing TLS itself with a key that only root can read."""
    machine = Machine("sockets")
    with running(machine):
        _install(machine, wheels)
        yield machine


def _install(machine: Machine, wheels: Path) -> None:
    certificate = issue(HOST)
    machine.put(wheels, WHEELS)
    machine.run("python3", "-m", "venv", "/opt/postern")
    pip = ("/opt/postern/bin/pip", "install", "--quiet", "--no-index", "--find-links", WHEELS)
    machine.run(*pip, "postern[relay]", seconds=INSTALL_SECONDS)
    machine.put(ROOT / "systemd" / "postern-relay.sysusers", "/etc/sysusers.d/postern-relay.conf")
    machine.run("systemd-sysusers")
    for unit in (RELAY_UNIT, *SOCKETS):
        machine.put(ROOT / "systemd" / unit, f"/etc/systemd/system/{unit}")
    machine.write("/etc/postern/tls/fullchain.pem", certificate.chain)
    machine.write("/etc/postern/tls/privkey.pem", certificate.key, mode=0o600)
    machine.write(CA, certificate.ca)
    machine.write("/etc/postern/relay.toml", SETTINGS)
    machine.write(f"/etc/systemd/system/{RELAY_UNIT}.d/tls.conf", CREDENTIALS)
    machine.write(f"/etc/systemd/system/{SOCKETS[0]}.d/443.conf", "[Socket]\nListenStream=\nListenStream=443\n")
    machine.put(HERE / "restarted.py", "/root/restarted.py")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "enable", "--quiet", "--now", *SOCKETS, RELAY_UNIT)


def ask(machine: Machine, *words: str, text: str | None = None) -> Any:
    command = ("/opt/postern/bin/postern-relay", *words, "--json", "--config", "/etc/postern/relay.toml")
    return json.loads(machine.run("runuser", "-u", "postern-relay", "--", *command, text=text).stdout)


def status(machine: Machine, path: str = "/readyz", *, seconds: float = 20) -> int:
    curl = ("curl", "--silent", "--cacert", CA, "--max-time", str(seconds), "--output", "/dev/null")
    done = machine.run(*curl, "--write-out", "%{http_code}", f"https://{HOST}{path}", check=False, seconds=60)
    return int(done.stdout)


def pid(machine: Machine) -> int:
    return int(machine.unit(RELAY_UNIT, "MainPID")["MainPID"])


def test_it_serves_tls_on_the_ports_that_systemd_holds(machine: Machine) -> None:
    """443 without any capability, with a key that the relay's user cannot read; both sockets are systemd's."""
    assert status(machine) == 200
    assert machine.unit(RELAY_UNIT, "CapabilityBoundingSet")["CapabilityBoundingSet"] == ""
    held = machine.tell("ss", "--tcp", "--listening", "--numeric", "--processes", "--no-header").splitlines()
    for port in (443, 2222):
        assert any(f":{port} " in line and '"systemd"' in line for line in held), held
    assert machine.unit(SOCKETS[0], "SubState")["SubState"] == "running"


def test_the_units_are_sound(machine: Machine) -> None:
    """`systemd-analyze verify` has nothing to say of them, those that are off by default included."""
    machine.put(ROOT / "systemd" / "postern-relay-ssh-stock.socket", "/root/postern-relay-ssh-stock.socket")
    units = [RELAY_UNIT, *SOCKETS, "/root/postern-relay-ssh-stock.socket"]
    done = machine.run("systemd-analyze", "verify", "--man=no", *units)
    assert done.stdout + done.stderr == ""


def test_nobody_notices_a_restart(machine: Machine) -> None:
    """Four restarts under load, on kept and on new connections, GET and POST: none refused, none failed, none doubled.

    A request of four seconds that is under way at the last one is finished.
    """
    agent = ask(machine, "agents", "create", "shop")
    form = ("connections", "create", "--name", "shop", "--mode", "on-premise", "--agent", agent["id"])
    connection = ask(machine, *form, "--store-url", "http://shop.test:8000", "--api-key-file", "-", text="K" * 32)
    machine.write("/root/agent.token", agent["token"], mode=0o600)
    run = ["/opt/postern/bin/postern-agent", "run", "--relay", f"https://{HOST}", "--ca-file", CA]
    run += ["--store", "http://shop.test:8000=127.0.0.1:8000", "--token-file", "/root/agent.token"]
    machine.run("systemd-run", "--quiet", "--unit=probe", *run, "--state-dir", "/root/agent")
    eventually(lambda: '"tunnel stands"' in machine.tell("journalctl", "-u", "probe", "-o", "cat"), "a tunnel stands")
    words = ("python3", "/root/restarted.py", connection["url"], CA)
    told = json.loads(machine.run(*words, text=connection["access_key"], seconds=200).stdout)
    machine.run("systemctl", "stop", "probe")
    assert told["failures"] == []
    assert told["answered"] > 150
    assert (told["slow"], told["slow arrived"], told["twice"]) == ([200], 1, 0)
    assert told["slowest"] < SLOWEST_SECONDS


def test_who_comes_while_it_is_away_is_served(machine: Machine) -> None:
    """A stopped relay is started by whoever knocks, who waits for it."""
    machine.run("systemctl", "stop", RELAY_UNIT)
    assert status(machine) == 200
    assert pid(machine) > 0


def test_a_reload_keeps_it_running(machine: Machine) -> None:
    """`systemctl reload`: the same process goes on."""
    before = pid(machine)
    machine.run("systemctl", "reload", RELAY_UNIT)
    assert (status(machine), pid(machine)) == (200, before)


def test_a_relay_that_stands_still_is_replaced(machine: Machine) -> None:
    """Its watchdog ends it; who knocks meanwhile waits in the socket, and is served."""
    drop_in = f"/etc/systemd/system/{RELAY_UNIT}.d/watchdog.conf"
    machine.write(drop_in, "[Service]\nWatchdogSec=3\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", RELAY_UNIT)
    time.sleep(5)  # longer than the watchdog's time
    frozen = pid(machine)
    since = time.time()
    assert machine.unit(RELAY_UNIT, "NRestarts")["NRestarts"] == "0", "it feeds its watchdog"
    machine.run("kill", "-STOP", str(frozen))
    assert status(machine, seconds=50) == 200
    assert pid(machine) != frozen
    assert any("Watchdog timeout" in str(entry["MESSAGE"]) for entry in machine.journal(RELAY_UNIT, since=since))
    machine.run("rm", drop_in)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", RELAY_UNIT)


def test_a_bad_setting_ends_in_a_closed_socket(machine: Machine) -> None:
    """It is tried a few times for those who knock, then callers are refused at once; mended, a restart is enough."""
    machine.write("/etc/postern/relay.toml", SETTINGS + '\ncolour = "blue"\n')
    assert machine.run("systemctl", "restart", RELAY_UNIT, check=False).returncode != 0
    eventually(lambda: status(machine, seconds=1) == 0 and _failed(machine), "the socket is closed", seconds=60)
    told = [str(event["event"]) for _, event in machine.events(RELAY_UNIT)]
    assert any("COLOUR" in line for line in told), told[-5:]
    machine.write("/etc/postern/relay.toml", SETTINGS)
    machine.run("systemctl", "restart", RELAY_UNIT)
    assert status(machine) == 200
    assert machine.unit(SOCKETS[0], "ActiveState")["ActiveState"] == "active"


def _failed(machine: Machine) -> bool:
    return machine.unit(SOCKETS[0], "ActiveState")["ActiveState"] == "failed"
