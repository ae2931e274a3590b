"""How the agent speaks while it runs: readable on a terminal, JSON elsewhere; text from outside cut and escaped."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Hashable

import structlog

REPEAT_SECONDS = 60.0
"""The same trouble is told once in this time."""
TROUBLES = 256
"""Troubles remembered at once; the oldest is forgotten first."""


def set_up() -> None:
    """Send our own lines, and the warnings of the libraries below us, to standard error in one shape."""
    terminal = sys.stderr.isatty()
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendered: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if terminal
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[*shared, *rendered],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def printable(text: str, limit: int = 120) -> str:
    """Text from outside as it may stand in a log or a message: cut, and nothing in it that a terminal would obey."""
    cut = text if len(text) <= limit else text[:limit] + "…"
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in cut)


class Sparingly:
    """Decides whether a trouble that repeats itself is told again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[Hashable, float] = {}

    def __call__(self, trouble: Hashable) -> bool:
        now = self._clock()
        if now - self._told.get(trouble, -REPEAT_SECONDS) < REPEAT_SECONDS:
            return False
        self._told.pop(trouble, None)
        if len(self._told) >= TROUBLES:
            del self._told[next(iter(self._told))]
        self._told[trouble] = now
        return True
