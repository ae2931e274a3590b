"""The way to a store: what breaks on it, and how long of an answer's time was the line's, not the store's."""

from __future__ import annotations

import math
from typing import Protocol

from relay.gateway.limiter import NOTHING_SECONDS

HESITATION = 1 / 4
"""By this part of its round trip a line may take longer at times, without the store having to do with it."""
LIKE = 1.5
"""What takes more times as long as usual, or less, is believed of the store only after a look at the line, …"""
FRESH_SECONDS = 1.0
"""… and so long after it: where a store has too much to do, every answer is like that."""


class Way(Protocol):
    """Of one stream. Times are monotonic seconds."""

    @property
    def lost_code(self) -> str:
        """Asked when the stream broke: the code of the hop that broke it."""

    @property
    def round_trip(self) -> float:
        """Seconds to the shop's network and back, when it was measured last."""

    @property
    def measured_at(self) -> float: ...

    def measure(self) -> None:
        """Have the round trip measured soon."""


class DirectWay:
    """From the relay itself to a store that is near, or as far away as it always is."""

    lost_code = "store_closed_early"
    round_trip = 0.0
    measured_at = math.inf

    def measure(self) -> None:
        """Nobody answers but the store."""


DIRECT = DirectWay()


def store_seconds(way: Way, seconds: float, sent_at: float, usual: float | None) -> float | None:
    """How long the store itself took for what took `seconds` in all; None: it is not known, and is being found out.

    `usual`: what the store usually takes, if it is known. A line may have become slower or quicker since it was
    measured; so what is out of the ordinary counts only where the line was measured lately.
    """
    own = max(0.0, seconds - way.round_trip)
    if usual is None:
        return own
    surely = max(seconds - way.round_trip * (1 + HESITATION), min(own, usual))
    if usual / LIKE - NOTHING_SECONDS < own and surely < usual * LIKE + NOTHING_SECONDS:
        return surely
    if way.measured_at < sent_at:
        way.measure()
    quicker_than_light = seconds < way.round_trip
    return surely if way.measured_at >= sent_at - (0 if quicker_than_light else FRESH_SECONDS) else None
