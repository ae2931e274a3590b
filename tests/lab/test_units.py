"""The two units: what systemd thinks of them, and what a process under them cannot do."""

from __future__ import annotations

import pytest

from tests.lab.machine import Machine
from tests.lab.parties import AGENT_UNIT, RELAY_UNIT, ROOT, Agent, Relay

pytestmark = pytest.mark.lab

MOST_EXPOSURE = 1.1
"""Host network and the address families that a network service needs make up what is left."""
PROBE = "/opt/postern/probe.py"


@pytest.fixture(params=[AGENT_UNIT, RELAY_UNIT])
def installed_unit(request: pytest.FixtureRequest, agent: Agent, relay: Relay) -> tuple[Machine, str]:
    return (agent.machine if request.param == AGENT_UNIT else relay.machine), request.param


def test_systemd_has_nothing_to_say(installed_unit: tuple[Machine, str]) -> None:
    """`systemd-analyze verify` is silent."""
    machine, unit = installed_unit
    done = machine.run("systemd-analyze", "verify", unit)
    assert done.stdout + done.stderr == ""


def test_the_exposure_is_low(installed_unit: tuple[Machine, str]) -> None:
    """`systemd-analyze security` counts what the unit leaves open."""
    machine, unit = installed_unit
    told = machine.run("systemd-analyze", "security", "--no-pager", unit, check=False).stdout.splitlines()[-1]
    assert float(told.split(":")[1].split()[0]) <= MOST_EXPOSURE, told


def test_the_service_is_up_and_enabled(installed_unit: tuple[Machine, str]) -> None:
    """It has told systemd that it is ready, has not been restarted, and comes up at boot."""
    machine, unit = installed_unit
    properties = machine.unit(unit, "ActiveState", "SubState", "UnitFileState", "Type")
    assert properties == {"Type": "notify", "ActiveState": "active", "SubState": "running", "UnitFileState": "enabled"}


def test_a_process_under_the_unit_can_do_little(installed_unit: tuple[Machine, str]) -> None:
    """The score counts directives; this runs a program in the unit's place that tries to get out of them."""
    machine, unit = installed_unit
    machine.put(ROOT / "tests" / "lab" / "sandbox_probe.py", PROBE)
    text = (ROOT / "systemd" / unit).read_text()
    lines = [line for line in text.splitlines() if not line.startswith(("ExecStart=", "Type=", "Restart", "Watchdog"))]
    start = lines.index("[Service]") + 1
    lines[start:start] = ["Type=oneshot", f"ExecStart=/opt/postern/bin/python {PROBE}"]
    machine.write("/etc/systemd/system/probe.service", "\n".join(lines).replace("=postern-agent", "=postern-probe"))
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "probe.service")
    outcome = machine.events("probe.service")[-1][1]
    machine.run("rm", PROBE, "/etc/systemd/system/probe.service")
    machine.run("systemctl", "daemon-reload")
    assert {name: said for name, said in outcome.items() if said not in EXPECTED[name]} == {}
    assert outcome.keys() == EXPECTED.keys()


EXPECTED = {
    "write /etc": {"EROFS", "EACCES"},
    "write /opt/postern": {"EROFS", "EACCES"},
    "write /var/tmp of others": {"ENOENT"},
    "list /root": {"EACCES"},
    "listen below 1024": {"EACCES"},
    "packet socket": {"EAFNOSUPPORT"},
    "netlink socket": {"EAFNOSUPPORT"},
    "memory to write and execute": {"EPERM"},
    "new namespace": {"EPERM"},
    "set-user-ID file": {"EPERM"},
    "host name": {"EPERM"},
    "clock": {"EPERM"},
    "mount": {"EPERM"},
    "ptrace": {"EPERM"},
    "kernel keyring": {"EPERM"},
    "real-time scheduling": {"EPERM"},
    "/dev/kmsg": {"ENOENT", "EPERM", "EACCES"},
    "/proc/sys": {"ENOENT"},
    "other processes": {"only itself"},
    "capabilities": {"0000000000000000"},
    "no new privileges": {"1"},
}
