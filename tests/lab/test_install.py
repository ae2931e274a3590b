"""deploy/install-agent.sh, as a technician uses it on a fresh machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.machine import Machine, running
from tests.lab.network import PREFIX, Network
from tests.lab.parties import AGENT_UNIT, CA, STORE, URL, Agent, Relay, Shop

pytestmark = pytest.mark.lab

FILES = "/opt/postern /etc/postern /usr/local/bin/postern-agent /var/lib/private/postern-agent /var/lib/postern-agent"
SETTINGS = ("--relay", URL, "--store", f"http://{STORE}", "--ca-file", CA)


@pytest.fixture(scope="module")
def fresh(network: Network, relay: Relay, shop: Shop, wheels: Path) -> Iterator[Agent]:
    """Another machine in the shop, with the checkout and nothing installed."""
    agent = Agent(Machine("fresh", f"{PREFIX}shop"))
    with running(agent.machine):
        agent.prepare(wheels, relay.ca_file)
        yield agent


@pytest.fixture(scope="module")
def token(relay: Relay) -> str:
    made: dict[str, Any] = relay.ask("agents", "create", "fresh")
    return str(made["token"])


def left(agent: Agent) -> list[str]:
    """What of the agent is on the machine."""
    return agent.machine.run(
        "sh", "-c", f"ls -d {FILES} /etc/systemd/system/{AGENT_UNIT} 2>/dev/null", check=False
    ).stdout.split()


def test_wrong_usage_changes_nothing(fresh: Agent) -> None:
    """Without settings, with half of them, with odd ones, or without a token: a sentence, and nothing is installed."""
    tries = {
        (): (2, "--relay and --store"),
        ("--relay", URL): (2, "go together"),
        ("--store", 'http://x"; y', "--relay", URL): (2, "not an address"),
        ("--token", "postern_abc"): (2, "unknown argument --token"),
        ("--purge",): (2, "--uninstall"),
        (*SETTINGS[:4], "--ca-file", "/nowhere.pem"): (1, "cannot read"),
        SETTINGS: (1, "no access token"),
    }
    for words, (status, sentence) in tries.items():
        done = fresh.install(*words, check=False)
        assert (done.returncode, sentence in done.stderr) == (status, True), (words, done.stderr)
        assert "postern_abc" not in done.stderr
        assert left(fresh) == []
    done = fresh.install(*SETTINGS, token="hello", check=False)
    assert (done.returncode, "one begins with postern_" in done.stderr) == (1, True), done.stderr
    assert left(fresh) == []


def test_it_installs_and_says_how_it_stands(fresh: Agent, token: str) -> None:
    """One command: the agent is enrolled, its service enabled, and its status told at the end."""
    done = fresh.install(*SETTINGS, token=token)
    assert "standing" in done.stdout
    assert "degraded" not in done.stdout
    assert "The agent is installed" in done.stdout
    assert token not in done.stdout + done.stderr
    assert fresh.connected()
    assert fresh.machine.tell("systemctl", "is-enabled", AGENT_UNIT) == "enabled"
    assert fresh.machine.tell("stat", "--format", "%a %U", "/etc/postern/agent.token") == "600 root"


def test_again_it_updates_and_keeps_settings_and_token(fresh: Agent, token: str) -> None:
    """Without arguments and without a token: another process, the same instance, the same settings."""
    before, settings, pid = (
        fresh.status()["instance"],
        fresh.machine.tell("cat", "/etc/postern/agent.toml"),
        fresh.pid(),
    )
    fresh.install()
    fresh.connect()
    assert fresh.pid() != pid
    assert fresh.status()["instance"] == before
    assert fresh.machine.tell("cat", "/etc/postern/agent.toml") == settings
    assert fresh.machine.tell("cat", "/etc/postern/agent.token") == token


def test_new_settings_are_taken_over(fresh: Agent) -> None:
    """A second store beside the first one is published after the next run."""
    fresh.install(*SETTINGS, "--store", "https://www.shop.fr=10.77.1.20:443")
    fresh.connect()
    assert [store["origin"] for store in fresh.status()["stores"]] == [f"http://{STORE}", "https://www.shop.fr"]


def test_settings_that_cannot_work_are_told_at_once(fresh: Agent) -> None:
    """Why the service does not start stands there, and not only where to look for it; mended, it runs again."""
    done = fresh.install("--relay", "http://relay.example.com", "--store", f"http://{STORE}", check=False)
    assert done.returncode == 1
    assert "plain http:// is taken only for loopback" in done.stderr, done.stderr
    fresh.install(*SETTINGS)
    fresh.connect()


def test_uninstalling_keeps_what_is_needed_to_come_back(fresh: Agent) -> None:
    """Program and service are gone; settings, token and key stay until --purge takes them as well."""
    fresh.install("--uninstall")
    assert left(fresh) == ["/etc/postern", "/var/lib/postern-agent", "/var/lib/private/postern-agent"]
    assert fresh.machine.run("systemctl", "cat", AGENT_UNIT, check=False).returncode != 0
    fresh.install("--uninstall", "--purge")
    assert left(fresh) == []
    assert fresh.install("--uninstall", "--purge").returncode == 0
