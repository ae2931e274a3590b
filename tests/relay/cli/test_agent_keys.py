"""`agents keys`: a machine's public key registered, shown, deleted."""

from __future__ import annotations

from pathlib import Path

import asyncssh
import pytest

from tests.relay.cli.conftest import Run


@pytest.fixture
def public_key(tmp_path: Path) -> Path:
    path = tmp_path / "id_ed25519.pub"
    path.write_bytes(asyncssh.generate_private_key("ssh-ed25519", comment="root@till").export_public_key())
    return path


def test_life_of_a_key(relay: Run, public_key: Path) -> None:
    """Added from a file or standard input, listed, deleted; what its machine needs is printed with it."""
    agent = relay("agents", "create", "shop", "--json").json["id"]
    settings = ("--ssh-stock", "127.0.0.1:2223", "--public-ssh", "relay.example.com:22")
    made = relay("agents", "keys", "add", "shop", str(public_key), *settings, "--json").json
    assert list(made) == ["id", "agent", "public_key", "fingerprint", "comment", "created_at", "known_hosts", "command"]
    assert (made["agent"], made["comment"]) == (agent, "root@till")
    assert made["known_hosts"].startswith("@cert-authority relay.example.com,[relay.example.com]:2223 ssh-ed25519 ")
    assert made["command"].endswith(f"-p 2223 {agent}@relay.example.com")
    again = relay("agents", "keys", "add", "shop", "-", stdin=public_key.read_text())
    assert (again.status, "already" in again.err) == (1, True)
    (listed,) = relay("agents", "keys", "list", agent, "--json").json["items"]
    assert listed == {name: made[name] for name in listed}
    assert "root@till" in relay("agents", "keys", "list", agent).out
    assert relay("agents", "keys", "delete", "shop", made["id"], "--json").json == {"id": made["id"]}
    assert relay("agents", "keys", "delete", "shop", made["id"]).status == 1
    assert relay("agents", "keys", "list", "shop").out == "none\n"


def test_people_are_told_what_to_do(relay: Run, public_key: Path) -> None:
    """The line for known_hosts and the command stand alone on their lines; a relay without the listener says so."""
    relay("agents", "create", "shop")
    said = relay("agents", "keys", "add", "shop", str(public_key)).out.splitlines()
    assert any(line.startswith("@cert-authority 127.0.0.1 ssh-ed25519 ") for line in said)
    assert any(line.startswith("ssh -N ") for line in said)
    assert any("SSH_STOCK is not set" in line for line in said)


def test_mistakes_are_told(relay: Run, tmp_path: Path) -> None:
    """A private key, another file, a file that is not there, an agent that is not there; no key is ever repeated."""
    relay("agents", "create", "shop")
    private = tmp_path / "id_ed25519"
    private.write_bytes(asyncssh.generate_private_key("ssh-ed25519").export_private_key())
    refused = relay("agents", "keys", "add", "shop", str(private))
    assert (refused.status, ".pub" in refused.err) == (2, True)
    assert private.read_text().splitlines()[1] not in refused.err
    assert relay("agents", "keys", "add", "shop", "-", stdin="hello").status == 2
    assert relay("agents", "keys", "add", "shop", str(tmp_path / "nothing")).status == 1
    assert relay("agents", "keys", "add", "nobody", "-", stdin="x").status == 1
