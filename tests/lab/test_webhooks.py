"""Webhooks of a whole relay: the shop's new orders reach a program on the public internet, which brings them on."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab.certificates import issue
from tests.lab.machine import SCRIPT, Machine, eventually, running, script
from tests.lab.network import CLOUD, Network
from tests.lab.parties import CA, INSTALL_SECONDS, RELAY_UNIT, ROOT, URL, WHEELS, Agent, Relay, Shop
from tests.system.ordering import IN_PROGRESS, PAID, id_of, ordered_again

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

ADDRESS, NAME = "9.9.9.9", "hooks.example.com"
"""A public address, as far as anybody here can tell."""
INSIDE = "inside.example.com"
"""A public name of the relay's own neighbourhood."""
SECONDS = 60.0  # for some cycles, the second that must be over, and a second try
WEB_SERVER = f"""
server {{
    listen 443 ssl;
    server_name {NAME};
    ssl_certificate /root/fullchain.pem;
    ssl_certificate_key /root/privkey.pem;
    location / {{ proxy_pass http://127.0.0.1:8000; }}
}}
"""


@dataclass(frozen=True)
class Receiver:
    """A machine on the public internet with a web server, and deploy/examples/orders.py behind it."""

    machine: Machine
    relay: Relay
    connection: dict[str, Any]
    token: str

    def start(self) -> None:
        words = (URL, "/root/api.token", self.connection["id"], "/root/orders.json", f"https://{NAME}/")
        unit = ("systemd-run", "--quiet", "--unit=orders", "--collect", f"--setenv=SSL_CERT_FILE={CA}")
        self.machine.run(*unit, "/opt/orders/bin/python", "-u", "/root/orders.py", *words, "127.0.0.1:8000")

    def stop(self) -> None:
        self.machine.run("systemctl", "stop", "orders")

    def said(self) -> str:
        return self.machine.tell("journalctl", "-b", "-u", "orders", "-o", "cat", "--no-pager")

    def wait_for(self, text: str) -> None:
        eventually(lambda: text in self.said(), f"the program says {text!r}", seconds=SECONDS)

    def ask(self, path: str, method: str = "GET", body: bytes = b"") -> str:
        """The shop's answer to a connector, from the relay's own machine."""
        done = self.relay.machine.run(
            *("curl", "--silent", "--show-error", "--fail-with-body", "--globoff", "--cacert", CA, "--max-time", "20"),
            *("--user", f"{self.connection['access_key']}:", "--request", method, "--data-binary", "@-"),
            f"{self.connection['url']}{path}",
            text=body.decode(),
        )
        return done.stdout

    def api(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """What the relay's typed surface answers."""
        done = self.machine.run(
            *("curl", "--silent", "--show-error", "--fail-with-body", "--cacert", CA, "--max-time", "20"),
            *("--oauth2-bearer", self.token, "--request", method, "--json", "@-", f"{URL}{path}"),
            text=json.dumps(body) if body else "",
        )
        return json.loads(done.stdout or "null")

    def order(self, state: int) -> int:
        """A customer's new order, in that state."""
        return id_of(self.ask("/api/orders", "POST", ordered_again(self.ask("/api/orders/1"), state)))

    def state(self, order: int) -> int:
        (state,) = re.findall(r"<current_state[^>]*><!\[CDATA\[(\d+)", self.ask(f"/api/orders/{order}"))
        return int(state)


@pytest.fixture(scope="module")
def receiver(
    network: Network, relay: Relay, account: dict[str, Any], wheels: Path, installed: Agent
) -> Iterator[Receiver]:
    machine = Machine("hooks")
    with running(machine):
        plug_in(machine, network)
        token = relay.ask("tokens", "create", "--name", "orders", "--scope", "manage")["token"]
        serve(machine, relay, wheels, token)
        receiver = Receiver(machine, relay, account["connection"], token)
        receiver.start()
        receiver.wait_for("listening on")
        yield receiver
        kept = json.loads(machine.tell("cat", "/root/orders.json"))
        receiver.api("DELETE", f"/v1/triggers/{kept['trigger']}")
    network.run("cloud", "ip", "link", "del", "hooks", check=False)


def plug_in(machine: Machine, network: Network) -> None:
    """One hop from the relay's machine; the cable goes when either end does."""
    (pid,) = re.findall(r"/proc/(\d+)/", script(SCRIPT, "root", machine.name).stdout)
    network.run("cloud", "ip", "link", "add", "hooks", "type", "veth", "peer", "name", "eth0", "netns", pid)
    network.run("cloud", "ip", "link", "set", "hooks", "up")
    machine.run("ip", "link", "set", "eth0", "up")
    machine.run("ip", "addr", "add", f"{ADDRESS}/32", "dev", "eth0")
    machine.run("ip", "route", "add", CLOUD, "dev", "eth0")
    network.run("cloud", "ip", "route", "add", ADDRESS, "dev", "hooks", "src", CLOUD)


def serve(machine: Machine, relay: Relay, wheels: Path, token: str) -> None:
    """What the receiver's administrator does, and the relay's, who must trust the web server's certificate."""
    certificate = issue(NAME)
    machine.put(wheels, WHEELS)
    machine.run("python3", "-m", "venv", "/opt/orders")
    pip = ("/opt/orders/bin/pip", "install", "--quiet", "--no-index", "--find-links", WHEELS)
    machine.run(*pip, "httpx", seconds=INSTALL_SECONDS)
    machine.put(ROOT / "deploy" / "examples" / "orders.py", "/root/orders.py")
    machine.put(relay.ca_file, CA)
    machine.write("/root/api.token", token, mode=0o600)
    machine.write("/root/fullchain.pem", certificate.chain)
    machine.write("/root/privkey.pem", certificate.key, mode=0o600)
    machine.write("/etc/nginx/conf.d/hooks.conf", WEB_SERVER)
    machine.run("systemctl", "unmask", "--quiet", "nginx")
    machine.run("systemctl", "start", "nginx")
    name_it(machine, CLOUD, URL.removeprefix("https://"))
    name_it(relay.machine, ADDRESS, NAME)
    name_it(relay.machine, CLOUD, INSIDE)
    relay.machine.write("/usr/local/share/ca-certificates/hooks.crt", certificate.ca)
    relay.machine.run("update-ca-certificates")


def name_it(machine: Machine, address: str, name: str) -> None:
    machine.run("tee", "--append", "/etc/hosts", text=f"{address} {name}\n")


def test_a_new_order_is_brought_on(receiver: Receiver, agent: Agent, shop: Shop) -> None:
    """Order, trigger, webhook over TLS, signature, get-order, update-order-state: its state has changed in the shop."""
    before = len(histories(shop))
    order, other = receiver.order(PAID), receiver.order(1)
    receiver.wait_for(f"order {order}: now in state {IN_PROGRESS}")
    assert (receiver.state(order), receiver.state(other)) == (IN_PROGRESS, 1)
    assert f"order {order}: 1 of Hummingbird printed t-shirt" in receiver.said()
    assert len(histories(shop)) == before + 1


def test_a_receiver_that_was_away_gets_it_later(receiver: Receiver, agent: Agent, shop: Shop) -> None:
    """The relay says why a delivery failed, tries again, and the order is brought on once."""
    before, since = len(histories(shop)), time.time()
    receiver.stop()
    order = receiver.order(PAID)
    eventually(lambda: "answered 502" in failures(receiver.relay, since), "a delivery has failed", seconds=SECONDS)
    receiver.start()
    receiver.wait_for(f"order {order}: now in state {IN_PROGRESS}")
    assert (receiver.state(order), len(histories(shop))) == (IN_PROGRESS, before + 1)


def test_a_public_name_that_leads_inside_is_not_dialled(receiver: Receiver, agent: Agent) -> None:
    """The trigger is made, since a name says nothing; each delivery looks where it leads, and goes nowhere."""
    since = time.time()
    wish = {"kind": "order-updated", "interval": 10, "url": f"https://{INSIDE}/v1/hooks"}
    made = receiver.api("POST", f"/v1/connections/{receiver.connection['id']}/triggers", wish)
    try:
        path = f"/v1/triggers/{made['id']}"
        eventually(lambda: receiver.api("GET", path)["last_run_at"], "the past is known", seconds=SECONDS)
        receiver.order(1)
        said = "the address is not a public one"
        eventually(lambda: said in failures(receiver.relay, since), "a delivery has failed", seconds=SECONDS)
        assert receiver.api("GET", path)["waiting"] == 1
        assert "/v1/hooks" not in receiver.relay.machine.tell("cat", "/var/log/nginx/postern.log")
    finally:
        receiver.api("DELETE", f"/v1/triggers/{made['id']}")


def histories(shop: Shop) -> list[dict[str, Any]]:
    """The requests that put an order into another state."""
    return [request for request in shop.requests() if "POST /api/order_histories" in str(request["line"])]


def failures(relay: Relay, since: float) -> str:
    """Why deliveries failed, in the relay's own words."""
    events = relay.machine.events(RELAY_UNIT, since=since)
    return "\n".join(str(event["why"]) for _, event in events if event["event"] == "delivery failed")
