"""What network and machine are like before a fault: as installed, behind a proxy, or with a clock of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.lab.certificates import Certificate, issue
from tests.lab.machine import Machine, eventually
from tests.lab.network import LAN, Network
from tests.lab.parties import AGENT_UNIT, HOST, RELAY_UNIT, Agent, Relay, Shop

SETTINGS = "/etc/postern/agent.toml"
OWN_CLOCK = f"/etc/systemd/system/{AGENT_UNIT}.d/clock.conf"
CLOCK = "/etc/faketimerc"
"""Where libfaketime reads by how much the agent's clock is off; it looks again at each call."""
OUTLET = f"{LAN}:3128"
USER, PASSWORD = "merchant", "p@ss/word"
WRITTEN = "merchant:p%40ss%2Fword"
"""The same as it stands in a URL."""
INSPECTOR_CA = "/root/inspector-ca.pem"
SETTLE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Scene:
    """What a fault can be done to, and what tells of it."""

    network: Network
    relay: Relay
    agent: Agent
    shop: Shop
    connection: dict[str, str]
    outlet: Outlet | None = None

    def agent_noticed(self, since: float) -> float | None:
        return said(self.agent.machine, AGENT_UNIT, "tunnel lost", since)

    def relay_noticed(self, since: float) -> float | None:
        return said(self.relay.machine, RELAY_UNIT, "tunnel gone", since)


class Outlet:
    """The network's proxy, on the shop's web server's host; it can be restarted."""

    def __init__(self, scene: Scene, log: Path, inspector: Certificate | None) -> None:
        self._network, self._log = scene.network, log
        self._words = ["-m", "tests.lab.outlet", "--listen", OUTLET, "--to", f"{HOST}:443"]
        if inspector:
            chain, key = log.with_suffix(".chain"), log.with_suffix(".key")
            chain.write_text(inspector.chain)
            key.write_text(inspector.key)
            self._words += ["--chain", str(chain), "--key", str(key), "--ca", str(scene.relay.ca_file)]

    def start(self) -> None:
        self._process = self._network.python("lan", *self._words, log=self._log)
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{USER}:{PASSWORD}\n")
        self._process.stdin.close()
        if not self._process.stdout.readline():
            raise AssertionError(f"the proxy did not start: {self._log.read_text()[-500:]}")

    def stop(self) -> None:
        """Whatever went through it is reset."""
        self._process.kill()
        self._process.wait(10)
        if self._process.stdout:
            self._process.stdout.close()


def said(machine: Machine, unit: str, words: str, since: float) -> float | None:
    """When the unit first said it after `since`."""
    told = (moment for moment, event in machine.events(unit, since=since) if words in str(event.get("event")))
    return next(told, None)


@contextmanager
def as_installed(scene: Scene) -> Iterator[Scene]:
    """One tunnel by TCP, the other by WebSocket; an agent that a row before taught otherwise begins anew."""
    try:
        eventually(lambda: scene.agent.stands_by() == ["tcp", "websocket"], "both ways", seconds=SETTLE_SECONDS)
    except AssertionError:
        _restart(scene, "tcp", "websocket")
    yield scene


@contextmanager
def behind_proxy(scene: Scene, *, inspects: bool = False) -> Iterator[Scene]:
    """Nothing leaves the agent's machine but through a proxy that wants a password, and knows the relay's 443 alone."""
    inspector = issue(HOST) if inspects else None
    outlet = Outlet(scene, scene.relay.ca_file.with_name(f"outlet-{inspects:d}.log"), inspector)
    machine = scene.agent.machine
    before = machine.tell("cat", SETTINGS)
    lines = [line for line in before.splitlines() if not (inspects and line.startswith("ca_file"))]
    if inspector:
        machine.write(INSPECTOR_CA, inspector.ca)
        machine.run("install", "-m", "0644", INSPECTOR_CA, "/etc/postern/inspector-ca.pem")
        lines.append('ca_file = "/etc/postern/inspector-ca.pem"')
    lines.append(f"proxy = {json.dumps(f'http://{WRITTEN}@{OUTLET}')}")
    outlet.start()
    try:
        machine.write(SETTINGS, "\n".join([*lines, ""]))
        scene.network("direct", "off")
        _restart(scene, "websocket", "websocket")
        yield replace(scene, outlet=outlet)
    finally:
        scene.network("direct", "on")
        machine.write(SETTINGS, before + "\n")
        machine.run("systemctl", "restart", AGENT_UNIT)
        scene.agent.connect()
        outlet.stop()
        scene.network.forgive_shop()


@contextmanager
def own_clock(scene: Scene) -> Iterator[Scene]:
    """The agent's clock is that of libfaketime: right, until a fault puts it wrong."""
    machine = scene.agent.machine
    library = machine.tell("sh", "-c", "echo /usr/lib/*/faketime/libfaketime.so.1")
    told = {"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": CLOCK, "FAKETIME_NO_CACHE": "1", "NO_FAKE_STAT": "1"}
    told["FAKETIME_DONT_FAKE_MONOTONIC"] = "1"
    lines = [f'Environment="{name}={value}"' for name, value in told.items()]
    set_clock(scene, 0)
    machine.write(OWN_CLOCK, "\n".join(["[Service]", *lines, ""]))
    machine.run("systemctl", "daemon-reload")
    try:
        _restart(scene, "tcp", "websocket")
        yield scene
    finally:
        machine.run("rm", OWN_CLOCK)
        machine.run("systemctl", "daemon-reload")
        machine.run("systemctl", "restart", AGENT_UNIT)
        scene.agent.connect()


def set_clock(scene: Scene, seconds: int) -> None:
    """From now on the agent's clock is so many seconds ahead."""
    scene.agent.machine.run("sh", "-c", f"cat > {CLOCK}", text=f"{seconds:+d}\n")


def _restart(scene: Scene, *transports: str) -> None:
    scene.agent.machine.run("systemctl", "restart", AGENT_UNIT)
    eventually(lambda: scene.agent.stands_by() == [*transports], f"tunnels stand by {transports}")
