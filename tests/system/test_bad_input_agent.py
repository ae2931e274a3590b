"""Bad input to `postern-agent`: one plain sentence, the right exit status, never a traceback, no secret repeated."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from tests.system.bad_input import (
    CONFIGURATION,
    FAILED,
    PASSWORD,
    USAGE,
    Case,
    Ground,
    Run,
    Value,
    agent,
    at,
    check,
    file,
    folder,
    program,
    running,
    spoiled_folder,
)
from tests.system.programs import AGENT, HOST, Finished, free_ports, problem_of


def _swapped(token: str) -> str:
    """Two neighbours exchanged, as people do when they type."""
    at = next(number for number in range(20, 60) if token[number] != token[number + 1])
    return token[:at] + token[at + 1] + token[at] + token[at + 2 :]


COMMAND_LINES = ["", "fly", "run --nonsense", "run --rel https://relay.example.com", "run --relay", "run x", "--json"]

RELAYS = {
    "nonsense": "https://",
    "ftp://relay.example.com": "https://",
    "https://": "https://",
    f"https://user:{PASSWORD}@relay.example.com": "password",
    "https://relay.example.com?x=1": "https://",
    "https://relay.example.com:99999": "port",
    "http://relay.example.com": "loopback",
    "https://[::1": "relay",
    "https://relay.example.com\n--x": "relay",
    "https://relay .example.com": "relay",
}

STORES = {
    "shop.lan": "http",
    "ftp://shop.lan": "http",
    "http://": "http",
    "http://shop.lan/api": "host and port",
    f"http://user:{PASSWORD}@shop.lan": "user name",
    "http://sh op.lan": "blanks",
    "http://shop_lan": "host name",
    "http://shöp.lan": "host name",
    "http://shop.lan:0": "port",
    "http://shop.lan:70000": "port",
    "http://shop.lan=": "should read like",
    "http://shop.lan=1.2.3.4:x": "1.2.3.4:x",
    "http://shop.lan=[::g]:80": "::g",
    "http://control.postern.invalid:1": "reserved",
    "http://a.lan,http://A.lan:80": "twice",
    ",".join(f"http://shop{number}.lan" for number in range(65)): "64",
}


def publish(stores: str) -> Run:
    """In the environment, where several stores stand with commas between them."""
    return program(AGENT, "run", "--relay", "https://relay.test", variables={"POSTERN_AGENT_STORES": stores})


TOKENS = {
    "missing": at("token-missing"),
    "unreadable": file("token-unreadable", lambda token: token, 0o000),
    "a-directory": folder("token-a-directory"),
    "empty": file("token-empty", " \n"),
    "binary": file("token-binary", bytes(range(256)) * 40),
    "foreign": file("token-foreign", "ptk_" + "a" * 58),
    "cut": file("token-cut", lambda token: token[:-20]),
    "mistyped": file("token-mistyped", lambda token: token[:40] + ("a" if token[40] != "a" else "b") + token[41:]),
    "swapped": file("token-swapped", _swapped),
    "twice": file("token-twice", lambda token: token * 2),
}

STATE_DIRECTORIES = {
    "a file": (file("a-file", ""), "--state-dir"),
    "below a file": (file("b-file", "", below="x"), "b-file"),
    "open to all": (folder("open", 0o777), "chmod 700"),
    "read-only": (folder("read-only", 0o500), "read-only"),
    "below read-only": (folder("read-only-2", 0o500, below="x"), "read-only-2"),
    "with a damaged key": (spoiled_folder("damaged/instance_key", "x", 0o600), "instance_key"),
    "with an open key": (spoiled_folder("loose/instance_key", "x", 0o644), "chmod 600"),
    "of another agent": (lambda ground: ground.lan.agent.state_dir, "another postern-agent"),
}

CONFIGURATIONS = {
    "missing": (at("missing.toml"), "missing.toml"),
    "broken": (file("broken.toml", "relay = "), "broken.toml"),
    "binary": (file("binary.toml", b"\xff\xfe\x00"), "binary.toml"),
    "with an unknown name": (file("unknown.toml", 'relais = "x"\nstores = ["http://a.lan"]'), "relais"),
    "with a token": (file("token.toml", f'token = "postern_{PASSWORD}"'), "token_file"),
    "of a wrong kind": (file("kind.toml", "stores = 7"), "stores"),
}

CASES = {
    **{f"command line {line!r}": Case(program(AGENT, *line.split()), USAGE) for line in COMMAND_LINES},
    **{f"relay {url!r}": Case(agent(relay=url), CONFIGURATION, (word,)) for url, word in RELAYS.items()},
    **{f"store {text[:40]!r}": Case(publish(text), CONFIGURATION, (word,)) for text, word in STORES.items()},
    "no relay": Case(agent(relay=None), CONFIGURATION, ("--relay",)),
    "no store": Case(agent(store=None), CONFIGURATION, ("--store",)),
    "no token": Case(agent(token_file=None), CONFIGURATION, ("--token-file",)),
    **{
        f"token {name}": Case(agent(token_file=path), CONFIGURATION, (f"token-{name}",))
        for name, path in TOKENS.items()
    },
    **{
        f"state directory {name}": Case(
            agent(state_dir=path), FAILED if name == "of another agent" else CONFIGURATION, (word,)
        )
        for name, (path, word) in STATE_DIRECTORIES.items()
    },
    **{
        f"configuration {name}": Case(agent(store=None, config=path), CONFIGURATION, (word,))
        for name, (path, word) in CONFIGURATIONS.items()
    },
    "status without an agent": Case(
        program(AGENT, "status", "--state-dir", "/nonexistent"), FAILED, ("no agent runs",)
    ),
}


@pytest.fixture(scope="module")
def finished(ground: Ground) -> Iterator[dict[str, Future[Finished]]]:
    with running(CASES, ground) as started:
        yield started


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_in_one_plain_sentence(ground: Ground, finished: dict[str, Future[Finished]], name: str) -> None:
    """Status 2 for usage, 78 for what no retry can mend, 1 for the rest; said what is wrong and where."""
    check(ground, CASES[name], finished[name].result())


def test_a_mistake_in_usage_shows_the_usage(finished: dict[str, Future[Finished]]) -> None:
    """Who typed something unknown is shown what there is."""
    assert all("usage:" in finished[f"command line {line!r}"].result().err for line in COMMAND_LINES)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to somebody else")
def test_a_state_directory_that_is_somebody_elses(ground: Ground) -> None:
    """78, and whose it is."""
    foreign = ground.folder("foreign", 0o700)
    os.chown(foreign, 65534, 65534)
    done = agent(state_dir=foreign)(ground)
    assert done.status == CONFIGURATION, str(done)
    assert "65534" in problem_of(done, "postern-agent")
    shutil.rmtree(foreign)


def test_an_agent_without_a_relay_goes_on_trying(ground: Ground) -> None:
    """Nobody listens there: no end, no traceback, a warning that says so; and it ends at once when it is told to."""
    (port,) = free_ports(1)
    given: dict[str, Value] = {
        "relay": f"http://{HOST}:{port}",
        "store": "http://a.lan",
        "token_file": at("token"),
        "state_dir": at("l"),
    }
    started = ground.road.start("lonely", [AGENT, "run", *ground.words(given)])
    started.says("not enrolled")
    assert "Connection refused" in started.text()
    started.signal(signal.SIGTERM)
    assert started.ends(5.0) == 0
    assert "Traceback" not in started.text()
