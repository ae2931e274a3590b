"""`postern-relay` that looks at stores, and alerts, in seconds instead of minutes."""

from __future__ import annotations

import importlib
import sys

HASTE: dict[str, dict[str, float]] = {
    "relay.health.store_schedule": {
        "BARE_SECONDS": 1.0,
        "KEYED_SECONDS": 1.5,
        "CONFIRM_SECONDS": 0.3,
        "BROKEN_SECONDS": 0.5,
        "REFUSED_SECONDS": 0.5,
        "AGENT_SECONDS": 0.1,
        "FIRST_SECONDS": 0.1,
    },
    "relay.health.store_looking": {"LATELY_SECONDS": 0.0},
    "relay.health.alert_rules": {"GRACE_SECONDS": 2, "START_SECONDS": 4},
}


def hurry() -> None:
    """Before any other module of these is imported, which take the numbers over by name."""
    for module, numbers in HASTE.items():
        known = vars(importlib.import_module(module))
        assert numbers.keys() <= known.keys()
        known.update(numbers)


if __name__ == "__main__":
    hurry()
    sys.exit(importlib.import_module("relay.cli").main())
