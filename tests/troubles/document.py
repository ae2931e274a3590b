"""Writes docs/TROUBLES.md from the cells and the sentences: `python -m tests.troubles.document`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from relay.prestashop.hops import GATEWAY_CODES, TLS_CODES
from relay.prestashop.remedies import NOTES, REMEDIES, UNVERIFIED, Remedy
from tests.troubles.cells import (
    ADDRESS,
    AGENT,
    BUSY,
    CELLS,
    FAULT,
    GUARDED,
    KEY,
    PASSING,
    SLOW,
    TUNNEL,
    WAY,
    WEBSERVICE,
    Cell,
)

FILE = Path(__file__).parents[2] / "docs" / "TROUBLES.md"
INTRODUCTION = """\
# What a connection test says

`postern-relay connections test NAME_OR_ID`, or `POST /v1/connections/{id}/test`, walks from the relay to the store's
webservice hop by hop and stops at the first that fails. `POST /v1/connections/test` does the same for a form that is
not saved yet. It only reads.

The hops: `agent`, `online`, `published` (mode on-premise), `name`, `tcp`, `tls` (https), `http`, `webservice`, `key`,
`permissions`. A failed hop comes with a stable `code` and with a sentence that says what to do, in English and in
French; "…" below stands for the particulars. Where one change of the connection would mend it, the report has it as
`offer`, to be accepted with an ordinary PATCH (another `store_url` needs `api_key` again).

A test takes at most a minute; one runs per connection, four per account. No report repeats the store's key.

Only the relay that serves holds the tunnels, so the command has it do the walking: it asks the relay at `HTTP`, else at
`PUBLIC_URL`, with an API token that it makes for this one call and deletes after it. Where no relay serves it says so,
with exit status 1. Whoever asked, a saved connection remembers whether its key worked (`key_works`, `key_checked_at`),
as far as the test came to it. Forwarding uses what was accepted of an offer: where the key travels, the shop's folder.
"""
CLOSING = """\
Grants that Postern's own actions and triggers need and the key lacks are listed under `permissions.missing`, by
resource and method; connectors that bring their own requests may not need them.
"""
Row = tuple[str, str, str]
BUSY_ROWS: list[Row] = [(trouble, step, code) for trouble, step, code, _ in BUSY]


def text() -> str:
    """The whole file."""
    parts = [
        INTRODUCTION,
        *_section("The agent", [*AGENT, *TUNNEL]),
        *_section("The way to the store", [*_rows((*WAY, *SLOW)), *GUARDED, *BUSY_ROWS, *FAULT]),
        *_section("The address, and what stands before the shop", _rows(ADDRESS)),
        *_section("The webservice", _rows(WEBSERVICE)),
        *_section("The key", _rows(KEY)),
        *_notes(),
        CLOSING,
    ]
    return "\n".join(parts)


def codes() -> set[str]:
    """Those that have a row."""
    rows = [*AGENT, *TUNNEL, *GUARDED, *BUSY_ROWS, *FAULT, *_rows((*CELLS, *SLOW))]
    return {code for _, _, code in rows}


def every_code() -> set[str]:
    """Those that a report can have."""
    return {*REMEDIES, *GATEWAY_CODES, *TLS_CODES, "store_error"}


def _rows(cells: Iterable[Cell]) -> list[Row]:
    return [(cell.trouble, cell.step, cell.code) for cell in cells]


def _section(title: str, rows: Iterable[Row]) -> Iterator[str]:
    yield f"## {title}\n"
    yield "| trouble | hop | code | what to do |\n|---|---|---|---|"
    for trouble, step, code in rows:
        yield f"| {trouble} | `{step}` | `{code}` | {_sentence(REMEDIES.get(code, UNVERIFIED))} |"
    yield ""


def _notes() -> Iterator[str]:
    yield "## A test that passed, with notes\n"
    yield "| trouble | code | what to do |\n|---|---|---|"
    produced = {code: trouble for trouble, code, _ in PASSING} | {"json_fails": "JSON answers do not arrive whole"}
    for code, remedy in NOTES.items():
        yield f"| {produced[code]} | `{code}` | {_sentence(remedy)} |"
    yield ""


def _sentence(remedy: Remedy) -> str:
    return remedy.about("…").en.replace("|", "\\|")


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
