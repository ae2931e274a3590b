"""Takes events to their endpoints: each trigger's in order, many triggers at once, until they are done or given up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import structlog

from relay.lanes import LOOK_SECONDS, work_off
from relay.trigger_records import DeskAwayError, Lease, LeaseLostError, Parcel
from relay.webhooks.retrying import next_try
from relay.webhooks.sending import Outcome, Post, Verdict

log = structlog.get_logger()

LANES = 32
"""Deliveries of this node at once; the outbox sees to it that no account and no host has all of them."""


class Outbox(Protocol):
    """Where parcels wait. What tells of a parcel raises LeaseLostError when it is no longer this node's."""

    async def claim(self, most: int, /) -> list[Parcel]: ...

    async def done(self, lease: Lease, /) -> None: ...

    async def dead(self, lease: Lease, why: str, /) -> None: ...

    async def again(self, lease: Lease, why: str, next_at: int, /) -> None: ...

    async def gone(self, lease: Lease, why: str, /) -> None: ...


class Delivering:
    """`clock` is unix seconds, `chance` a number between 0 and 1."""

    def __init__(self, outbox: Outbox, post: Post, *, clock: Callable[[], float], chance: Callable[[], float]) -> None:
        self._outbox = outbox
        self._post = post
        self._clock = clock
        self._chance = chance

    async def run(self, *, look_seconds: float = LOOK_SECONDS) -> None:
        """Until cancelled."""
        await work_off(self._outbox.claim, self.deliver, lanes=LANES, look_seconds=look_seconds)

    async def deliver(self, parcel: Parcel) -> None:
        """Send one parcel, and write down what came of it."""
        verdict = await self._post.send(parcel)
        try:
            await self._note(parcel, verdict)
        except LeaseLostError:
            log.info("an event was taken over, or is gone", parcel=parcel.lease.subject, trigger=parcel.trigger)
        except DeskAwayError as error:
            log.warning("an event is sent once more", parcel=parcel.lease.subject, reason=str(error))

    async def _note(self, parcel: Parcel, verdict: Verdict) -> None:
        lease = parcel.lease
        if verdict.outcome is Outcome.DONE:
            await self._outbox.done(lease)
            return
        log.info("delivery failed", parcel=lease.subject, trigger=parcel.trigger, why=verdict.why)
        if verdict.outcome is Outcome.GONE:
            await self._outbox.gone(lease, verdict.why)
            return
        next_at = next_try(
            attempts=parcel.attempts + 1,
            since=parcel.since,
            now=int(self._clock()),
            chance=self._chance(),
            retry_after=verdict.retry_after,
        )
        if next_at is None:
            await self._outbox.dead(lease, verdict.why)
        else:
            await self._outbox.again(lease, verdict.why, next_at)
