"""A hop between agents and the relay's SSH port that a test lets pass, swallows bytes at, or cuts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.lab.line import Proxy
from tests.system.programs import HOST


class Hop:
    """The lab's line in a thread of its own."""

    def __init__(self, listen: int, to: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._line = Proxy((HOST, listen), (HOST, to))
        self._thread = threading.Thread(target=self._loop.run_forever)

    @property
    def connections(self) -> int:
        return len(self._line.connections)

    def swallow(self) -> None:
        """From now on nothing comes through, and nobody is told."""
        self._call(self._line.blackhole)

    def swallow_old(self) -> None:
        """The same for the connections that stand; new ones come through."""
        self._call(self._line.blackhole_old)

    def pass_on(self) -> None:
        self._call(self._line.resume)

    def cut(self) -> None:
        """Reset what stands."""
        self._call(self._line.cut)

    def _call(self, act: Callable[[], object]) -> None:
        async def run() -> None:
            act()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(5)

    @contextmanager
    def running(self) -> Iterator[Hop]:
        self._thread.start()
        self._call(self._line.listen)
        try:
            yield self
        finally:
            self._call(self._line.close)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
