"""Files beside the database: theirs who owns the directory, whoever makes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from relay.database import files
from relay.database.errors import DatabaseUnusable

SERVICE = (4711, 4712)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Root is at work in the service's directory; the names of what it has given to the service."""
    names = []
    real = Path.stat

    def stat(self: Path, **how: bool) -> os.stat_result:
        found = real(self, **how)
        return os.stat_result((*found[:4], *SERVICE, *found[6:])) if self.is_relative_to(tmp_path) else found

    def chown(made: int | Path, user: int, group: int, *, follow_symlinks: bool) -> None:
        assert (user, group, follow_symlinks) == (*SERVICE, isinstance(made, int))
        names.append((Path(f"/proc/self/fd/{made}").readlink() if isinstance(made, int) else Path(made)).name)

    monkeypatch.setattr(Path, "stat", stat)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "chown", chown)
    return names


def test_what_root_makes_is_the_services(given: list[str], tmp_path: Path) -> None:
    """Directories, the database, its lock and the master keys; what is there already stays whose it is."""
    tmp_path.chmod(0o700)
    database = tmp_path / "state" / "relay.db"
    for _ in range(2):
        files.make_private_directory(tmp_path / "state" / "keys")
        files.prepare_database_file(database)
        with files.serving(database):
            pass
    assert given == ["state", "keys", "relay.db", "relay.db.serving"]
    files.write_secret_file(tmp_path / "state" / "keys" / "master.keys", "text")
    assert given[4].startswith(".master.keys.")


def test_nobody_else_gives_anything(given: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who is not root owns what it makes."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    files.make_private_directory(tmp_path / "keys")
    files.write_secret_file(tmp_path / "keys" / "master.keys", "text")
    assert given == []


def test_a_link_to_nowhere_makes_nothing(given: list[str], tmp_path: Path) -> None:
    """Whoever owns the directory could have root make a file anywhere, and be given it."""
    tmp_path.chmod(0o700)
    elsewhere, database = tmp_path / "elsewhere", tmp_path / "relay.db"
    database.symlink_to(elsewhere)
    with pytest.raises(DatabaseUnusable, match="cannot write the database"):
        files.prepare_database_file(database)
    database.with_name("relay.db.serving").symlink_to(elsewhere)
    with pytest.raises(DatabaseUnusable, match="cannot write"), files.serving(database):
        pass
    assert (given, elsewhere.exists()) == ([], False)


def test_a_directory_that_cannot_be_looked_into(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A sentence, no traceback."""

    def refuse(*_: object, **__: object) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    with pytest.raises(DatabaseUnusable, match="Permission denied"):
        files.make_private_directory(tmp_path / "keys")
