"""Bad input to `postern-relay`: one plain sentence, the right exit status, never a traceback, no secret repeated."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from tests.system.bad_input import (
    CONFIGURATION,
    FAILED,
    KEY,
    PASSWORD,
    USAGE,
    Case,
    Ground,
    at,
    check,
    command,
    connect,
    file,
    folder,
    on_a_copy,
    program,
    running,
    serve,
    spoiled_folder,
)
from tests.system.programs import HOST, RELAY, Finished, free_ports, problem_of

NOBODY = "aaaaaaaaaaaaaaaa"

COMMAND_LINES = [
    "",
    "fly",
    "serve --nonsense",
    "tokens create --name x --scope everything",
]

SETTINGS = [
    ("http", "127.0.0.1:99999", "HTTP"),
    ("http", "0.0.0.0:0", "PUBLIC_URL"),
    ("public_url", "http://relay.example.com", "PUBLIC_URL"),
    ("public_url", f"https://user:{PASSWORD}@relay.example.com", "PUBLIC_URL"),
    ("public_ssh", "relay.example.com", "PUBLIC_SSH"),
    ("database_url", f"mysql://x:{PASSWORD}@y/z", "sqlite"),
]

STATE_DIRECTORIES = {
    "a file": (file("r-file", ""), "r-file"),
    "open to all": (folder("r-open", 0o777), "chmod 700"),
    "read-only": (folder("r-read-only", 0o500), "r-read-only"),
    "with a damaged database": (spoiled_folder("damaged/relay.db", "no database" * 999, 0o600), "relay.db"),
    "with a read-only database": (spoiled_folder("locked/relay.db", "", 0o400), "relay.db"),
    "with a directory for a database": (spoiled_folder("dir-db/relay.db/x", "", 0o600, up=2), "relay.db"),
    "of another relay": (lambda ground: ground.road.state_dir, "another relay"),
}

NOTHING_THERE = [
    ("agents revoke nobody", "nobody"),
    (f"agents show agt_{NOBODY}", NOBODY),
    (f"connections delete con_{NOBODY}", NOBODY),
    ("accounts create default", "default"),
    ("agents delete main", "connection"),
]

STORES = {
    "ftp://shop.lan": "http",
    f"http://user:{PASSWORD}@shop.lan": "user name",
    "": "address",
    "http://": "host name",
    "http://shop.lan:70000": "port",
    "http://sh op.lan": "blanks",
    "http://shop.lan/a/../b": "path",
}

CASES = {
    **{f"command line {line!r}": Case(program(RELAY, *line.split()), USAGE) for line in COMMAND_LINES},
    **{f"{name} {value}": Case(serve({name: value}), CONFIGURATION, (word,)) for name, value, word in SETTINGS},
    "in the environment": Case(serve({}, {"POSTERN_RELAY_PUBLIC_SSH": "x"}), CONFIGURATION, ("PUBLIC_SSH",)),
    "an address elsewhere": Case(serve({"ssh": "192.0.2.1:2222"}), FAILED, ("192.0.2.1:2222",)),
    "no configuration": Case(serve({"config": at("gone.toml")}), CONFIGURATION, ("gone.toml",)),
    "an unknown setting": Case(serve({"config": file("u.toml", 'htpp = "x"')}), CONFIGURATION, ("HTPP",)),
    **{
        f"state directory {name}": Case(
            serve({"state_dir": path}), FAILED if name == "of another relay" else CONFIGURATION, (word,)
        )
        for name, (path, word) in STATE_DIRECTORIES.items()
    },
    "master keys gone": Case(on_a_copy("gone", None), CONFIGURATION, ("key",)),
    "master keys open": Case(on_a_copy("open", lambda good: good, 0o644), CONFIGURATION, ("chmod 600",)),
    "master keys damaged": Case(on_a_copy("damaged", lambda good: good[::-1]), CONFIGURATION, ("master.keys",)),
    **{line: Case(command(*line.split()), FAILED, (word,)) for line, word in NOTHING_THERE},
    "an unknown agent": Case(connect(agent=f"agt_{NOBODY}"), FAILED, (f"agt_{NOBODY}",)),
    "no agent": Case(connect(agent=None), USAGE, ("agent",)),
    "an agent in the cloud": Case(connect(mode="cloud"), USAGE, ("agent",)),
    "a short key": Case(connect(api_key_file=file("short", KEY[:31])), USAGE, ("32", "31")),
    "a long key": Case(connect(api_key_file=file("long", KEY + "K")), USAGE, ("32", "33")),
    "an odd key": Case(connect(api_key_file=file("odd", KEY[:31] + "!")), USAGE, ("letters and digits",)),
    "no key": Case(connect(api_key_file=at("no-key")), FAILED, ("no-key",)),
    "no CA": Case(connect(ca_file=at("key")), USAGE, ("PEM",)),
    "no pin": Case(connect(pinned_key="abc"), USAGE, ("64",)),
    **{f"store {url!r}": Case(connect(store_url=url), USAGE, (word,)) for url, word in STORES.items()},
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


def test_nothing_came_of_any_of_it(ground: Ground, finished: dict[str, Future[Finished]]) -> None:
    """No connection was made, nothing was revoked or deleted, and the road still works."""
    for each in finished.values():
        each.exception()
    names = {item["name"] for item in ground.road.api("GET", "/v1/connections").json["items"]}
    assert not [name for name in names if name.startswith("bad")]
    assert ground.connection.ask("/api/orders?limit=1").status == 200


@pytest.mark.parametrize("which", ["http", "ssh"])
def test_a_port_that_is_taken(ground: Ground, which: str) -> None:
    """1 (it may be free later), and which address it is."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        address = f"{HOST}:{taken.getsockname()[1]}"
        done = serve({which: address})(ground)
    check(ground, Case(serve({}), FAILED, (address, "in use")), done)


def test_a_database_server_that_is_not_there(ground: Ground) -> None:
    """PostgreSQL's address with nobody behind it: a sentence without its password, and not 0."""
    (port,) = free_ports(1)
    done = serve({}, {"POSTERN_RELAY_DATABASE_URL": f"postgresql://relay:{PASSWORD}@{HOST}:{port}/relay"})(ground)
    assert done.status in {FAILED, CONFIGURATION}, str(done)
    problem_of(done, "postern-relay")
    assert PASSWORD not in done.err + done.out
