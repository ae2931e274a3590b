"""The reverse-proxy examples of deploy/examples: what real proxies do to what passes through them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.certificates import issue
from tests.lab.machine import HERE, Machine, eventually, running
from tests.lab.parties import CA, HOST, ROOT
from tests.lab.proxied import NAMES, PAUSE_SECONDS, TARGETS

pytestmark = pytest.mark.lab

SECRET = "WSKEYWSKEYWSKEYWSKEYWSKEYWSKEY12"


@pytest.fixture(scope="module")
def machine(ground: Path) -> Iterator[Machine]:
    """A machine of its own with the certificate where the examples look for it."""
    machine = Machine("proxies")
    with running(machine):
        certificate = issue(HOST)
        machine.write(CA, certificate.ca)
        machine.write("/etc/postern/tls/fullchain.pem", certificate.chain)
        machine.write("/etc/postern/tls/privkey.pem", certificate.key, mode=0o644)
        machine.put(HERE / "proxied.py", "/root/proxied.py")
        yield machine


@pytest.fixture(scope="module", params=["nginx", "caddy", "haproxy"])
def proxy(request: pytest.FixtureRequest, machine: Machine) -> Iterator[tuple[Machine, str]]:
    """The machine with one of the proxies serving 443, configured by the example but for the host's name."""
    name = str(request.param)
    if name == "nginx":
        configuration = (ROOT / "deploy/examples/nginx.conf").read_text().replace("relay.example.com", HOST)
        machine.write("/etc/nginx/conf.d/postern.conf", configuration)
        machine.run("sed", "-i", "s/^worker_processes .*/worker_processes 1;/", "/etc/nginx/nginx.conf")
        machine.run("nginx", "-t")
    elif name == "haproxy":  # its example names no host
        machine.run(
            "sh", "-c", "cat /etc/postern/tls/fullchain.pem /etc/postern/tls/privkey.pem > /etc/postern/tls/relay.pem"
        )
        machine.write("/etc/haproxy/haproxy.cfg", (ROOT / "deploy/examples/haproxy.cfg").read_text())
        assert not machine.tell("haproxy", "-c", "-q", "-f", "/etc/haproxy/haproxy.cfg"), "a warning"
    else:
        files = "tls /etc/postern/tls/fullchain.pem /etc/postern/tls/privkey.pem"  # there is no authority to ask here
        first = "{$RELAY_HOST:relay.example.com} {"
        configuration = (ROOT / "deploy/examples/Caddyfile").read_text()
        assert first in configuration
        machine.write("/etc/caddy/Caddyfile", configuration.replace(first, f"{HOST} {{\n\t{files}"))
    machine.run("systemctl", "unmask", "--quiet", name)
    machine.run("systemctl", "start", name)
    eventually(lambda: ":443 " in machine.tell("ss", "-Hltn"), f"{name} listens")
    yield machine, name
    machine.run("systemctl", "stop", name)


@pytest.fixture(scope="module")
def told(proxy: tuple[Machine, str]) -> dict[str, Any]:
    return dict(json.loads(proxy[0].tell("python3", "/root/proxied.py", CA)))


def test_the_target_passes_byte_for_byte(told: dict[str, Any]) -> None:
    """No path is cleaned up, no escape decoded, nothing of the query touched."""
    assert told["targets"] == TARGETS


def test_headers_pass(told: dict[str, Any], proxy: tuple[Machine, str]) -> None:
    """Names, also such with an underscore, order of same-named ones, a long value, and one Host, the caller's."""
    assert [name.lower() for name in NAMES if name.lower() not in map(str.lower, told["names"])] == []
    assert (told["again"], told["host"], told["long"]) == (["3", "4"], [HOST], [20_000])
    if proxy[1] == "nginx":  # the others spell names their own way, and say so in their examples
        assert [name for name in told["names"] if name in NAMES] == NAMES


def test_the_proxy_says_who_asks(told: dict[str, Any]) -> None:
    """By the connection's own address, in one field; what the caller says of itself does not pass."""
    said = dict(told["caller"])
    assert len(said) == len(told["caller"])
    assert said.pop("x-forwarded-for") == "127.0.0.1"
    assert "forwarded" not in said


def test_the_proxy_adds_no_wish_of_its_own(told: dict[str, Any]) -> None:
    """It asks for no compression, and for no end of the connection to the relay, which it uses again."""
    names = [name.lower() for name in told["names"]]
    assert "accept-encoding" not in names
    assert "connection" not in names
    assert told["upstream connections"] == 1


def test_the_shops_answer_commands_nothing(told: dict[str, Any], proxy: tuple[Machine, str]) -> None:
    """X-Accel-Redirect is not followed; the shop's own Server and Date arrive."""
    status, kept, its_own_body = told["answer"]
    assert (status, its_own_body) == (200, True)
    assert kept["Date"] == ["Thu, 01 Jan 2026 00:00:00 GMT"]
    ahead = ["Caddy"] if proxy[1] == "caddy" else []  # of this version: it puts its own name before the shop's
    assert kept["Server"] == [*ahead, "Apache/2.4 (shop)"]


def test_bodies_stream_both_ways(told: dict[str, Any]) -> None:
    """The first part of an answer is there before the second is made, and of a request before it is whole."""
    assert told["first chunk"] < PAUSE_SECONDS / 2
    assert told["second chunk"] >= PAUSE_SECONDS
    assert told["whole"]
    assert told["body arrived before it was whole"]


def test_a_big_body_passes(told: dict[str, Any]) -> None:
    """8 MiB, whole: the proxy has no limit of its own."""
    assert told["big"] == [200, True]


def test_nothing_is_sent_twice(told: dict[str, Any]) -> None:
    """Where the relay dies with a request that changes something, the caller gets 502 and nobody tries again."""
    assert told["died"] == {"PUT": [502, 1], "POST": [502, 1], "DELETE": [502, 1]}


def test_the_agents_websocket_passes(told: dict[str, Any]) -> None:
    """101, the headers that matter, and raw bytes afterwards."""
    line, echoed, passed = told["switched"]
    assert line.startswith("HTTP/1.1 101")
    assert echoed
    assert all(passed)


def test_no_key_in_a_log(told: dict[str, Any], proxy: tuple[Machine, str]) -> None:
    """With the relay away, when proxies complain most, `ws_key` is in no log."""
    machine, name = proxy
    url = f"https://{HOST}/to/con_1/api/products?ws_key={SECRET}"
    curl = ("curl", "--silent", "--cacert", CA, "--resolve", f"{HOST}:443:127.0.0.1", "--write-out", "%{http_code}")
    refused = "503" if name == "haproxy" else "502"
    assert machine.tell(*curl, "--output", "/dev/null", url) == refused
    logs = machine.tell("sh", "-c", "cat /var/log/nginx/* /var/log/caddy/* 2>/dev/null; journalctl -o cat --no-pager")
    assert SECRET not in logs
    assert refused in logs, "the failure is told"
