"""`postern-relay` as a function: words in, exit status and what was printed out."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog

from relay.cli import main

STORE_KEY = "CANARYSTOREKEYCANARYSTOREKEY0123"


@dataclass(frozen=True)
class Ran:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.status == 0, self.err
        assert self.err == ""
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def database_url(request: pytest.FixtureRequest, backend: str) -> Iterator[str | None]:
    """Of a database without rows; None: SQLite, in the state directory."""
    if backend == "sqlite":
        yield None
        return
    template = request.getfixturevalue("postgresql_template")
    with request.getfixturevalue("new_postgresql")(template) as address:
        yield address


@pytest.fixture
def run(
    state: Path,
    database_url: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Run]:
    """Run a command on an installation of its own. `serve` sets up logs for its process, which outlives it here."""
    handlers, level = logging.root.handlers[:], logging.root.level
    monkeypatch.setenv("POSTERN_RELAY_STATE_DIR", str(state))
    if database_url is not None:
        monkeypatch.setenv("POSTERN_RELAY_DATABASE_URL", database_url)

    def command(*words: str, stdin: str = "") -> Ran:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        capsys.readouterr()
        try:
            status = main(list(words))
        except SystemExit as left:
            status = int(left.code or 0)
        return Ran(status, *capsys.readouterr())

    yield command
    structlog.reset_defaults()
    logging.basicConfig(handlers=handlers, level=level, force=True)


@pytest.fixture
def relay(run: Run) -> Run:
    """The same, once `init` has been run."""
    assert run("init").status == 0
    return run


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    path = tmp_path / "store.key"
    path.write_text(f"{STORE_KEY}\n")
    return str(path)
