"""The commands that people script: their words, their output, their exit status."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import re
import subprocess
import sys
from pathlib import Path

import pytest

from agent.wire.token import AccessToken
from relay.database.credentials import api_token_digest
from relay.database.files import serving
from relay.records import Scope
from tests.relay.cli.conftest import STORE_KEY, Run
from tests.system.programs import eventually

LISTS = ("agents", "connections", "tokens", "accounts")


def test_first_steps(relay: Run, key_file: str) -> None:
    """The way of the README: an agent, a connection, a token, each with its secret, printed once as one JSON object."""
    agent = relay("agents", "create", "shop", "--json").json
    assert list(agent) == ["id", "name", "token"]
    assert re.fullmatch(r"agt_[a-z2-7]{16}", agent["id"])
    assert AccessToken.parse(agent["token"])
    form = ("--name", "Shop", "--mode", "on-premise", "--agent", agent["id"], "--store-url", "http://shop.lan")
    connection = relay("connections", "create", *form, "--api-key-file", key_file, "--json").json
    assert list(connection) == ["id", "access_key", "url"]
    assert re.fullmatch(r"[A-Z0-9]{32}", connection["access_key"])
    assert connection["url"] == f"http://127.0.0.1:8080/to/{connection['id']}"
    token = relay("tokens", "create", "--name", "ci", "--scope", "manage", "--json").json
    assert list(token) == ["id", "token"]
    assert api_token_digest(token["token"])


def test_secrets_are_printed_once(relay: Run, key_file: str) -> None:
    """No command that comes later shows a token, an access key or the store's key."""
    made = relay("agents", "create", "shop", "--json").json
    form = ("--name", "c", "--mode", "on-premise", "--agent", "shop", "--store-url", "http://shop.lan")
    connection = relay("connections", "create", *form, "--api-key-file", key_file, "--json").json
    rotated = relay("connections", "rotate-key", "c", "--json").json
    token = relay("tokens", "create", "--name", "ci", "--scope", "read", "--json").json
    second = relay("agents", "tokens", "create", "shop", "--json").json
    secrets = [
        STORE_KEY,
        made["token"],
        connection["access_key"],
        rotated["access_key"],
        token["token"],
        second["token"],
    ]
    for command in (
        *((noun, "list") for noun in LISTS),
        ("agents", "show", "shop"),
        ("agents", "update", "shop", "--places", "2"),
        ("agents", "tokens", "list", "shop"),
        ("connections", "show", "c"),
        ("connections", "update", "c", "--concurrency", "3"),
        ("tokens", "show", token["id"]),
        ("status",),
        ("audit", "list"),
        ("keys", "rotate"),
        ("keys", "list"),
        ("init",),
    ):
        for form_ in ((), ("--json",)):
            ran = relay(*command, *form_)
            assert ran.status == 0, ran.err
            assert not any(secret in ran.out + ran.err for secret in secrets), command


def test_people_see_the_secret_too(relay: Run) -> None:
    """Without `--json` the token stands on a line of its own, to be copied."""
    lines = relay("agents", "create", "shop").out.splitlines()
    assert AccessToken.parse(lines[-1])
    assert "only now" in lines[1]


def test_key_from_standard_input(relay: Run) -> None:
    """`--api-key-file -` reads the key from standard input, so that it lies in no file and no argv."""
    form = ("--name", "c", "--mode", "cloud", "--store-url", "https://www.example.com", "--api-key-file", "-")
    assert relay("connections", "create", *form, stdin=f" {STORE_KEY} \n").status == 0
    short = relay("connections", "create", *form, stdin="too short")
    assert (short.status, "exactly 32 characters" in short.err) == (2, True)


@pytest.mark.parametrize("noun", LISTS)
def test_lists(relay: Run, noun: str) -> None:
    """`{"items": […], "next": null}` for machines, a table or one word for people."""
    answer = relay(noun, "list", "--json").json
    assert set(answer) == {"items", "next"}
    assert answer["next"] is None
    if noun != "accounts":
        assert answer["items"] == []
        assert relay(noun, "list").out == "none\n"
    else:
        assert relay(noun, "list").out.splitlines()[1].split()[1] == "default"


def test_lists_are_whole(relay: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a list is, all of it is printed."""
    monkeypatch.setattr("relay.cli.desk.LIMIT_MOST", 2)
    for number in range(5):
        relay("agents", "create", f"a{number}")
    assert [item["name"] for item in relay("agents", "list", "--json").json["items"]] == [f"a{n}" for n in range(5)]


def test_accounts_are_apart(relay: Run) -> None:
    """`--account` names another account than `default`; what is in one is not found in the other."""
    other = relay("accounts", "create", "other", "--json").json
    made = relay("agents", "create", "shop", "--account", "other", "--json").json
    assert relay("agents", "list", "--json").json["items"] == []
    assert relay("agents", "show", made["id"]).status == 1
    shown = relay("agents", "show", "shop", "--account", other["id"], "--json").json
    assert (shown["id"], shown["account"]) == (made["id"], other["id"])
    missing = relay("agents", "list", "--account", "nobody")
    assert (missing.status, missing.err) == (1, "postern-relay: there is no account 'nobody'\n")
    assert relay("accounts", "update", "other", "--name", "renamed", "--json").json["name"] == "renamed"
    assert relay("accounts", "delete", "renamed").status == 1
    relay("agents", "delete", "shop", "--account", "renamed")
    assert relay("accounts", "delete", "renamed").status == 0
    assert relay("accounts", "show", "renamed").status == 1


def test_life_of_an_agent(relay: Run) -> None:
    """Renamed, given places and a second token, relieved of the first, revoked, deleted."""
    agent = relay("agents", "create", "shop", "--places", "2", "--token-expires-in", "24h", "--json").json["id"]
    assert relay("agents", "update", "shop", "--name", "till", "--places", "3", "--json").json["places"] == 3
    assert relay("agents", "update", "till").status == 2
    second = relay("agents", "tokens", "create", "till", "--expires-in", "30d", "--json").json
    assert relay("agents", "tokens", "create", "till").status == 1
    tokens = relay("agents", "tokens", "list", "till", "--json").json["items"]
    assert [token["id"] for token in tokens if token["expires_at"]] == [token["id"] for token in tokens]
    assert relay("agents", "tokens", "revoke", agent, second["id"], "--json").json["revoked_at"]
    assert relay("agents", "release", agent).status == 1
    assert relay("agents", "instances", "list", agent, "--json").json["items"] == []
    assert relay("agents", "instances", "revoke", agent, "ins_aaaaaaaaaaaaaaaa").status == 1
    assert relay("agents", "revoke", agent, "--json").json["revoked_at"]
    assert relay("agents", "delete", agent, "--json").json == {"id": agent}
    assert relay("agents", "show", agent).status == 1


def test_life_of_a_connection(relay: Run, key_file: str, tmp_path: Path) -> None:
    """Changed with and without its key, given a second access key, relieved of the first, deleted."""
    relay("agents", "create", "shop")
    form = ("--name", "c", "--mode", "on-premise", "--agent", "shop", "--store-url", "http://shop.lan")
    relay("connections", "create", *form, "--api-key-file", key_file)
    before = relay("connections", "show", "c", "--json").json
    again = relay("connections", "update", "c", "--store-url", "http://other.lan")
    assert (again.status, "key again" in again.err) == (2, True)
    moved = ("--store-url", "http://other.lan", "--api-key-file", key_file, "--key-place", "ws_key")
    assert relay("connections", "update", "c", *moved, "--json").json["store_url"] == "http://other.lan"
    assert relay("connections", "update", "c").status == 2
    pinned = relay("connections", "update", "c", "--pinned-key", "ab" * 32, "--json").json
    assert pinned["trust"]["pinned_spki_sha256"] == "ab" * 32
    assert relay("connections", "update", "c", "--public-roots", "--json").json["trust"]["pinned_spki_sha256"] is None
    assert relay("connections", "update", "c", "--ca-file", key_file).status == 2
    assert relay("connections", "update", "c", "--ca-file", str(tmp_path / "none")).status == 1
    cloud = relay("connections", "update", "c", "--mode", "cloud", "--api-key-file", key_file, "--json").json
    assert (cloud["mode"], cloud["agent"]) == ("cloud", None)
    rotated = relay("connections", "rotate-key", "c", "--json").json
    assert rotated["still_valid"] == [before["access_keys"][0]["id"]]
    assert relay("connections", "rotate-key", "c").status == 1
    assert relay("connections", "revoke-key", "c", before["access_keys"][0]["id"]).status == 0
    assert [key["id"] for key in relay("connections", "show", "c", "--json").json["access_keys"]] == [rotated["id"]]
    assert relay("connections", "delete", "c", "--json").json == {"id": before["id"]}


def test_life_of_a_token(relay: Run) -> None:
    """The highest scope counts; renamed, revoked, deleted."""
    words = ("--name", "ci", "--scope", "read", "--scope", "forward", "--expires-in", "90s")
    id_ = relay("tokens", "create", *words, "--json").json["id"]
    shown = relay("tokens", "show", id_, "--json").json
    assert (shown["scope"], shown["expires_at"] - shown["created_at"]) == (Scope.FORWARD, 90)
    assert relay("tokens", "update", id_, "--name", "new", "--json").json["name"] == "new"
    assert relay("tokens", "revoke", id_, "--json").json["revoked_at"]
    assert relay("tokens", "delete", id_).status == 0
    assert relay("tokens", "show", id_).status == 1


def test_what_was_made_of_an_address_is_said(relay: Run, key_file: str) -> None:
    """For people and machines, when a connection is made and when it is changed; not where it stands as written."""
    form = ("--mode", "cloud", "--api-key-file", key_file)
    pasted = ("--store-url", "www.example.com/presta/api/products?ws_key=X")
    made = relay("connections", "create", "--name", "a", *form, *pasted, "--json").json
    assert made["store_url"] == "https://www.example.com/presta"
    assert made["understood"][0] == "taken as https://www.example.com/presta"
    assert (
        "store       taken as https://www.example.com/presta\n"
        in relay("connections", "create", "--name", "b", *form, *pasted).out
    )
    changed = relay("connections", "update", "a", *pasted, "--json").json
    assert changed["understood"] == made["understood"]
    assert "understood" not in relay("connections", "update", "a", "--answer-timeout", "60", "--json").json
    assert relay("connections", "show", "a", "--json").json["answer_timeout"] == 60
    assert relay("connections", "update", "a", "--answer-timeout", "901").status == 2


def test_audit_of_one_account(relay: Run) -> None:
    """Without `--account` everything, what belongs to no account included; with it, that account's alone."""
    relay("accounts", "create", "other")
    relay("agents", "create", "theirs", "--account", "other")
    every = [event["action"] for event in relay("audit", "list", "--json").json["items"]]
    assert {"authority.create", "account.create", "agent.create"} <= set(every)
    events = relay("audit", "list", "--account", "other", "--json").json["items"]
    assert {event["action"] for event in events} == {"account.create", "agent.create", "agent_token.create"}
    assert relay("audit", "list", "--account", "nobody").status == 1


def test_lost_master_keys(relay: Run, key_file: str, state: Path) -> None:
    """Nothing is given up without `--yes`, nor where nothing is lost; the answer says what has to be entered again."""
    form = ("--name", "c", "--mode", "cloud", "--store-url", "https://www.example.com", "--api-key-file", key_file)
    made = relay("connections", "create", *form, "--json").json
    assert relay("keys", "replace-lost", "--yes").status == 1
    (state / "keys" / "master.keys").unlink()
    lost = relay("init")
    assert (lost.status, "keys replace-lost" in lost.err) == (78, True)
    assert relay("keys", "replace-lost").status == 2
    said = relay("keys", "replace-lost", "--yes").out
    assert f"postern-relay connections update {made['id']} --api-key-file FILE" in said
    assert "new access token" in said
    assert relay("connections", "show", "c", "--json").json["key_works"] is False
    assert relay("connections", "update", "c", "--api-key-file", key_file, "--json").json["key_works"] is None
    assert relay("init").status == 0


def test_audit_names_the_user(relay: Run) -> None:
    """Whatever the command line changes is noted under the name of the operating system's user."""
    agent = relay("agents", "create", "shop", "--json").json["id"]
    event = relay("audit", "list", "--subject", agent, "--json").json["items"][0]
    assert event["actor"] == f"cli:{pwd.getpwuid(os.getuid()).pw_name}"
    assert (event["action"], event["source"], event["details"]["name"]) == ("agent.create", "local", "shop")


def test_status(relay: Run, key_file: str) -> None:
    """Everything at a glance, from the database."""
    agent = relay("agents", "create", "shop", "--json").json["id"]
    answer = relay("status", "--json").json
    assert (answer["accounts"], answer["connections"]) == (1, 0)
    assert [(each["id"], each["instances"]) for each in answer["agents"]] == [(agent, [])]
    assert "shop" in relay("status").out


def test_keys(relay: Run, state: Path) -> None:
    """Rotating makes a new master key and says how many secrets it seals."""
    before = relay("keys", "list", "--json").json["items"]
    done = relay("keys", "rotate", "--json").json
    assert (done["sealed"], done["older"]) == (4, [before[0]["id"]])
    after = relay("keys", "list", "--json").json["items"]
    assert [(key["id"], key["current"], key["secrets"]) for key in after] == [
        (done["key"], True, 4),
        (before[0]["id"], False, 0),
    ]
    assert (state / "keys" / "master.keys").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("nonsense",),
        ("agents",),
        ("agents", "create"),
        ("agents", "create", "shop", "--color"),
        ("agents", "create", "shop", "--places", "many"),
        ("agents", "create", "shop", "--places", "0"),
        ("agents", "create", "shop", "--token-expires-in", "soon"),
        ("agents", "create", ""),
        ("agents", "list", "--js"),
        ("connections", "create", "--name", "c"),
        ("connections", "test"),
        ("tokens", "create", "--name", "x"),
        ("tokens", "create", "--name", "x", "--scope", "everything"),
        ("audit", "list", "--limit", "0"),
    ],
)
def test_wrong_usage(relay: Run, words: tuple[str, ...]) -> None:
    """A mistake on the command line is status 2, with a sentence and nothing else."""
    ran = relay(*words)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.splitlines()[-1].startswith("postern-relay")
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://shop.lan", "http:// or https://"),
        ("http://", "should read like"),
        ("http://shop.lan/?id_shop=2", "leave out everything from the ?"),
    ],
)
def test_wrong_store_address(relay: Run, key_file: str, url: str, words: str) -> None:
    """The sentence says what a store's address looks like."""
    form = ("--name", "c", "--mode", "cloud", "--store-url", url, "--api-key-file", key_file)
    ran = relay("connections", "create", *form)
    assert ran.status == 2
    assert words in ran.err
    assert ran.err.count("\n") == 1


def test_key_files_that_cannot_be_read(relay: Run, tmp_path: Path) -> None:
    """A key file that is not there, is a directory or is no text: status 1 and its name."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe" * 100)
    for path in (tmp_path / "none", tmp_path, tmp_path / "binary"):
        form = ("--name", "c", "--mode", "cloud", "--store-url", "http://x.lan", "--api-key-file", str(path))
        ran = relay("connections", "create", *form)
        assert (ran.status, str(path) in ran.err, ran.err.count("\n")) == (1, True, 1)


def test_before_init(run: Run) -> None:
    """A command on an empty installation says what to run first."""
    ran = run("agents", "create", "shop")
    assert (ran.status, ran.err) == (78, "postern-relay: there is nothing here yet: run postern-relay init\n")


def test_init_is_harmless_to_repeat(relay: Run, state: Path) -> None:
    """A second `init` changes nothing."""
    before = relay("init", "--json").json
    keys = (state / "keys" / "master.keys").read_bytes()
    assert relay("init", "--json").json == before
    assert (state / "keys" / "master.keys").read_bytes() == keys


@pytest.mark.parametrize("command", [("init",), ("serve",), ("agents", "list")])
def test_state_directory_open_to_others(run: Run, state: Path, command: tuple[str, ...]) -> None:
    """No retry can mend wrong rights: 78, with the command that mends them."""
    state.mkdir()
    state.chmod(0o777)
    ran = run(*command)
    assert (ran.status, f"chmod 700 {state}" in ran.err) == (78, True)


def test_keys_open_to_others(relay: Run, state: Path, key_file: str) -> None:
    """Master keys that others can read are not used."""
    (state / "keys" / "master.keys").chmod(0o644)
    form = ("--name", "c", "--mode", "cloud", "--store-url", "http://x.lan", "--api-key-file", key_file)
    ran = relay("connections", "create", *form)
    assert (ran.status, "open to others" in ran.err) == (78, True)
    assert relay("agents", "list").status == 0


def test_keys_that_are_gone(relay: Run, state: Path) -> None:
    """Lost master keys are reported, not replaced."""
    (state / "keys" / "master.keys").unlink()
    ran = relay("init")
    assert (ran.status, "put them back" in ran.err) == (78, True)


@pytest.mark.one_database
def test_database_that_cannot_be_used(run: Run, state: Path) -> None:
    """Something else in the database's place is 78; a server that does not answer is 1, for it may come back."""
    state.mkdir(mode=0o700)
    (state / "relay.db").write_bytes(b"something else" * 1000)
    assert run("agents", "list").status == 78
    away = run("agents", "list", "--database-url", "postgresql://u:canary@127.0.0.1:1/x")
    assert (away.status, "does not answer" in away.err, "canary" in away.err) == (1, True, False)
    assert run("agents", "list", "--database-url", "mysql://x").status == 78


@pytest.mark.one_database
def test_second_serve(relay: Run, state: Path) -> None:
    """A relay that is running keeps another from serving the same file, but not the command line from working."""
    with serving(state / "relay.db"):
        ran = relay("serve")
        assert (ran.status, "another relay serves" in ran.err) == (1, True)
        assert relay("agents", "list").status == 0


@pytest.mark.one_database
def test_openapi(run: Run, state: Path) -> None:
    """The API's description needs no installation."""
    assert run("openapi").json["openapi"].startswith("3.")
    assert not state.exists()


def test_output_survives_any_terminal(relay: Run, state: Path) -> None:
    """Letters that the terminal cannot show become question marks; JSON is ASCII; a closed pipe is no traceback."""
    relay("agents", "create", "Épicerie 🧀")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "relay.cli", "agents", "list", "--state-dir", str(state)]
    people = subprocess.run(command, env=environment, capture_output=True, check=True, text=True)
    assert "?picerie ?" in people.stdout
    machines = subprocess.run([*command, "--json"], env=environment, capture_output=True, check=True, text=True)
    assert json.loads(machines.stdout)["items"][0]["name"] == "Épicerie 🧀"
    closed = subprocess.run(
        ["sh", "-c", f"{' '.join(command)} | true"], env=environment, capture_output=True, check=False
    )
    assert b"Traceback" not in closed.stderr


async def test_secrets_are_in_no_argv(state: Path, key_file: str) -> None:
    """While it runs, a command's argv holds no secret: keys come from files or standard input."""
    words = ["--name", "c", "--mode", "cloud", "--store-url", "http://x.lan", "--api-key-file", "-"]
    command = [sys.executable, "-m", "relay.cli", "connections", "create", *words, "--state-dir", str(state)]
    init = await asyncio.create_subprocess_exec(sys.executable, "-m", "relay.cli", "init", "--state-dir", str(state))
    assert await init.wait() == 0
    process = await asyncio.create_subprocess_exec(*command, stdin=-1, stdout=-1)
    argv = eventually("it is what it was started as", Path(f"/proc/{process.pid}/cmdline").read_bytes)
    out, _ = await process.communicate(STORE_KEY.encode())
    assert process.returncode == 0
    assert b"connections" in argv
    assert STORE_KEY.encode() not in argv + out
