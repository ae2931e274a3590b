"""Which of two agent processes with one key may stay: a copied state directory shows by their replacing each other."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

SWAPS = 3
"""So many times in SWAP_SECONDS that two processes replace each other in one slot, and they are clones. A restarted
agent is another process each time, and the one before never comes back."""
SWAP_SECONDS = 300.0
PAIRS = 4096
"""Pairs that are remembered."""
RETRY_SECONDS = 60.0
"""When the process that is turned away may look again whether the other is gone."""


@dataclass(slots=True)
class _Pair:
    first: str
    """The process that was there before the other."""
    swaps: dict[int, list[float]] = field(default_factory=dict)
    """By slot, when one replaced the other."""
    flagged: float | None = None
    """Since when, or again when, they are taken for clones."""


class Clones:
    """Pure: told who would replace whom, it answers who may. `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._pairs: OrderedDict[tuple[str, frozenset[str]], _Pair] = OrderedDict()

    def replace(self, instance: str, slot: int, older: str, newer: str) -> bool:
        """Whether process `newer` may take the slot from `older`, who stands there. False: they are clones."""
        now = self._clock()
        pair = self._pair(instance, older, newer)
        times = [at for at in pair.swaps.get(slot, ()) if now - at < SWAP_SECONDS]
        pair.swaps[slot] = [*times, now][-SWAPS:]
        if len(pair.swaps[slot]) >= SWAPS:
            pair.flagged = now
        if pair.flagged is None or now - pair.flagged >= SWAP_SECONDS:
            return True
        pair.flagged = now
        return newer == pair.first

    def suspected(self, instance: str, one: str, other: str) -> bool:
        """Whether these two are taken for clones now."""
        pair = self._pairs.get((instance, frozenset((one, other))))
        return pair is not None and pair.flagged is not None and self._clock() - pair.flagged < SWAP_SECONDS

    def _pair(self, instance: str, older: str, newer: str) -> _Pair:
        key = (instance, frozenset((older, newer)))
        pair = self._pairs.pop(key, None) or _Pair(older)
        self._pairs[key] = pair
        if len(self._pairs) > PAIRS:
            self._pairs.popitem(last=False)
        return pair
