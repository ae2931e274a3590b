"""What a step of a check is: a deadline, an outcome as one line with its remedy, and that later steps build on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from agent.failure import said

STEP_SECONDS = 5.0
"""Deadline of one step."""

T = TypeVar("T")
Status = Literal["PASS", "FAIL", "SKIP"]


@dataclass(frozen=True, slots=True)
class Line:
    """The outcome of one step. `final`: a failure with which `run` would end, since no retry can mend it."""

    name: str
    status: Status
    detail: str
    remedy: str = ""
    ms: int = 0
    final: bool = False


class StepError(Exception):
    """A step failed: what was seen, and what to do."""

    def __init__(self, detail: str, remedy: str, *, final: bool = False) -> None:
        super().__init__(detail)
        self.remedy = remedy
        self.final = final


class StepSkipped(Exception):  # noqa: N818 - nothing is wrong
    """A step turned out to have nothing to look at; the steps after it may go on."""


Work = Callable[[], Awaitable[tuple[T, str]]]
"""What a step does: its result for the steps after it, and what to say of it."""


def _unheard(_line: Line) -> None:
    pass


@dataclass(slots=True)
class Chain:
    """Steps that build on each other: after one that failed, the others are skipped. `tell` hears each line at once."""

    subject: str = ""
    tell: Callable[[Line], object] = _unheard
    lines: list[Line] = field(default_factory=list)
    broken: str = ""
    doing: str = ""
    """The step that is being done."""

    async def step(self, name: str, work: Work[T], remedy: str, *, seconds: float = STEP_SECONDS) -> T | None:
        """Do one step. The result is None if it failed or was skipped; `remedy` is for what the system says no to."""
        self.doing = name
        if self.broken:
            self.skip(name, f"not tried, since '{self._named(self.broken)}' failed")
            return None
        began = time.monotonic()
        try:
            async with asyncio.timeout(seconds):
                result, detail = await work()
        except StepSkipped as skipped:
            self.skip(name, str(skipped))
        except TimeoutError:
            self.fail(name, f"no answer within {seconds:.0f} s", remedy, ms=since(began))
        except StepError as error:
            self.fail(name, str(error), error.remedy, ms=since(began), final=error.final)
        except OSError as error:
            self.fail(name, said(error), remedy, ms=since(began))
        else:
            self.succeed(name, detail, ms=since(began))
            return result
        return None

    def succeed(self, name: str, detail: str, *, ms: int = 0) -> None:
        self._add(Line(self._named(name), "PASS", detail, ms=ms))

    def skip(self, name: str, why: str) -> None:
        self._add(Line(self._named(name), "SKIP", why))

    def fail(self, name: str, detail: str, remedy: str, *, ms: int = 0, final: bool = False) -> None:
        self.broken = name
        self._add(Line(self._named(name), "FAIL", detail, remedy, ms, final))

    def stop(self, seconds: float) -> None:
        """The time for all is over, and this chain is not through."""
        self.fail(self.doing or "start", f"not done when the {seconds:.0f} s for all were over", "check again")

    def _add(self, line: Line) -> None:
        self.doing = ""
        self.lines.append(line)
        self.tell(line)

    def _named(self, name: str) -> str:
        return f"{self.subject} {name}".strip()


def since(began: float) -> int:
    """Milliseconds since a moment of time.monotonic()."""
    return round((time.monotonic() - began) * 1000)
