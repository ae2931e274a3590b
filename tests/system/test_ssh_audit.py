"""`ssh-audit` looks at both ends of a tunnel, and finds nothing to warn of; the stock listener warns of one thing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.system.programs import HOST, Finished, finish, free_ports
from tests.system.road import NewRoad, Road

pytestmark = pytest.mark.timeout(60)

AUDIT = str(Path(sys.executable).parent / "ssh-audit")
GREEN, WARNINGS = 0, 2  # ssh-audit's exit status; 3: failures, 1: it could not connect


def audit(*words: str) -> Finished:
    return finish(AUDIT, "--no-colors", *words, HOST)


def notes(finished: Finished) -> dict[str, list[str]]:
    """What an audit in JSON says against anything: `kind name` with its failures and warnings."""
    told: dict[str, Any] = json.loads(finished.out)
    said = {}
    for kind in ("kex", "key", "enc", "mac"):
        for one in told[kind]:
            against = [*one["notes"].get("fail", []), *one["notes"].get("warn", [])]
            said[f"{kind} {one['algorithm']}"] = against
    return said


def test_the_agents_listener_has_nothing_to_warn_of(road: Road) -> None:
    """Exit status 0, and nothing but what the design names is offered."""
    done = audit("-p", str(road.ssh_port))
    assert done.status == GREEN, str(done)
    assert "[warn]" not in done.out
    assert "[fail]" not in done.out
    said = notes(audit("-j", "-p", str(road.ssh_port)))
    assert "kex mlkem768x25519-sha256" in said
    assert not any(said.values()), said
    assert {name.partition("@")[0] for name in said if name.startswith("kex ")} <= {
        "kex mlkem768x25519-sha256", "kex ext-info-s", "kex kex-strict-s-v00",
    }  # fmt: skip
    assert {name for name in said if name.startswith("key ")} <= {
        "key ssh-ed25519",
        "key ssh-ed25519-cert-v01@openssh.com",
    }


def test_the_agent_as_client_has_nothing_to_warn_of(new_road: NewRoad) -> None:
    """A real agent is sent to ssh-audit's own listener: exit status 0, no warning."""
    (port,) = free_ports(1)
    road = new_road("audited", public_ssh=f"{HOST}:{port}")
    program = road.start("ssh-audit", [AUDIT, "--no-colors", "-c", "-p", str(port), "-t", "30"])
    road.start_agent(road.new_agent(), ["http://shop.test"], wait=False)
    assert program.ends(40) == GREEN, program.tail()
    said = program.text()
    assert "mlkem768x25519-sha256" in said
    assert "[warn]" not in said
    assert "[fail]" not in said
    road.close()


def test_the_stock_listener_lacks_the_post_quantum_exchange_alone(new_road: NewRoad) -> None:
    """It also offers curve25519, for clients that have nothing newer: that is all that can be said against it."""
    (port,) = free_ports(1)
    road = new_road("audited-stock", settings=["--ssh-stock", f"{HOST}:{port}"])
    done = audit("-j", "-p", str(port))
    assert done.status == WARNINGS, str(done)
    against = {name: why for name, why in notes(done).items() if why}
    assert set(against) == {"kex curve25519-sha256", "kex curve25519-sha256@libssh.org"}, against
    assert all("post-quantum" in reason for why in against.values() for reason in why), against
    road.close()
