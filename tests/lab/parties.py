"""The three parties on the lab's network: a shop's web server, a relay behind its proxy, an installed agent."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.certificates import issue
from tests.lab.machine import HERE, Machine, eventually
from tests.lab.network import LAN, PREFIX, Network

ROOT = HERE.parents[1]
HOST, STORE = "relay.test", "store.test"
URL = f"https://{HOST}"
AGENT_UNIT, RELAY_UNIT = "postern-agent.service", "postern-relay.service"
RELAY_SOCKETS = ("postern-relay.socket", "postern-relay-ssh.socket")
WHEELS = "/var/tmp/wheels"
CHECKOUT = "/root/postern"
CA = "/root/ca.pem"
INSTALL_SECONDS = 110.0
SHOP_CONTROL = f"{LAN}:8081"
ASK_CONTROL = """
import sys, urllib.request
with urllib.request.urlopen(sys.argv[1], sys.argv[2].encode() or None) as answer:
    print(answer.read().decode())
"""


class Shop:
    """The stand-in store on the shop's LAN, as a process of this machine."""

    def __init__(self, network: Network, log: Path) -> None:
        self._network = network
        self._log = log
        self._seen_before: list[dict[str, Any]] = []
        self._start()

    def _start(self) -> None:
        words = ("-m", "tests.store", "--http", f"{LAN}:80", "--domain", STORE, "--control", SHOP_CONTROL)
        self._process = self._network.spawn("lan", sys.executable, *words, "--seed", "1", log=self._log)
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise AssertionError(f"the shop did not start: {self._log.read_text()[-500:]}")
        self.key = str(json.loads(line)["keys"]["full"])

    def restart(self) -> None:
        """Its web server goes, with what it was about to answer, and comes again."""
        self._seen_before = self.requests()
        self._process.kill()
        self._process.wait(10)
        self._start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It takes connections, as far as its kernel does, and answers nothing."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def set(self, **knobs: Any) -> None:
        """Give it troubles, such as `first_byte_delay=2`."""
        self._control("knobs", json.dumps(knobs))

    def requests(self) -> list[dict[str, Any]]:
        """What the web server has seen, the oldest of the last ten thousand first."""
        return self._seen_before + [dict(request) for request in self._control("requests")]

    def _control(self, what: str, data: str = "") -> Any:
        url = f"http://{SHOP_CONTROL}/__store__/{what}"
        return json.loads(self._network.run("lan", sys.executable, "-c", ASK_CONTROL, url, data))

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the connector got."""

    status: int
    body: str


class Relay:
    """A machine in the cloud: the relay's unit, and nginx as in deploy/examples before it."""

    def __init__(self, ground: Path) -> None:
        self.machine = Machine("relay", f"{PREFIX}cloud")
        self.certificate = issue(HOST)
        self.ca_file = ground / "ca.pem"
        self.ca_file.write_text(self.certificate.ca)

    def install(self, wheels: Path) -> None:
        """Wheels, user, unit, settings from the examples; then started and its proxy before it."""
        machine = self.machine
        machine.put(wheels, WHEELS)
        machine.run("python3", "-m", "venv", "/opt/postern")
        pip = ("/opt/postern/bin/pip", "install", "--quiet", "--no-index", "--find-links", WHEELS)
        machine.run(*pip, "postern[relay]", seconds=INSTALL_SECONDS)
        machine.put(ROOT / "systemd" / "postern-relay.sysusers", "/etc/sysusers.d/postern-relay.conf")
        machine.run("systemd-sysusers")
        for unit in (RELAY_UNIT, *RELAY_SOCKETS):
            machine.put(ROOT / "systemd" / unit, f"/etc/systemd/system/{unit}")
        machine.write("/etc/postern/relay.toml", _example("examples/relay.toml"))
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "enable", "--quiet", "--now", *RELAY_SOCKETS, RELAY_UNIT)
        self._start_proxy()

    def _start_proxy(self) -> None:
        machine = self.machine
        machine.write("/etc/postern/tls/fullchain.pem", self.certificate.chain)
        machine.write("/etc/postern/tls/privkey.pem", self.certificate.key, mode=0o600)
        machine.write(CA, self.certificate.ca)
        machine.write("/etc/nginx/conf.d/postern.conf", _example("examples/nginx.conf"))
        machine.run("rm", "/etc/nginx/sites-enabled/default")
        machine.run("systemctl", "unmask", "--quiet", "nginx")
        machine.run("systemctl", "enable", "--quiet", "--now", "nginx")

    def ask(self, *words: str, text: str | None = None) -> Any:
        """One command of `postern-relay`, as its own user; what it says in JSON."""
        command = ("/opt/postern/bin/postern-relay", *words, "--json", "--config", "/etc/postern/relay.toml")
        told = self.machine.run("runuser", "-u", "postern-relay", "--", *command, text=text).stdout
        return json.loads(told) if told.strip() else None

    def get(self, connection: Any, path: str, *, seconds: float = 20) -> Answer:
        """A GET by the connector, from the relay's own machine, under `/to/`; status 0 if nobody answered."""
        done = self.machine.run(
            *("curl", "--silent", "--globoff", "--cacert", CA, "--max-time", str(seconds)),
            *("--user", f"{connection['access_key']}:", "--write-out", r"\n%{http_code}"),
            f"{connection['url']}{path}",
            check=False,
        )
        body, _, status = done.stdout.rpartition("\n")
        return Answer(int(status), body)


class Agent:
    """A machine in the shop, on which the technician runs deploy/install-agent.sh."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def prepare(self, wheels: Path, ca: Path) -> None:
        """What the technician brings along."""
        self.machine.put(wheels, WHEELS)
        self.machine.put(ROOT / "deploy", f"{CHECKOUT}/deploy")
        self.machine.put(ROOT / "systemd", f"{CHECKOUT}/systemd")
        self.machine.put(ca, CA)

    def install(self, *words: str, token: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = (f"{CHECKOUT}/deploy/install-agent.sh", "--from", WHEELS, *words)
        text = f"{token}\n" if token else None
        return self.machine.run(*command, text=text, check=check, seconds=INSTALL_SECONDS)

    def status(self) -> dict[str, Any]:
        """What `postern-agent status` tells; empty if the agent does not answer."""
        done = self.machine.run("postern-agent", "status", "--json", check=False)
        return dict(json.loads(done.stdout)) if done.stdout else {}

    def connected(self) -> bool:
        return any(tunnel["state"] == "standing" for tunnel in self.status().get("tunnels", ()))

    def stands_by(self) -> list[str]:
        """The transports of the tunnels that stand, sorted."""
        return sorted(each["transport"] for each in self.status().get("tunnels", ()) if each["state"] == "standing")

    def channels(self) -> int:
        """Open channels of all tunnels."""
        return sum(each.get("channels", 0) for each in self.status().get("tunnels", ()))

    def connect(self) -> float:
        """Wait for a tunnel; how long it took."""
        return eventually(self.connected, "a tunnel stands")

    def pid(self) -> int:
        return int(self.machine.unit(AGENT_UNIT, "MainPID")["MainPID"])

    def restarts(self) -> int:
        return int(self.machine.unit(AGENT_UNIT, "NRestarts")["NRestarts"])


def _example(name: str) -> str:
    return (ROOT / "deploy" / name).read_text().replace("relay.example.com", HOST)
