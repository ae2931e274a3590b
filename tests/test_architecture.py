"""The sentences about the house (who may import whom, who alone knows what), held true by walking the imports."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("api", "console", "metrics", "health", "prestashop", "webhooks", "gateway", "tunnels")
"""Inside relay, an arrow may only lead from a room to one further right; `database` and `cluster` are leaves."""
LEAVES = ("database", "cluster")
LINES_PER_MODULE = 400
LINES_PER_FUNCTION = 60


def modules(*packages: str) -> Iterator[tuple[str, Path]]:
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def offenders(package: str, forbidden: tuple[str, ...], *, allowed: tuple[str, ...] = ()) -> list[str]:
    """Imports in `package` of anything under `forbidden` that is not under `allowed`."""

    def under(name: str, roots: tuple[str, ...]) -> bool:
        return any(name == root or name.startswith(root + ".") for root in roots)

    return [
        f"{module} imports {name}"
        for module, path in modules(*package.split())
        for name in imports(path)
        if under(name, forbidden) and not under(name, allowed)
    ]


def test_relay_knows_only_the_wire_of_the_agent() -> None:
    """The relay imports agent.wire and nothing else of agent."""
    found = [line for line in offenders("relay", ("agent",), allowed=("agent.wire",)) if not line.endswith(" agent")]
    assert found == []


def test_agent_never_imports_the_relay() -> None:
    """The agent installs without the relay's parts."""
    assert offenders("agent", ("relay",)) == []


def test_the_wire_imports_nothing_of_ours() -> None:
    """agent.wire stands alone."""
    assert offenders("agent/wire", ("agent", "relay"), allowed=("agent.wire",)) == []


@pytest.mark.parametrize("room", ROOMS)
def test_arrows_lead_one_way(room: str) -> None:
    """api, console → health → prestashop → gateway → tunnels: no room imports one to its left."""
    left = tuple(f"relay.{other}" for other in ROOMS[: ROOMS.index(room)] if {room, other} != {"api", "console"})
    assert offenders(f"relay/{room}", left) == []


@pytest.mark.parametrize("leaf", LEAVES)
def test_leaves_import_no_room(leaf: str) -> None:
    """database and cluster know no other room."""
    assert offenders(f"relay/{leaf}", tuple(f"relay.{room}" for room in ROOMS)) == []


@pytest.mark.parametrize("room", ["gateway", "tunnels", "prestashop", "webhooks", "health"])
def test_the_hot_path_knows_no_database(room: str) -> None:
    """health, prestashop, gateway and tunnels reach data through Protocols only."""
    assert offenders(f"relay/{room}", ("relay.database", "relay.cluster")) == []


def test_nobody_imports_the_wiring() -> None:
    """relay.app wires, and only the command line starts it."""
    found = [line for line in offenders("relay agent tests", ("relay.app",)) if not line.startswith("relay.cli")]
    assert found == []


@pytest.mark.parametrize(
    ("library", "room"),
    [("asyncssh", "relay.tunnels"), ("sqlalchemy", "relay.database"), ("alembic", "relay.database")],
)
def test_each_library_has_one_room(library: str, room: str) -> None:
    """relay.tunnels is the only importer of asyncssh, relay.database of SQLAlchemy and Alembic."""
    assert [line for line in offenders("relay", (library,)) if not line.startswith(room)] == []


def test_the_agent_stays_small() -> None:
    """Nothing of the relay's libraries is imported by the agent."""
    theirs = ("fastapi", "uvicorn", "uvloop", "httptools", "sqlalchemy", "aiosqlite", "alembic", "psycopg",
              "prometheus_client", "jinja2", "nats", "starlette")  # fmt: skip
    assert offenders("agent", theirs) == []


def test_modules_and_functions_can_be_read() -> None:
    """No module above 400 lines, no function above 60."""
    long = []
    for module, path in modules("agent", "relay"):
        text = path.read_text()
        if text.count("\n") > LINES_PER_MODULE:
            long.append(f"{module}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > LINES_PER_FUNCTION:
                    long.append(f"{module}.{node.name}: {lines} lines")
    assert long == []


def test_every_module_says_what_it_alone_knows() -> None:
    """A file opens with one docstring."""
    bare = [module for module, path in modules("agent", "relay") if not ast.get_docstring(ast.parse(path.read_text()))]
    assert [module for module in bare if not module.startswith("relay.database.migrations.versions")] == []
