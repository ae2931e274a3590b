"""The real `postern-agent`: its exit statuses and its sentences."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent import __version__
from agent.wire.token import AccessToken
from tests.agent.conftest import Agent

RELAY = ("--relay", "http://127.0.0.1:9")
STORE = ("--store", "http://shop.lan")


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(AccessToken.generate(bytes(16)).reveal())
    return path


async def test_version_and_help_are_done(agent: Agent) -> None:
    """Both print to standard output, and the help has examples and the exit statuses."""
    version = await agent.finish("--version")
    assert (version.status, version.out) == (0, f"postern-agent {__version__}\n")
    told = await agent.finish("run", "--help")
    assert told.status == 0
    for word in ("examples:", "--store", "POSTERN_AGENT_STORES", "78"):
        assert word in told.out


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("dance",),
        ("run", "--nonsense"),
        ("run", "--relay"),
        ("run", "--rel", "x"),
        ("run", "extra"),
        ("status", "--store", "x"),
    ],
)
async def test_wrong_usage_is_2(agent: Agent, arguments: tuple[str, ...]) -> None:
    """With the usage on standard error, and no token or trace."""
    ended = await agent.finish(*arguments)
    assert ended.status == 2
    assert ended.err.startswith("usage: postern-agent")
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (STORE, "no relay is given: name it with --relay"),
        (RELAY, "no store is given: name one with --store"),
        ((*STORE, "--relay", "relay.example.com"), "relay: 'relay.example.com' should read like https://"),
        ((*STORE, "--relay", "http://relay.example.com"), "plain http:// is taken only for loopback addresses"),
        ((*STORE, "--relay", "https://relay:99999"), "relay: "),
        ((*RELAY, "--store", "shop.lan"), "'shop.lan' should read like http://shop.lan"),
        ((*RELAY, "--store", "ftp://shop.lan"), "should read like http://shop.lan"),
        ((*RELAY, "--store", "http://shop.lan/api"), "only scheme, host and port belong here"),
        ((*RELAY, "--store", "http://shop.lan:0"), "port 0 is not between 1 and 65535"),
        ((*RELAY, "--store", "http://shop.lan=192.168.1.20:port"), "should read like 192.168.1.20:80"),
        ((*RELAY, "--store", "http://bücher.lan"), "is not a host name"),
        ((*RELAY, "--store", ""), "no store is given"),
        ((*RELAY, *STORE, *STORE), "shop.lan:80 is given twice"),
        ((*RELAY, "--store", "http://control.postern.invalid:1"), "is reserved"),
        ((*RELAY, *STORE, "--token-file", "/nowhere/token"), "the token file /nowhere/token cannot be read"),
        ((*RELAY, *STORE, "--token-file", "/etc"), "cannot be read: Is a directory"),
        ((*RELAY, *STORE, "--token-file", "/dev/null"), "/dev/null is empty"),
        ((*RELAY, *STORE, "--token-file", "/etc/passwd"), "/etc/passwd holds no good access token"),
        ((*RELAY, *STORE), "no access token is given"),
        ((*RELAY, *STORE, "--ca-file", "/nowhere/ca.pem"), "the CA bundle /nowhere/ca.pem cannot be read"),
        ((*RELAY, *STORE, "--ca-file", "/etc/passwd"), "holds no certificates"),
        ((*RELAY, *STORE, "--config", "/nowhere/agent.toml"), "/nowhere/agent.toml cannot be read"),
        ((*RELAY, *STORE, "--config", "/etc/passwd"), "/etc/passwd is not TOML"),
        ((*RELAY, *STORE, "--state-dir", "/proc/nothing"), "the state directory /proc/nothing cannot be used"),
    ],
)
async def test_a_configuration_that_no_retry_mends_is_78_and_one_sentence(
    agent: Agent, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    """One line on standard error that says what is wrong; never a trace."""
    if "--state-dir" not in arguments:
        arguments = (*arguments, "--state-dir", str(tmp_path / "state"))
    ended = await agent.finish("run", *arguments)
    assert ended.status in ({1, 78} if "/proc/nothing" in arguments else {78})
    assert sentence in ended.err
    assert ended.err.startswith("postern-agent: ")
    assert ended.err.count("\n") == 1
    assert ended.err.endswith(".\n")


def mistype(token: Path) -> str:
    text = token.read_text()
    token.write_text(text[:20] + ("b" if text[20] == "a" else "a") + text[21:])
    return text


async def test_too_many_stores_are_refused(agent: Agent, tmp_path: Path) -> None:
    """A tunnel publishes 64 names."""
    stores = [part for i in range(65) for part in ("--store", f"http://shop{i}.lan")]
    ended = await agent.finish("run", *RELAY, *stores, "--state-dir", tmp_path / "state")
    assert ended.status == 78
    assert "65 stores are given, and an agent publishes 64 at most" in ended.err


async def test_a_mistyped_token_is_told_before_any_network(agent: Agent, tmp_path: Path, token: Path) -> None:
    """Its checksum does not fit; the token itself is not repeated."""
    text = mistype(token)
    ended = await agent.finish("run", *RELAY, *STORE, "--token-file", token, "--state-dir", tmp_path / "state")
    assert ended.status == 78
    assert "mistyped" in ended.err
    assert text[8:20] not in ended.err


async def test_a_state_directory_with_wrong_rights_is_78(agent: Agent, tmp_path: Path, token: Path) -> None:
    """The sentence has the command that mends it."""
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(0o777)
    ended = await agent.finish("run", *RELAY, *STORE, "--token-file", token, "--state-dir", state)
    assert ended.status == 78
    assert f"chmod 700 {state}" in ended.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not write")
async def test_a_state_directory_that_cannot_be_written_is_78(agent: Agent, tmp_path: Path, token: Path) -> None:
    """Seen from a user without any rights there."""
    ended = await agent.finish("run", *RELAY, *STORE, "--token-file", token, "--state-dir", "/proc/1/state")
    assert ended.status in {1, 78}
    assert "cannot be used" in ended.err


async def test_unknown_settings_in_the_file_are_named(agent: Agent, tmp_path: Path) -> None:
    """A typo in the file is not passed over."""
    config = tmp_path / "agent.toml"
    config.write_text('relay = "http://127.0.0.1:9"\nstroes = ["http://shop.lan"]\nstores = ["http://shop.lan"]\n')
    ended = await agent.finish("run", "--config", config)
    assert ended.status == 78
    assert "unknown setting 'stroes'; there are relay, stores, token_file, state_dir, ca_file" in ended.err


async def test_a_token_does_not_belong_in_the_file(agent: Agent, tmp_path: Path) -> None:
    """It would be read by whoever may read the settings."""
    config = tmp_path / "agent.toml"
    config.write_text('token = "postern_abc"\n')
    ended = await agent.finish("run", *RELAY, *STORE, "--config", config)
    assert ended.status == 78
    assert "holds a token" in ended.err
    assert "postern_abc" not in ended.err


async def test_status_without_an_agent_is_1(agent: Agent, tmp_path: Path) -> None:
    """One sentence, with the way to start one."""
    ended = await agent.finish("status", "--state-dir", tmp_path)
    assert ended.status == 1
    assert ended.err == (
        f"postern-agent: no agent runs with {tmp_path}: start it with 'postern-agent run', or name its --state-dir.\n"
    )
