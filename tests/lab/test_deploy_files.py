"""The files of deploy/ and systemd/, as far as they can be judged without root and without a container engine."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from agent.settings import Settings as AgentSettings
from relay.listening.sockets import HTTP, SSH, SSH_STOCK
from relay.settings import Settings as RelaySettings
from relay.settings import load

ROOT = Path(__file__).parents[2]
CONTAINERS = ["Containerfile.agent", "Containerfile.relay"]
INSTRUCTIONS = {
    "FROM",
    "COPY",
    "RUN",
    "ENV",
    "USER",
    "VOLUME",
    "EXPOSE",
    "HEALTHCHECK",
    "STOPSIGNAL",
    "ENTRYPOINT",
    "CMD",
}
SCRIPTS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"])


def steps(name: str) -> list[tuple[str, str]]:
    """The instructions of a Containerfile with their arguments, continued lines joined."""
    text = (ROOT / "deploy" / name).read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1].strip()) for line in lines]


def last_stage(name: str) -> list[tuple[str, str]]:
    all_steps = steps(name)
    return all_steps[max(n for n, (word, _) in enumerate(all_steps) if word == "FROM") :]


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_containerfile_is_made_of_known_instructions(name: str) -> None:
    """It begins with FROM, knows the stages that it copies from, and each base is a slim Debian one."""
    found = steps(name)
    assert found[0][0] == "FROM"
    assert {word for word, _ in found} <= INSTRUCTIONS
    stages = [rest.split(" AS ")[1] for word, rest in found if word == "FROM" and " AS " in rest]
    assert {stage for _, rest in found for stage in re.findall(r"--from=(\S+)", rest)} <= set(stages)
    assert all(re.search(r"/python:3\.\d+-slim-\w+( AS \w+)?$", rest) for word, rest in found if word == "FROM")


@pytest.mark.parametrize("name", CONTAINERS)
def test_what_a_containerfile_copies_is_there(name: str) -> None:
    """Every source of COPY exists beside the Makefile, and all that the build needs is among them."""
    sources = [
        word for kind, rest in steps(name) if kind == "COPY" and "--from" not in rest for word in rest.split()[:-1]
    ]
    assert [source for source in sources if not (ROOT / source).exists()] == []
    assert {"pyproject.toml", "README.md", "LICENSE", "agent", "relay"} <= set(sources)


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_runs_without_root_and_without_build_tools(name: str) -> None:
    """The last stage takes pip away, names a user by number, and starts a program that the project installs."""
    stage = last_stage(name)
    user = next(rest for word, rest in stage if word == "USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert any(word == "RUN" and "pip uninstall" in rest for word, rest in stage)
    assert not any("apt" in rest or "install --no-cache" in rest for _, rest in stage)
    started = next(rest for word, rest in stage if word == "ENTRYPOINT")
    assert started in {f'["{script}"]' for script in SCRIPTS}


@pytest.mark.parametrize(
    ("name", "settings", "prefix"),
    [
        ("Containerfile.agent", AgentSettings, "POSTERN_AGENT_"),
        ("Containerfile.relay", RelaySettings, "POSTERN_RELAY_"),
    ],
)
def test_a_container_sets_only_settings_that_exist(
    name: str, settings: type[AgentSettings | RelaySettings], prefix: str
) -> None:
    """A variable that no setting reads would be a promise that nobody keeps."""
    text = (ROOT / "deploy" / name).read_text()
    given = {word.removeprefix(prefix).lower() for word in re.findall(prefix + r"[A-Z_]+", text)}
    assert given
    assert given <= set(settings.model_fields)


def test_the_example_settings_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both example files are read by the programs themselves, and say what they seem to say."""
    relay = load(ROOT / "deploy/examples/relay.toml", {})
    assert (relay.url(), str(relay.ssh_address())) == ("https://relay.example.com", "relay.example.com:2222")
    agent = AgentSettings.load({}, ROOT / "deploy/examples/agent.toml")
    assert (agent.relay, [store.origin for store in agent.stores]) == ("https://relay.example.com", ["http://shop.lan"])


@pytest.mark.parametrize("unit", ["postern-agent.service", "postern-relay.service"])
def test_a_unit_starts_a_program_of_the_project_with_its_example_settings(unit: str) -> None:
    """ExecStart names an installed script and a settings file of which there is an example; 78 stops for good."""
    text = (ROOT / "systemd" / unit).read_text()
    program, config = re.search(r"^ExecStart=/opt/postern/bin/(\S+) \w+ --config (\S+)$", text, re.MULTILINE).groups()  # type: ignore[union-attr]  # None fails the test
    assert program in SCRIPTS
    assert (ROOT / "deploy/examples" / Path(config).name).exists()
    assert "\nRestartPreventExitStatus=78\n" in text


@pytest.mark.parametrize(
    ("unit", "name", "setting"),
    [
        ("postern-relay", HTTP, "http"),
        ("postern-relay-ssh", SSH, "ssh"),
        ("postern-relay-ssh-stock", SSH_STOCK, "ssh_stock"),
    ],
)
def test_a_socket_unit_hands_over_what_the_relay_asks_for(unit: str, name: str, setting: str) -> None:
    """By the name that the relay knows, to the relay's service, on the port of the example settings."""
    text = (ROOT / "systemd" / f"{unit}.socket").read_text()
    lines = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    assert (lines["FileDescriptorName"], lines["Service"]) == (name, "postern-relay.service")
    address = getattr(load(ROOT / "deploy/examples/relay.toml", {}), setting)
    assert address is None or int(lines["ListenStream"].rpartition(":")[2]) == address.port


def test_the_grace_period_fits_into_the_time_that_systemd_gives() -> None:
    """The relay is not killed while it lets requests finish."""
    unit = (ROOT / "systemd/postern-relay.service").read_text()
    given = int(re.findall(r"^TimeoutStopSec=([0-9]+)$", unit, re.MULTILINE)[0])
    grace = float(re.findall(r"^GRACE_SECONDS = ([0-9.]+)$", (ROOT / "relay/app.py").read_text(), re.MULTILINE)[0])
    assert given >= grace + 15
