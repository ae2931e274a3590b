"""How a check is told: lines as they come on a terminal, a list for files, one object for programs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from agent import __version__
from agent.failure import CONFIGURATION, DONE, FAILED
from agent.probes.step import Line

NAME_CHARACTERS = 34
"""Room for a name where the longest one is not known yet."""
_COLOURS = {"PASS": "32", "FAIL": "1;31", "SKIP": "2"}


class Telling:
    """Writes to `out` what a person or a program asked for; nothing but the object if `as_json`."""

    def __init__(self, out: TextIO, *, as_json: bool, environment: Mapping[str, str] = os.environ) -> None:
        self._out = out
        self._as_json = as_json
        self._live = out.isatty() and not as_json
        self._colour = self._live and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
        self._began = time.monotonic()

    def hear(self, line: Line) -> None:
        """On a terminal each line appears when its step is over."""
        if self._live:
            self._write(self._lines(line, NAME_CHARACTERS))

    def end(self, lines: Sequence[Line], bundle: Path | None) -> None:
        """Whatever was not told yet."""
        if self._as_json:
            self._write([json.dumps(self._object(lines, bundle), indent=2)])
            return
        if not self._live:
            width = max(len(line.name) for line in lines)
            self._write(text for line in lines for text in self._lines(line, width))
        self._write(self._summary(lines))
        if bundle:
            self._write([f"support archive: {bundle} (look through it before you send it)"])

    def _lines(self, line: Line, width: int) -> Iterator[str]:
        status = f"\033[{_COLOURS[line.status]}m{line.status}\033[0m" if self._colour else line.status
        yield f"{status}  {line.name:<{width}}  {line.detail}"
        if line.remedy:
            yield f"      {'':<{width}}  -> {line.remedy}"

    def _summary(self, lines: Sequence[Line]) -> Iterator[str]:
        counts = {status: sum(line.status == status for line in lines) for status in _COLOURS}
        yield (
            f"\n{counts['PASS']} passed, {counts['FAIL']} failed, {counts['SKIP']} skipped "
            f"in {time.monotonic() - self._began:.1f} s"
        )
        if first := next((line for line in lines if line.status == "FAIL"), None):
            yield f"begin with '{first.name}': what comes after it may mend itself"

    def _object(self, lines: Sequence[Line], bundle: Path | None) -> dict[str, Any]:
        return as_object(lines) | {
            "seconds": round(time.monotonic() - self._began, 1),
            "bundle": str(bundle) if bundle else None,
        }

    def _write(self, texts: Iterator[str] | Sequence[str]) -> None:
        self._out.writelines(f"{text}\n" for text in texts)
        self._out.flush()


def as_object(lines: Sequence[Line]) -> dict[str, Any]:
    """The outcome for programs; its shape is promised in agent/check.py."""
    checks = [
        {"name": line.name, "status": line.status, "ms": line.ms, "detail": line.detail, "remedy": line.remedy or None}
        for line in lines
    ]
    status = verdict(lines)
    return {"ok": status == DONE, "status": status, "version": __version__, "at": round(time.time()), "checks": checks}


def verdict(lines: Sequence[Line]) -> int:
    """The exit status: of failures, one that no retry can mend counts most."""
    failed = [line for line in lines if line.status == "FAIL"]
    return CONFIGURATION if any(line.final for line in failed) else FAILED if failed else DONE
