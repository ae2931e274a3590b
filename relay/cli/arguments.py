"""The command line: its words, flags and help."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from relay.cli import accounts, agent_keys, agents, connection_tests, connections, keys, overview, tokens
from relay.database.accounts import DEFAULT
from relay.records import KeyPlace, Mode, Scope
from relay.settings import Settings

Run = Callable[..., Any]
_DURATION = re.compile(r"([0-9]{1,9})(s|m|h|d)\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; on a mistake print usage and leave with status 2."""
    root = argparse.ArgumentParser(prog="postern-relay", description="The cloud side of Postern.", allow_abbrev=False)
    root.add_argument("--version", action="version", version=f"postern-relay {version('postern')}")
    words = root.add_subparsers(metavar="COMMAND", required=True)
    _leaf(words, "serve", overview.serve, "run the relay", plain=True)
    _leaf(words, "init", overview.init, "make the database, the keys and the account 'default'")
    _agents(_branch(words, "agents", "on-premise agents and their access tokens"))
    _connections(_branch(words, "connections", "what connectors use to reach a store"))
    _tokens(_branch(words, "tokens", "API tokens"))
    _accounts(_branch(words, "accounts", "customers of this relay"))
    _keys(_branch(words, "keys", "master keys"))
    _audit(_branch(words, "audit", "who changed what"))
    _leaf(words, "status", overview.status, "agents and when they were last seen, at a glance")
    _leaf(words, "openapi", overview.openapi, "print the API's description", plain=True)
    arguments = root.parse_args(argv)
    arguments.settings = {
        name: getattr(arguments, f"setting_{name}")
        for name in Settings.model_fields
        if hasattr(arguments, f"setting_{name}")
    }
    return arguments


def _agents(words: Any) -> None:
    create = _leaf(words, "create", agents.create, "make an agent and print its first access token, once")
    create.add_argument("name")
    create.add_argument("--places", type=int, default=1, help="instances that may be enrolled at once (default 1)")
    create.add_argument("--token-expires-in", type=_duration, metavar="TIME", help="such as 24h or 30d; default never")
    _leaf(words, "list", agents.list_, "all agents of the account")
    _leaf(words, "show", agents.show, "one agent with its tokens and instances").add_argument("agent")
    update = _leaf(words, "update", agents.update, "change name or places")
    update.add_argument("agent")
    update.add_argument("--name")
    update.add_argument("--places", type=int)
    _leaf(words, "revoke", agents.revoke, "end all use of an agent, for good").add_argument("agent")
    _leaf(words, "delete", agents.delete, "delete an agent that no connection uses").add_argument("agent")
    release = _leaf(words, "release", agents.release, "free an instance's place, so that another may enrol")
    release.add_argument("agent")
    release.add_argument("instance", nargs="?", help="needed if the agent has several")
    tokens_ = _branch(words, "tokens", "access tokens: two may be valid at once")
    token = _leaf(tokens_, "create", agents.create_token, "make another access token and print it, once")
    token.add_argument("agent")
    token.add_argument("--expires-in", type=_duration, metavar="TIME", help="such as 24h or 30d; default never")
    _leaf(tokens_, "list", agents.list_tokens, "an agent's tokens").add_argument("agent")
    revoked = _leaf(tokens_, "revoke", agents.revoke_token, "end a token and cut the tunnels that stand on it")
    revoked.add_argument("agent")
    revoked.add_argument("token")
    keys_ = _branch(words, "keys", "public keys with which stock OpenSSH logs in as an agent (SSH_STOCK)")
    key = _leaf(keys_, "add", agent_keys.add, "let a public key log in as the agent; prints what its machine needs")
    key.add_argument("agent")
    key.add_argument("file", help="such as id_ed25519.pub; - reads stdin")
    _leaf(keys_, "list", agent_keys.list_, "an agent's public keys").add_argument("agent")
    deleted = _leaf(keys_, "delete", agent_keys.delete, "shut a public key out, and cut its tunnel")
    deleted.add_argument("agent")
    deleted.add_argument("key")
    instances_ = _branch(words, "instances", "installed agent processes")
    _leaf(instances_, "list", agents.list_instances, "an agent's instances").add_argument("agent")
    shut_out = _leaf(instances_, "revoke", agents.revoke_instance, "shut an instance's key out, for good")
    shut_out.add_argument("agent")
    shut_out.add_argument("instance")


def _connections(words: Any) -> None:
    create = _leaf(words, "create", connections.create, "make a connection and print its access key, once")
    _connection_form(create, required=True)
    _leaf(words, "list", connections.list_, "all connections of the account")
    _leaf(words, "show", connections.show, "one connection, without its secrets").add_argument("connection")
    update = _leaf(words, "update", connections.update, "change what is given")
    update.add_argument("connection")
    _connection_form(update, required=False)
    update.add_argument("--public-roots", action="store_true", help="trust public roots again: no CA, no pinned key")
    _leaf(words, "delete", connections.delete, "delete a connection").add_argument("connection")
    tested = _leaf(words, "test", connection_tests.test, "try a connection hop by hop, by the relay that serves")
    tested.description = (
        "The relay that serves tries the connection, for only it holds the tunnels; it is asked at HTTP, else at "
        "PUBLIC_URL. What it learns of the key is kept, as from the API: see key_works in 'connections show'."
    )
    tested.add_argument("connection", metavar="NAME_OR_ID")
    rotate = _leaf(words, "rotate-key", connections.rotate_key, "make a second access key and print it, once")
    rotate.add_argument("connection")
    revoke = _leaf(words, "revoke-key", connections.revoke_key, "end an access key")
    revoke.add_argument("connection")
    revoke.add_argument("key")


def _connection_form(leaf: argparse.ArgumentParser, *, required: bool) -> None:
    leaf.add_argument("--name", required=required)
    leaf.add_argument("--mode", type=Mode, choices=list(Mode), required=required, metavar="|".join(Mode))
    leaf.add_argument("--agent", help="id or name; for on-premise")
    leaf.add_argument("--store-url", required=required, metavar="URL", help="such as https://www.example.com")
    leaf.add_argument("--api-key-file", required=required, metavar="FILE", help="the webservice key; - reads stdin")
    leaf.add_argument(
        "--key-place", type=KeyPlace, choices=list(KeyPlace), metavar="|".join(KeyPlace), help="how the key travels"
    )
    leaf.add_argument("--ca-file", metavar="FILE", help="PEM: the CA that the store's certificate comes from")
    leaf.add_argument("--pinned-key", metavar="HEX", help="SHA-256 of the store's public key (SPKI)")
    leaf.add_argument("--concurrency", type=int, metavar="N", help="most requests at the store at once (default 64)")
    leaf.add_argument(
        "--answer-timeout", type=int, metavar="SECONDS", help="how long the store may be silent (default 300)"
    )


def _tokens(words: Any) -> None:
    create = _leaf(words, "create", tokens.create, "make an API token and print it, once")
    create.add_argument("--name", required=True)
    create.add_argument(
        "--scope", type=Scope, choices=list(Scope), required=True, action="append", metavar="|".join(Scope)
    )
    create.add_argument("--expires-in", type=_duration, metavar="TIME", help="such as 24h or 30d; default never")
    _leaf(words, "list", tokens.list_, "all API tokens of the account")
    _leaf(words, "show", tokens.show, "one API token").add_argument("token")
    update = _leaf(words, "update", tokens.update, "change the name")
    update.add_argument("token")
    update.add_argument("--name", required=True)
    _leaf(words, "revoke", tokens.revoke, "end a token; it stays in the list").add_argument("token")
    _leaf(words, "delete", tokens.delete, "end a token and forget it").add_argument("token")


def _accounts(words: Any) -> None:
    _leaf(words, "create", accounts.create, "make an account").add_argument("name")
    _leaf(words, "list", accounts.list_, "all accounts")
    _leaf(words, "show", accounts.show, "one account").add_argument("name")
    update = _leaf(words, "update", accounts.update, "change the name")
    update.add_argument("old_name", metavar="account")
    update.add_argument("--name", required=True)
    _leaf(words, "delete", accounts.delete, "delete an empty account").add_argument("name")


def _keys(words: Any) -> None:
    _leaf(
        words, "rotate", keys.rotate, "make a new master key and seal everything with it; can be stopped and repeated"
    )
    _leaf(words, "list", keys.list_, "the master keys and how many secrets each seals")
    replace = _leaf(words, "replace-lost", keys.replace_lost, "after the master keys were lost for good: begin anew")
    replace.add_argument("--yes", action="store_true", required=True, help="what the lost keys sealed is given up")


def _audit(words: Any) -> None:
    leaf = _leaf(words, "list", overview.audit_events, "the newest events")
    leaf.add_argument("--subject", metavar="ID", help="only what happened to this one")
    leaf.add_argument("--limit", type=int, default=50)
    leaf.set_defaults(account=None)


def _branch(words: Any, name: str, help_: str) -> Any:
    branch = words.add_parser(name, help=help_, description=help_, allow_abbrev=False)
    return branch.add_subparsers(metavar="COMMAND", required=True)


def _leaf(words: Any, name: str, run: Run, help_: str, *, plain: bool = False) -> argparse.ArgumentParser:
    """A command; a `plain` one is given the settings alone, not an open database."""
    leaf: argparse.ArgumentParser = words.add_parser(name, help=help_, description=help_, allow_abbrev=False)
    leaf.set_defaults(run=run, plain=plain)
    leaf.add_argument("--json", action="store_true", help="machine output")
    leaf.add_argument("--account", default=DEFAULT, help=argparse.SUPPRESS if plain else f"default: {DEFAULT}")
    group = leaf.add_argument_group("settings", "also as POSTERN_RELAY_… in the environment, or in the file")
    group.add_argument("--config", type=Path, metavar="FILE", help="TOML")
    for setting, field in Settings.model_fields.items():
        flag, dest = f"--{setting.replace('_', '-')}", f"setting_{setting}"
        group.add_argument(flag, dest=dest, default=argparse.SUPPRESS, metavar="…", help=field.description)
    return leaf


def _duration(text: str) -> int:
    match = _DURATION.match(text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} should read like 90s, 30m, 24h or 30d")
    return int(match[1]) * _SECONDS[match[2]]
