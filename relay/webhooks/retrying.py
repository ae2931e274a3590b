"""When a delivery that failed is tried again, and when it is given up. Decided without a clock or dice of its own."""

from __future__ import annotations

FIRST_SECONDS = 5.0
FACTOR = 3.0
MOST_SECONDS = 2 * 3600.0
"""Between two tries: an endpoint that is back is not left alone for longer."""
GIVE_UP_SECONDS = 86_400
"""An event is tried for a day, counted from when it came up and not from its first try: those behind it do not wait
for another day each."""
SPREAD = 0.2
"""Delays vary by so much, so that many events that failed together do not come back together."""
RETRY_AFTER_MOST = 86_400


def next_try(*, attempts: int, since: int, now: int, chance: float, retry_after: int | None = None) -> int | None:
    """Unix seconds of the next try; None: it is given up.

    `attempts` have failed so far, the last one just now; the event came up at `since`; `chance` is between 0 and 1.
    An endpoint's `retry_after` (seconds) is never undercut.
    """
    if now - since >= GIVE_UP_SECONDS:
        return None
    steady = min(FIRST_SECONDS * FACTOR ** min(attempts - 1, 20), MOST_SECONDS)
    delay = steady * (1 - SPREAD + 2 * SPREAD * chance)
    at = min(now + max(1, round(delay)), since + GIVE_UP_SECONDS)
    return max(at, now + min(retry_after or 0, RETRY_AFTER_MOST))
