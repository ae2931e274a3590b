"""`postern-relay` with one bound lowered to 1, patience for answers of 2 s, and a fault: `lowered_relay BOUND serve …`.

The bound is named as `relay.gateway.gateway.IN_FLIGHT`. The fault meets requests of connections with one name.
"""

from __future__ import annotations

import importlib
import sys

from relay import cli
from relay.gateway.exchange import Exchange
from relay.gateway.gateway import Gateway
from relay.prestashop.connection_test import ConnectionTest
from tests.troubles.cells import FAULT

ANSWER_SECONDS = 2.0

_look_again = Gateway._look_again


async def look_again(gateway: Gateway, exchange: Exchange) -> None:
    if exchange.connection and exchange.connection.name == FAULT[0][0]:
        raise RuntimeError("what nobody foresaw")
    await _look_again(gateway, exchange)


def lower(bound: str) -> None:
    module, _, name = bound.rpartition(".")
    vars(importlib.import_module(module))[name] = 1


if __name__ == "__main__":
    lower(sys.argv.pop(1))
    Gateway._look_again = look_again  # type: ignore[assignment,method-assign]  # this is the fault
    defaults = ConnectionTest.__init__.__kwdefaults__
    assert defaults is not None
    defaults["answer_seconds"] = ANSWER_SECONDS
    sys.exit(cli.main())
