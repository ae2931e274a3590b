"""What runs as long as the relay does. Without some of it the relay is none: it ends, to be started anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import structlog

log = structlog.get_logger()

AGAIN_SECONDS = 10.0
"""Often enough for work that is hours old at worst, and seldom enough for a log."""


class Background:
    """`on_fault` is called when one of the tasks ends before `stop`."""

    def __init__(self, on_fault: Callable[[], object]) -> None:
        self._on_fault = on_fault
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    def begin(self, steps: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(steps, name=getattr(steps, "__qualname__", None))
        task.add_done_callback(self._note_end)
        self._tasks.append(task)

    def keep(self, steps: Callable[[], Coroutine[None, None, None]]) -> None:
        """What fails is begun again after a while: connectors' requests do not need it."""
        self.begin(_again_and_again(steps))

    def stop(self) -> None:
        """Cancel all; they may take a moment."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()

    async def end(self) -> None:
        """Cancel all and wait for them."""
        self.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error:
            log.critical("a task of the relay has failed", task=task.get_name(), exc_info=error)
        if not self._stopping:
            self._on_fault()


async def _again_and_again(steps: Callable[[], Coroutine[None, None, None]]) -> None:
    while True:
        try:
            await steps()
        except Exception:
            log.exception(
                "a task of the relay has failed, and is begun again", task=getattr(steps, "__qualname__", None)
            )
        await asyncio.sleep(AGAIN_SECONDS)
