"""A relay that does TLS itself, and one behind proxies that speak for others."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.system.caller import Line, bearer, request
from tests.system.certificates import Certificates
from tests.system.lan import DOMAIN
from tests.system.programs import AGENT, HOST, RELAY, Program, eventually, finish
from tests.system.road import NewRoad, Road, Shop

NAME = "localhost"
MIB = 1 << 20
CONFIGURATION = 78


@dataclass
class Secured:
    """A relay on https://localhost, with an agent, a shop and a connection behind it."""

    road: Road
    shop: Shop
    certificates: Certificates
    connection: dict[str, Any]

    @property
    def port(self) -> int:
        return self.road.http_port

    def get(self, path: str) -> tuple[int, bytes]:
        """On a connection of its own, verified by the CA that is in force now."""
        with contextlib.closing(self.line()) as line:
            line.request("GET", path)
            answer = line.getresponse()
            return answer.status, answer.read()

    def line(self) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=str(self.certificates.ca))
        return http.client.HTTPSConnection(NAME, self.port, timeout=20, context=context)

    def curl(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        command = ("curl", "--silent", "--show-error", "--cacert", str(self.certificates.ca), "--max-time", "60")
        user = f"{self.connection['access_key']}:"
        return subprocess.run([*command, "--user", user, *words], capture_output=True, check=False)


def start(road: Road) -> Program:
    program = road.start("relay", [RELAY, "serve", *road.options])
    program.says('"relay ready"')
    road.relay = program
    return program


@pytest.fixture(scope="module")
def secured(new_road: NewRoad, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    certificates = Certificates.make(tmp_path_factory.mktemp("tls"), NAME)
    settings = ("--tls-cert-file", str(certificates.chain), "--tls-key-file", str(certificates.key))
    road = new_road("own-tls", start=False, settings=settings)
    road.public_url = f"https://{NAME}:{road.http_port}"
    start(road)
    shop = road.start_shop("--domain", DOMAIN)
    entry = road.cli("agents", "create", "shop")
    made = road.cli(
        *("connections", "create", "--name", "shop", "--mode", "on-premise", "--agent", entry["id"]),
        *("--store-url", f"http://{DOMAIN}", "--api-key-file", "-"),
        text=shop.key,
    )
    token_file = road.home / "token"
    token_file.touch(mode=0o600)
    token_file.write_text(entry["token"])
    road.start(
        "agent",
        [
            *(AGENT, "run", "--relay", road.url),
            *("--token-file", str(token_file), "--state-dir", str(road.home / "agent")),
            *("--store", f"http://{DOMAIN}={HOST}:{shop.port}", "--ca-file", str(certificates.ca)),
        ],
    ).says('"tunnel stands"')
    yield Secured(road, shop, certificates, made)
    road.close()


def test_the_whole_road_over_the_relays_own_tls(secured: Secured) -> None:
    """An agent enrolled over it, and a connector's requests on one kept connection."""
    assert secured.connection["url"].startswith(f"https://{NAME}:{secured.port}/to/con_")
    with contextlib.closing(secured.line()) as line:
        for _ in range(5):
            line.request("GET", "/readyz")
            answer = line.getresponse()
            assert (answer.status, bool(answer.read())) == (200, True)


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
def test_curl_is_served(secured: Secured) -> None:
    """It offers HTTP/2 and takes HTTP/1.1; an upload that is refused early ends in the answer, not in a reset."""
    url = f"{secured.connection['url']}/api/orders?limit=1"
    done = secured.curl("--http2", "--write-out", "\n%{http_code} %{http_version}", url)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, b"200 1.1"), done
    big = secured.road.home / "big"
    big.write_bytes(bytes(range(256)) * (16 * MIB // 256))
    told = ("--write-out", "%{http_code}", "--output", "/dev/null")
    for _ in range(5):
        done = secured.curl(*told, "-H", "Expect:", "--user", "nobody:", "-T", str(big), url)
        assert (done.returncode, done.stdout) == (0, b"401"), done


def test_a_renewed_certificate_is_taken_in(secured: Secured, tmp_path: Path) -> None:
    """New connections see it in seconds, those that stand go on; SIGHUP is as good; a wrong pair changes nothing."""
    relay = secured.road.relay
    with contextlib.closing(secured.line()) as old:
        old.request("GET", "/livez")
        assert old.getresponse().read()
        renewed = Certificates.make(tmp_path, NAME)
        for source, target in ((renewed.chain, secured.certificates.chain), (renewed.key, secured.certificates.key)):
            target.write_bytes(source.read_bytes())
        secured.certificates.ca.write_bytes(renewed.ca.read_bytes())
        eventually("the new one is shown", lambda: _serves(secured), 15.0)
        old.request("GET", "/livez")
        assert old.getresponse().status == 200
    secured.certificates.key.write_text("no key")
    relay.signal(signal.SIGHUP)
    relay.says("holds no private key in PEM form")
    assert _serves(secured)
    secured.certificates.key.write_bytes(renewed.key.read_bytes())
    assert _serves(secured)


def _serves(secured: Secured) -> bool:
    try:
        return secured.get("/livez")[0] == 200
    except ssl.SSLCertVerificationError:
        return False


def test_no_start_without_a_good_pair(secured: Secured, tmp_path: Path) -> None:
    """Status 78 and one line that names the file: unreadable, not of each other, one of the two, no PEM."""
    mine, other = Certificates.make(_made(tmp_path / "mine"), NAME), Certificates.make(_made(tmp_path / "other"), NAME)
    closed, text = tmp_path / "closed.pem", tmp_path / "text.pem"
    closed.write_bytes(mine.key.read_bytes())
    closed.chmod(0)
    text.write_text("hello")
    bad = [
        (mine.chain, other.key, f"the key in {other.key} does not belong to the certificate in {mine.chain}"),
        (mine.chain, closed, f"cannot read {closed}: Permission denied"),
        (tmp_path / "none.pem", mine.key, f"cannot read {tmp_path / 'none.pem'}: No such file or directory"),
        (text, mine.key, f"{text} holds no certificate in PEM form"),
        (mine.chain, None, "TLS_CERT_FILE and TLS_KEY_FILE must be given together"),
    ]
    for chain, key, said in bad:
        flags = ["--tls-cert-file", str(chain), *(["--tls-key-file", str(key)] if key else [])]
        address = ["--http", f"{HOST}:0", "--ssh", f"{HOST}:0", "--state-dir", str(tmp_path / "state")]
        done = finish(RELAY, "serve", *address, *flags, plain_user=True)
        assert done.status == CONFIGURATION, str(done)
        assert done.err.strip().splitlines()[-1] == f"postern-relay: {said}", str(done)


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


class TcpProxy(threading.Thread):
    """A TCP proxy of the kind that tells the relay who its client is, before the client's own bytes."""

    def __init__(self, says: bytes) -> None:
        super().__init__(daemon=True)
        self._says = says
        self._listener = socket.create_server((HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        self.target = 0

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                relay = socket.create_connection((HOST, self.target))
                relay.sendall(self._says)
                for source, sink in ((client, relay), (relay, client)):
                    threading.Thread(target=_copy, args=(source, sink), daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def proxy() -> Iterator[TcpProxy]:
    made = TcpProxy(b"PROXY TCP4 203.0.113.10 192.0.2.1 4711 2222\r\n")
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def behind(new_road: NewRoad, proxy: TcpProxy) -> Road:
    """A relay that believes what this machine says of others, and agents that come through a TCP proxy."""
    road = new_road("behind", settings=("--trusted-proxies", "127.0.0.0/8"), public_ssh=f"{HOST}:{proxy.port}")
    proxy.target = road.ssh_port
    return road


def test_the_audit_has_the_callers_address(behind: Road) -> None:
    """As the nearest proxy has seen it, in a field or a PROXY header; the caller's own words do not count."""
    said = b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n"
    assert _source_of_a_change(behind, b"", "X-Forwarded-For", "198.51.100.66, 203.0.113.7") == "203.0.113.7"
    assert _source_of_a_change(behind, b"", "Forwarded", "for=203.0.113.8") == "203.0.113.8"
    assert _source_of_a_change(behind, said, "X-Forwarded-For", "198.51.100.66") == "203.0.113.9"
    assert _source_of_a_change(behind, b"", "X-Nothing", "x") == HOST


def test_by_default_nobody_is_believed(road: Road) -> None:
    """The address is the connection's own, whatever it says."""
    assert _source_of_a_change(road, b"", "X-Forwarded-For", "203.0.113.7") == HOST
    with Line(road.http_port) as line:
        line.send(b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n" + request("GET", "/livez"))
        assert line.read().status == 400


def _source_of_a_change(road: Road, before: bytes, name: str, value: str) -> str:
    """Make an agent over such a connection; what the audit says of where it came from."""
    fields = [bearer(road.operator), ("Content-Type", "application/json"), (name, value)]
    with Line(road.http_port) as line:
        line.send(before + request("POST", "/v1/agents", fields, json.dumps({"name": f"of {value}"}).encode()))
        answer = line.read()
    assert answer.status == 201, answer
    [event] = road.api("GET", f"/v1/audit?subject={answer.json['id']}").json["items"]
    return str(event["source"])


def test_an_agents_address_is_what_the_proxy_says(behind: Road) -> None:
    """Its tunnel is counted, logged and shown with the agent's address, and carries requests."""
    shop, entry = behind.start_shop("--domain", DOMAIN), behind.new_agent()
    behind.start_agent(entry, [f"http://{DOMAIN}={HOST}:{shop.port}"])
    connection = behind.connect(entry.id, f"http://{DOMAIN}", shop.key)
    assert connection.ask("/api/orders?limit=1").status == 200
    assert '"remote": "203.0.113.10"' in behind.relay.text()
    told = behind.api("GET", f"/v1/agents/{entry.id}").json
    assert "203.0.113.10" in json.dumps(told)
