"""What the lab's tests stand on: one network, one shop, one relay, one agent, built once in a run."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.machine import LabError, Machine, running
from tests.lab.network import PREFIX, Network
from tests.lab.parties import CA, STORE, URL, Agent, Relay, Shop
from tests.lab.verdict import Verdict, table
from tests.lab.wheels import lab_directory, wheelhouse


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test is told with the end of the journal of each machine that it used."""
    report = yield
    if report.failed:
        used = getattr(item, "funcargs", {}).values()
        machines = {part.machine for part in used if isinstance(part, Agent | Relay)}
        for machine in machines | {part for part in used if isinstance(part, Machine)}:
            report.sections.append((f"journal of {machine.name}", machine.last_words()))
    return report


VERDICTS = pytest.StashKey[list[Verdict]]()


@pytest.fixture(scope="session")
def verdicts(pytestconfig: pytest.Config) -> list[Verdict]:
    """Where the rounds of the faults are collected; their table is printed at the end."""
    return pytestconfig.stash.setdefault(VERDICTS, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if rounds := config.stash.get(VERDICTS, []):
        terminalreporter.write_sep("=", "what faults cost")
        terminalreporter.write_line(table(rounds))


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for this run, on a machine where the lab can be built and nobody else is in it."""
    if os.geteuid() != 0:
        pytest.fail("the lab needs root: sudo make lab", pytrace=False)
    lab_directory().mkdir(parents=True, exist_ok=True)
    lock = os.open(lab_directory() / ".lock-run", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pytest.fail(f"another run is in this lab: wait for it, or set LAB_DIR (now {lab_directory()})", pytrace=False)
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="session")
def wheels(ground: Path) -> Path:
    try:
        return wheelhouse(ground)
    except LabError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def network(ground: Path) -> Iterator[Network]:
    network = Network()
    try:
        network.up()
    except LabError as error:
        pytest.fail(f"{error}\nrun tests/lab/prepare.sh", pytrace=False)
    yield network
    network.down()


@pytest.fixture(scope="session")
def shop(network: Network, ground: Path) -> Iterator[Shop]:
    shop = Shop(network, ground / "shop.log")
    yield shop
    shop.close()


@pytest.fixture(scope="session")
def relay(network: Network, wheels: Path, ground: Path) -> Iterator[Relay]:
    relay = Relay(ground)
    with running(relay.machine):
        relay.install(wheels)
        yield relay


@pytest.fixture(scope="session")
def account(relay: Relay, shop: Shop) -> dict[str, Any]:
    """An agent at the relay with its token, and a connection to the shop."""
    agent = relay.ask("agents", "create", "shop")
    words = ("connections", "create", "--name", "shop", "--mode", "on-premise", "--agent", agent["id"])
    connection = relay.ask(*words, "--store-url", f"http://{STORE}", "--api-key-file", "-", text=shop.key)
    return {"agent": agent, "connection": connection}


@pytest.fixture(scope="session")
def installed(network: Network, wheels: Path, relay: Relay, account: dict[str, Any]) -> Iterator[Agent]:
    """An agent as the install script leaves it; what its machine sends is counted from before its first breath."""
    agent = Agent(Machine("agent", f"{PREFIX}shop"))
    network.watch_shop()
    with running(agent.machine):
        agent.prepare(wheels, relay.ca_file)
        words = ("--relay", URL, "--store", f"http://{STORE}", "--ca-file", CA)
        agent.install(*words, token=account["agent"]["token"])
        yield agent


@pytest.fixture
def agent(installed: Agent, network: Network, relay: Relay) -> Agent:
    """The agent with a standing tunnel on a healthy network, whatever the test before has left."""
    network.heal()
    installed.connect()
    return installed
