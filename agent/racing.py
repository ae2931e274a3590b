"""Which way to a node is tried first, when the others follow, and which one worked last: remembered across restarts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from agent.dialling import PathError, Runner, race
from agent.failure import said
from agent.logs import printable
from agent.reconnect import ALONE_SECONDS
from agent.transports import Dialer, TicketRefusedError
from agent.wire.carrier import Dialled
from agent.wire.enrolment import Endpoint
from agent.wire.limits import DIAL_SECONDS
from agent.wire.ssh import FIRST_VERSION

HEAD_START_SECONDS = 1.0
"""Of the first way over the second: three round trips (name, TCP, the relay's first line) of 300 ms; a way that is
blocked costs no more than this. The third follows as much later."""
RACE_SECONDS = 2 * DIAL_SECONDS - ALONE_SECONDS
"""Longer than a dial, so that whoever needs all of one's time has it; a new race follows."""
ROUNDS = int(RACE_SECONDS / ALONE_SECONDS)
SPOILT_SECONDS = 600.0
"""How long a way over which no login came about is tried after the others."""
REMEMBERED_BYTES = 4096
PATHS = "paths.json"
_ORDER = ("tcp", "websocket")
"""TCP needs no TLS around the SSH and no proxy at the relay's end."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Won:
    """A way that stands: SSH can begin on it."""

    dialled: Dialled
    endpoint: Endpoint


class Paths:
    """Which transport carried the last tunnel, and over which SSH did not get through just now."""

    def __init__(self, directory: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """`directory`: where to remember. What cannot be read there is not remembered."""
        self._file = directory / PATHS if directory else None
        self._clock = clock
        self._spoilt: dict[str, float] = {}
        self.last = _ORDER[0]
        if self._file:
            with contextlib.suppress(OSError, ValueError):
                with self._file.open("rb") as file:
                    told = json.loads(file.read(REMEMBERED_BYTES))
                self.last = told["last"] if isinstance(told, dict) and told.get("last") in _ORDER else self.last

    def order(self, endpoints: Iterable[Endpoint], avoid: Collection[str] = ()) -> list[Endpoint]:
        """The endpoints in the order in which they are tried.

        First those over which SSH was not lost just now, then those whose transport is not in `avoid`, then the
        transport that worked last.
        """
        now = self._clock()
        spoilt = {transport for transport, at in self._spoilt.items() if now - at < SPOILT_SECONDS}

        def rank(endpoint: Endpoint) -> tuple[bool, bool, bool, int]:
            transport = endpoint.transport
            return transport in spoilt, transport in avoid, transport != self.last, _ORDER.index(transport)

        return sorted(endpoints, key=rank)

    def stood(self, transport: str, avoid: Collection[str] = ()) -> None:
        """A tunnel stands over it. It is remembered as the first, if it was free to be another one."""
        self._spoilt.pop(transport, None)
        if avoid or transport == self.last:
            return
        self.last = transport
        if self._file:
            fresh = self._file.with_name(f".{PATHS}.new")
            try:
                fresh.write_text(json.dumps({"last": transport}) + "\n")
                fresh.replace(self._file)
            except OSError as error:
                log.warning("the transport that works is not remembered", file=str(self._file), reason=error.strerror)

    def spoilt(self, transport: str) -> None:
        """It stood, and no SSH login came about over it: others are tried first for a while."""
        if len(self._spoilt) + 1 == len(_ORDER):
            self._spoilt.clear()
        self._spoilt[transport] = self._clock()


class RacingDialer:
    """Dials all ways to one node in parallel, each with a head start over the next; a new round every 2 s."""

    def __init__(self, dialers: Mapping[str, Dialer], paths: Paths) -> None:
        self.paths = paths
        self._dialers = dialers

    @property
    def transports(self) -> Collection[str]:
        """What can be dialled."""
        return self._dialers.keys()

    async def dial(
        self, endpoints: Sequence[Endpoint], version: str = FIRST_VERSION, avoid: Collection[str] = ()
    ) -> Won:
        """The first way that stands, within RACE_SECONDS; all others are closed.

        `avoid`: transports on which another tunnel to this node stands: they come last. Tell `paths` afterwards what
        became of it (`stood`, `spoilt`). Raises PathError, which says of each way what is wrong with it; it is a
        TicketRefusedError where a new enrolment is needed.
        """
        usable = [endpoint for endpoint in endpoints if endpoint.transport in self._dialers]
        failures: dict[Endpoint, OSError] = {}
        runners = [
            Runner(partial(self._dial, endpoint, version, failures), round_ * ALONE_SECONDS + after, round_)
            for round_ in range(ROUNDS)
            for endpoint, after in starts(self.paths.order(usable, avoid))
        ]
        runners.sort(key=lambda runner: runner.after)
        try:
            async with asyncio.timeout(RACE_SECONDS):
                return await race(runners, lambda won: won.dialled.abandon())
        except OSError:
            raise _told(failures, usable) from None

    async def _dial(self, endpoint: Endpoint, version: str, failures: dict[Endpoint, OSError]) -> Won:
        """A way on which somebody said no is not tried again in the same race."""
        before = failures.get(endpoint)
        if isinstance(before, PathError) and before.refused:
            raise before
        try:
            return Won(await self._dialers[endpoint.transport].dial(endpoint, version), endpoint)
        except OSError as error:
            failures[endpoint] = error
            raise


def starts(endpoints: Sequence[Endpoint]) -> list[tuple[Endpoint, float]]:
    """Each with its start in seconds; endpoints of the same transport share the head start over the next one."""
    kinds = list(dict.fromkeys(endpoint.transport for endpoint in endpoints))
    return [(endpoint, kinds.index(endpoint.transport) * HEAD_START_SECONDS) for endpoint in endpoints]


def _told(failures: Mapping[Endpoint, OSError], endpoints: Sequence[Endpoint]) -> PathError:
    """All that is wrong, as one error."""
    if not endpoints:
        return PathError("the relay names no way to it that this version knows", refused=True)
    known = [(endpoint, failures.get(endpoint)) for endpoint in endpoints]
    refused = all(isinstance(error, PathError) and error.refused for _, error in known)
    stale = any(isinstance(error, TicketRefusedError) for _, error in known)
    kind: type[PathError] = TicketRefusedError if stale else PathError
    waits = [error.retry_after for _, error in known if isinstance(error, PathError) and error.retry_after is not None]
    return kind(
        "; ".join(dict.fromkeys(_sentence(endpoint, error) for endpoint, error in known)),
        refused=refused or stale,
        retry_after=min(waits, default=None),
    )


def _sentence(endpoint: Endpoint, error: OSError | None) -> str:
    where = f"{printable(endpoint.host)}:{endpoint.port}"
    if isinstance(error, PathError):
        return str(error)
    if error is None or isinstance(error, TimeoutError):
        return f"{where} does not answer: does the firewall let this machine out to it?"
    return f"{where} cannot be reached: {said(error)}"
