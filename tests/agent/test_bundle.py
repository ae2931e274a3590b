"""The support archive: what is in it, that it is private and written once, and that no secret gets into it."""

from __future__ import annotations

import base64
import json
import os
import secrets
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import evidence
from agent.bundle import Bundle
from agent.failure import AgentError
from agent.identity import KEY
from agent.redaction import REMOVED, Redaction
from agent.settings import Settings
from tests.agent.conftest import Agent
from tests.agent.fake_relay import FakeRelay

PARTS = {
    "README.txt", "check.json", "settings.json", "versions.json", "status.json", "state.json", "network.json",
    "journal.txt", "parts.json",
}  # fmt: skip
PASSWORD = "canary/pass+word %&"


def read(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        members = {member.name.removeprefix("postern-agent/"): archive.extractfile(member) for member in archive}
        return {name: file.read().decode() for name, file in members.items() if file}


def encodings(secret: bytes) -> Iterator[str]:
    """As it might slip through: plain, hexadecimal, percent-encoded, and within any base64."""
    yield secret.hex()
    for start in range(3):
        yield base64.b64encode(bytes(start) + secret + b"\0").decode()
        yield base64.urlsafe_b64encode(bytes(start) + secret + b"\0").decode()
    if secret.isascii():
        yield from (text := secret.decode(), quote(text, safe=""), quote_plus(text))


def trace(encoding: str) -> str:
    """The middle of it, without what stands around the secret."""
    return encoding[6:-6]


async def enrolled_agent(agent: Agent, relay: FakeRelay, token_file: Path, state: Path) -> tuple[object, ...]:
    where = ("--relay", relay.url, "--token-file", token_file, "--state-dir", state)
    arguments = (*where, "--store", "http://shop.lan=127.0.0.1:9")
    running = await agent.start("run", *arguments)
    await running.says("tunnel stands")
    return arguments


async def test_the_archive_has_all_parts_and_is_the_owners_alone(
    agent: Agent, relay: FakeRelay, token_file: Path, tmp_path: Path
) -> None:
    """0600, and the check goes on to tell what it found."""
    arguments = await enrolled_agent(agent, relay, token_file, tmp_path / "state")
    path = tmp_path / "support.tar.gz"
    ended = await agent.finish("check", *arguments, "--json", "--bundle", path)
    assert json.loads(ended.out)["bundle"] == str(path)
    assert os.stat(path).st_mode & 0o777 == 0o600  # noqa: PTH116 - shortest
    parts = read(path)
    assert set(parts) >= PARTS - {"journal.txt"}
    assert json.loads(parts["check.json"])["checks"][0]["name"] == "settings"
    settings = json.loads(parts["settings.json"])
    assert (settings["relay"], settings["stores"]) == (relay.url, ["http://shop.lan=127.0.0.1:9"])
    assert settings["token"] == settings["proxy"] == "not set"
    assert {"python", "postern", "openssl", "kernel"} <= set(json.loads(parts["versions.json"]))
    assert json.loads(parts["status.json"])["agent"]["name"] == "Backoffice"
    entries = json.loads(parts["state.json"])["entries"]
    assert entries[KEY]["mode"] == "-rw-------"
    assert {"interfaces", "resolver", "routes", "proxy_variables"} <= set(json.loads(parts["network.json"]))


async def test_an_existing_file_is_not_overwritten(agent: Agent, tmp_path: Path) -> None:
    """Nor followed, where it is a link; the sentence names the file, and nothing is checked."""
    path, link = tmp_path / "mine", tmp_path / "link"
    path.write_text("mine")
    link.symlink_to(tmp_path / "elsewhere")
    for named in (path, link):
        ended = await agent.finish("check", "--store", "http://a.lan", "--bundle", named)
        assert (ended.status, ended.out) == (1, "")
        assert ended.err == f"postern-agent: {named} exists already: name another file for the support archive.\n"
    assert path.read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()
    ended = await agent.finish("check", "--store", "http://a.lan", "--bundle", tmp_path / "no" / "where")
    assert "cannot be written: No such file or directory" in ended.err


async def test_settings_that_are_wrong_make_an_archive_all_the_same(agent: Agent, tmp_path: Path) -> None:
    """That is when support is asked; what cannot be had is named with the reason."""
    path = tmp_path / "support.tar.gz"
    ended = await agent.finish(
        *("check", "--relay", "ftp://x", "--store", "http://a.lan", "--state-dir", tmp_path / "none", "--bundle", path)
    )
    assert ended.status == 78
    parts = read(path)
    assert "should read like https://" in json.loads(parts["settings.json"])["error"]
    missing = json.loads(parts["parts.json"])
    assert "no agent runs with" in missing["status.json"]
    assert "state.json" in missing
    assert "status.json" not in parts


def test_an_archive_that_is_not_filled_does_not_stay(tmp_path: Path) -> None:
    """Whatever happened in between."""
    with pytest.raises(KeyError), Bundle.at(tmp_path / "a"):
        raise KeyError
    with pytest.raises(AgentError, match="No space left"), Bundle.at(tmp_path / "b"):
        raise OSError(28, "full")
    assert list(tmp_path.iterdir()) == []


async def test_no_secret_gets_into_it(
    agent: Agent, relay: FakeRelay, token_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Canaries as token, private key, ticket, proxy password, in URLs and in the log, plain and in every encoding."""
    state = tmp_path / "state"
    ticket = secrets.token_urlsafe(32)
    relay.answer_changes = {"ticket": ticket}
    await enrolled_agent(agent, relay, token_file, state)
    token, pem = relay.token, (state / KEY).read_bytes()
    key_lines = [line for line in pem.splitlines() if not line.startswith(b"-----")]
    canaries = [token.reveal().encode(), token.secret, ticket.encode(), PASSWORD.encode(), *key_lines]
    leaks = [form for canary in canaries for form in encodings(canary)]
    known = [form for canary in canaries if canary != ticket.encode() for form in encodings(canary)]
    log = "\n".join(
        [
            *known,
            pem.decode(),
            f"GET https://user:{quote(PASSWORD, safe='')}@proxy.lan/?ws_key={PASSWORD.split(' ', maxsplit=1)[0]}",
            f"Authorization: Bearer {ticket}",
            f'{{"ticket": "{ticket}", "event": "kept"}}',
        ]
    )
    proxy = f"http://user:{quote(PASSWORD, safe='')}@127.0.0.1:9"
    monkeypatch.setattr(evidence, "last_log", lambda: log)
    for name, value in (("HTTPS_PROXY", proxy), ("all_proxy", proxy), ("POSTERN_AGENT_TOKEN", token.reveal())):
        monkeypatch.setenv(name, value)
    flags = {
        "relay": relay.url,
        "stores": ["http://a.lan"],
        "state_dir": state,
        "token_file": token_file,
        "proxy": proxy,
    }
    checks = {"checks": [{"detail": f"seen {form} there"} for form in known]}
    with Bundle.at(tmp_path / "support.tar.gz") as made:
        made.fill(flags, None, checks)
    parts = read(tmp_path / "support.tar.gz")
    assert set(parts) == PARTS
    told = "".join(parts.values())
    assert [leak for leak in leaks if trace(leak) in told] == []
    assert "kept" in parts["journal.txt"]
    settings = json.loads(parts["settings.json"])
    assert (settings["token"], settings["proxy"]) == ("set", "http://127.0.0.1:9 (with credentials)")
    assert (
        json.loads(parts["network.json"])["proxy_variables"]["HTTPS_PROXY"] == "http://127.0.0.1:9 (with credentials)"
    )


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("to https://user:pass@proxy.lan:3128/ failed", f"to https://{REMOVED}@proxy.lan:3128/ failed"),
        ("Proxy-Authorization: Basic dXNlcjpwYXNz", f"Proxy-Authorization: {REMOVED}"),
        ("sent Bearer abcdefgh12345678", f"sent Bearer {REMOVED}"),
        ("/api/orders?ws_key=ABC&limit=1", f"/api/orders?ws_key={REMOVED}&limit=1"),
        ('{"ticket": "abc", "slot": 0}', f'{{"ticket": "{REMOVED}", "slot": 0}}'),
        ("x postern_abcdefghijklmnop234567 y", f"x {REMOVED} y"),
        ("the access token is needed: atk_abc", "the access token is needed: atk_abc"),
        ("Basic settings", "Basic settings"),
    ],
)
def test_what_looks_like_a_secret_is_replaced(text: str, instead: str) -> None:
    """Also where nobody knew it; the text around it stays readable."""
    assert Redaction([]).text(text) == instead


@given(secret=st.binary(min_size=16, max_size=48), before=st.binary(max_size=7), after=st.binary(max_size=7))
def test_a_known_secret_is_found_inside_any_base64(secret: bytes, before: bytes, after: bytes) -> None:
    """Wherever it stands between other bytes."""
    redaction = Redaction([secret])
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        assert REMOVED in redaction.text(encode(before + secret + after).decode())


def test_routes_and_name_servers_are_read_as_people_write_them(tmp_path: Path) -> None:
    """From what Linux shows of itself; what is not there is said."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "proc/net").mkdir(parents=True)
    (tmp_path / "etc/resolv.conf").write_text("# made by hand\nnameserver 192.0.2.53\nsearch shop.lan\n")
    (tmp_path / "proc/net/route").write_text(
        "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t0102000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth0\t0002000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    )
    (tmp_path / "proc/net/ipv6_route").write_text(
        "20010db8000000000000000000000000 20 00000000000000000000000000000000 00 fe800000000000000000000000000001 "
        "00000400 00000001 00000000 00000003 eth0\n"
    )
    told = evidence.about_network({"NO_PROXY": "shop.lan", "HTTPS_PROXY": "::", "HOME": "/"}, tmp_path)
    assert told["resolver"] == ["nameserver 192.0.2.53", "search shop.lan"]
    assert told["routes"] == [
        "0.0.0.0/0 via 10.0.2.1 on eth0", "10.0.2.0/24 on eth0", "2001:db8::/32 via fe80::1 on eth0",
    ]  # fmt: skip
    assert told["proxy_variables"]["NO_PROXY"] == "shop.lan"
    assert "HOME" not in told["proxy_variables"]


def test_a_part_that_fails_takes_no_other_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No journal, no directory, a resolver that cannot be read."""

    def fail() -> Any:
        raise FileNotFoundError("there is no journalctl on this machine")

    monkeypatch.setattr(evidence, "last_log", fail)
    with Bundle.at(tmp_path / "a") as made:
        made.fill({"relay": "https://r", "stores": ["http://a.lan"], "state_dir": tmp_path / "no"}, None, {})
    parts = read(tmp_path / "a")
    assert json.loads(parts["parts.json"])["journal.txt"] == "there is no journalctl on this machine"
    assert "versions.json" in parts


def test_the_log_is_bounded_and_read_without_a_pager() -> None:
    """Whether there is a journal here or not, it says something within its deadline."""
    try:
        text = evidence.last_log()
    except OSError as error:
        text = str(error)
    assert 0 < len(text) <= evidence.LOG_BYTES


def test_every_setting_is_in_it() -> None:
    """A new one is not forgotten."""
    settings = Settings.load({"relay": "https://r", "stores": ["http://a.lan"]}, None)
    assert set(Settings.model_fields) <= set(evidence.about_settings(settings, None))
