"""Stock OpenSSH as the agent: the real `ssh` publishes a store with a registered key, and nothing of ours beside it."""

from __future__ import annotations

import hashlib
import itertools
import re
import shutil
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.store import huge
from tests.system.programs import HOST, ROOT, START_SECONDS, Program, eventually, finish, free_ports
from tests.system.road import Connection, Entry, NewRoad, Road, Shop

pytestmark = pytest.mark.timeout(90)

SSH = shutil.which("ssh")
WITHIN_SECONDS = 1.0  # from the end of the command on
STALL_SECONDS = 0.02  # Nagle's algorithm against a delayed acknowledgement costs 0.04
BULK_BYTES = 8 << 20  # several windows of either side
REFUSED = 255  # ssh's own status
KINDS = ("ed25519", "ecdsa", "rsa")


@dataclass
class StockRoad:
    """A relay with a listener for stock clients, and what a merchant's machine has."""

    road: Road
    port: int
    shop: Shop
    count: Iterator[int] = field(default_factory=itertools.count)

    def key(self, name: str, kind: str = "ed25519") -> Path:
        """A key pair as `ssh-keygen` makes it."""
        path = self.road.home / name
        done = finish("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", f"{name}@till", "-f", str(path))
        assert done.status == 0, str(done)
        return path

    def register(self, entry: Entry, key: Path) -> str:
        """The key's id; its machine gets the line that makes it trust the relay."""
        told = self.road.cli("agents", "keys", "add", entry.id, f"{key}.pub")
        Path(f"{key}.hosts").write_text(told["known_hosts"] + "\n")
        return str(told["id"])

    def trust(self, key: Path, like: Path) -> None:
        """Let a machine that is not registered trust the relay all the same."""
        shutil.copy(f"{like}.hosts", f"{key}.hosts")

    def ssh(self, entry: Entry, key: Path, *forwards: str, options: tuple[str, ...] = ("-N",)) -> Program:
        """The documented command, with nothing of this machine's own settings."""
        given = [word for forward in forwards for word in ("-R", forward)]
        settings = {
            "BatchMode": "yes",
            "ExitOnForwardFailure": "yes",
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": f"{key}.hosts",
            "GlobalKnownHostsFile": "/dev/null",
            "ServerAliveInterval": "5",
        }
        pairs = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        command = [SSH or "ssh", "-F", "none", "-v", *options, "-i", str(key), *pairs, *given]
        return self.road.start(f"ssh-{next(self.count)}", [*command, "-p", str(self.port), f"{entry.id}@{HOST}"])

    def forward(self, domain: str, port: int | None = None) -> str:
        return f"{domain}:80:{HOST}:{port or self.shop.port}"


@pytest.fixture(scope="module")
def stock(new_road: NewRoad) -> Iterator[StockRoad]:
    assert SSH, "openssh-client is needed: apt-get install openssh-client"
    (port,) = free_ports(1)
    road = new_road("stock", settings=["--ssh-stock", f"{HOST}:{port}"])
    yield StockRoad(road, port, road.start_shop("--domain", "shop.test"))
    road.close()


@pytest.fixture(scope="module")
def standing(stock: StockRoad) -> tuple[Entry, Path]:
    """An agent with a registered key whose machine does not dial yet."""
    entry = stock.road.new_agent()
    key = stock.key("standing")
    stock.register(entry, key)
    return entry, key


@pytest.mark.parametrize("kind", KINDS)
def test_requests_go_through_stock_openssh(stock: StockRoad, kind: str) -> None:
    """Two stores through one `ssh -N`, with each kind of key: bodies of several windows come whole, both ways, and
    small requests never wait for an acknowledgement that is late on purpose."""
    entry, other = stock.road.new_agent(), stock.road.start_shop("--domain", "other.test", huge=1 << 30)
    key = stock.key(f"works-{kind}", kind)
    stock.register(entry, key)
    stock.ssh(entry, key, stock.forward("shop.test"), stock.forward("other.test", other.port))
    first = stock.road.connect(entry.id, "http://shop.test", stock.shop.key)
    second = stock.road.connect(entry.id, "http://other.test", other.key)
    stands(first)
    stands(second)
    took = []
    for _ in range(40):
        began = time.monotonic()
        assert published(first)
        took.append(time.monotonic() - began)
    assert statistics.median(took) < STALL_SECONDS, took
    told = second.ask("/api/__huge", "POST", body=b"".join(huge.content(BULK_BYTES)))
    assert told.json == {"length": BULK_BYTES, "sha256": huge.sha256(BULK_BYTES)}
    got = second.ask(f"/api/__huge?size={BULK_BYTES}")
    assert hashlib.sha256(got.body).hexdigest() == huge.sha256(BULK_BYTES)


def test_the_page_about_it_is_right(stock: StockRoad) -> None:
    """The configuration that docs/STOCK_OPENSSH.md shows works as it stands, but for names and places."""
    entry, key = stock.road.new_agent(), stock.key("page")
    stock.register(entry, key)
    page = (ROOT / "docs" / "STOCK_OPENSSH.md").read_text()
    (shown,) = re.findall(r"```ssh-config\n(.*?)```", page, re.DOTALL)
    places = {
        "relay.example.com": HOST,
        "2223": str(stock.port),
        "agt_aaaaaaaaaaaaaaaa": entry.id,
        "/etc/postern-ssh/id_ed25519": str(key),
        "/etc/postern-ssh/known_hosts": f"{key}.hosts",
        "shop.lan:80 shop.lan:80": f"shop.test:80 {HOST}:{stock.shop.port}",
    }
    for place, here in places.items():
        assert place in shown
        shown = shown.replace(place, here)
    (config := stock.road.home / "page.config").write_text(shown)
    (command,) = re.findall(r"ExecStart=(.*)", page)
    words = [str(config) if word.startswith("/etc/") else word for word in command.split()]
    stock.road.start("ssh-page", words)
    stands(stock.road.connect(entry.id, "http://shop.test", stock.shop.key))


@pytest.mark.parametrize("what", ["key", "agent"])
def test_a_live_tunnel_is_cut_within_a_second(stock: StockRoad, what: str) -> None:
    """Once its key is deleted, or its agent revoked, `ssh` ends at once, and does not get in again."""
    entry, key = stock.road.new_agent(), stock.key(f"cut-{what}")
    id_ = stock.register(entry, key)
    client = stock.ssh(entry, key, stock.forward("shop.test"))
    stands(stock.road.connect(entry.id, "http://shop.test", stock.shop.key))
    words = ["agents", "keys", "delete", entry.id, id_] if what == "key" else ["agents", "revoke", entry.id]
    done = stock.road.command(*words)
    assert done.status == 0, str(done)
    assert client.ends(10) == REFUSED
    assert time.monotonic() - done.ended_at < WITHIN_SECONDS
    assert "Permission denied (publickey)" in refused(stock, entry, key)
    events = stock.road.cli("audit", "list", "--subject", id_)["items"]
    assert [event["action"] for event in events] == ["agent_key.delete", "agent_key.add"][what != "key" :]


def test_who_is_not_registered_stays_outside(stock: StockRoad, standing: tuple[Entry, Path]) -> None:
    """Another key, another agent's key, another name: refused alike."""
    entry, key = standing
    stranger, another = stock.key("stranger"), stock.road.new_agent()
    stock.trust(stranger, key)
    for who, with_ in (
        (entry, stranger),
        (another, key),
        (Entry("root", ""), key),
        (Entry("agt_" + "a" * 16, ""), key),
    ):
        assert "Permission denied (publickey)" in refused(stock, who, with_)


def test_nobody_tries_keys_without_end(stock: StockRoad, standing: tuple[Entry, Path]) -> None:
    """After a dozen that are not registered the line is cut; the right one as the sixth still gets in."""
    entry, key = standing
    others = [stock.key(f"guess-{number}") for number in range(13)]
    stock.trust(others[0], key)
    guesses = [word for other in others for word in ("-i", str(other))]
    said = refused(stock, entry, others[0], options=("-N", *guesses))
    assert "Permission denied" not in said
    assert said.count("Authentications that can continue") == 13  # once before the first key
    few = stock.ssh(entry, others[0], stock.forward("few.test"), options=("-N", *guesses[:10], "-i", str(key)))
    few.says("remote forward success")


def test_a_host_that_is_not_the_relay_is_not_dialled(stock: StockRoad, standing: tuple[Entry, Path]) -> None:
    """The line that `agents keys add` prints trusts the relay's host CA, and nobody else."""
    entry, key = standing
    other = stock.key("another-relay")
    shutil.copy(key, twin := key.with_name("twin"))
    (key.parent / "twin.hosts").write_text(f"@cert-authority * {Path(f'{other}.pub').read_text()}")
    assert "Host key verification failed" in refused(stock, entry, twin)


@pytest.mark.parametrize(
    ("forward", "options"),
    [
        ("control.postern.invalid:1:127.0.0.1:80", ("-N",)),
        ("bad_name:80:127.0.0.1:80", ("-N",)),
        ("0:127.0.0.1:80", ("-N",)),
    ],
    ids=["the reserved name", "no name of a host", "a port of the relay's choice"],
)
def test_names_are_checked(
    stock: StockRoad, standing: tuple[Entry, Path], forward: str, options: tuple[str, ...]
) -> None:
    """What our agent may not publish, a stock client may not either; ExitOnForwardFailure makes that heard."""
    entry, key = standing
    assert "remote port forwarding failed" in refused(stock, entry, key, forward, options=options)


def test_a_session_is_refused_in_words(stock: StockRoad, standing: tuple[Entry, Path]) -> None:
    """Without -N, `ssh` asks for a shell: it is told what to do, and ends."""
    entry, key = standing
    said = refused(stock, entry, key, stock.forward("session.test"), options=("-T",))
    assert "there are no sessions here: use ssh -N" in said


def test_forwards_the_other_way_are_refused(stock: StockRoad, standing: tuple[Entry, Path]) -> None:
    """-L, -D and -W would make the relay dial: `ssh` is told no for each."""
    entry, key = standing
    said = refused(stock, entry, key, options=("-W", f"{HOST}:{stock.road.http_port}"))
    assert "stdio forwarding failed" in said
    assert "open failed" in said


def test_the_newest_connection_of_a_key_replaces_the_older(stock: StockRoad) -> None:
    """A machine that dials again, while its old connection seems to stand, is served over the new one."""
    entry, key = stock.road.new_agent(), stock.key("twice")
    stock.register(entry, key)
    connection = stock.road.connect(entry.id, "http://shop.test", stock.shop.key)
    older = stock.ssh(entry, key, stock.forward("shop.test"))
    stands(connection)
    newer = stock.ssh(entry, key, stock.forward("shop.test"))
    newer.says("remote forward success")
    assert older.ends(20) == REFUSED
    assert published(connection)
    assert newer.running


def test_a_store_that_refuses_is_told_from_one_that_is_not_there(stock: StockRoad) -> None:
    """OpenSSH's own words become the codes that our agent's refusals have."""
    entry, key = stock.road.new_agent(), stock.key("refusing")
    stock.register(entry, key)
    (port,) = free_ports(1)
    client = stock.ssh(entry, key, f"refused.test:80:{HOST}:{port}", "nowhere.test:80:nosuch.invalid:80")
    client.says("remote forward success", times=2)
    for domain, code in (
        ("refused", "store_refused"),
        ("nowhere", "store_unreachable"),
        ("unpublished", "store_not_published"),
    ):
        connection = stock.road.connect(entry.id, f"http://{domain}.test", "K" * 32)
        assert connection.ask("/api/orders").code == code


def stands(connection: Connection) -> None:
    eventually("the store is reached", lambda: published(connection), START_SECONDS)


def published(connection: Connection) -> bool:
    return connection.ask("/api/orders?limit=1").status == 200


def refused(stock: StockRoad, entry: Entry, key: Path, *forwards: str, options: tuple[str, ...] = ("-N",)) -> str:
    """What `ssh` says when it ends by itself, as it must."""
    client = stock.ssh(entry, key, *(forwards or [stock.forward("refused.test")]), options=options)
    assert client.ends(20) == REFUSED
    return client.text()
