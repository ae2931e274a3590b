"""How many requests may wait for a tunnel."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from relay.gateway.errors import GatewayError
from relay.gateway.holding import Holding


def test_each_account_has_its_share_and_all_have_a_bound() -> None:
    """The account that exceeds its own is refused first; places are given back, also after an error."""
    holding = Holding(in_all=5, each=3)
    with ExitStack() as stack:
        for account in ("acc_a", "acc_a", "acc_a", "acc_b"):
            stack.enter_context(holding.one(account))
        with pytest.raises(GatewayError, match="account_busy"), holding.one("acc_a"):
            raise AssertionError
        stack.enter_context(holding.one("acc_b"))
        with pytest.raises(GatewayError, match="relay_overloaded"), holding.one("acc_c"):
            raise AssertionError
    with pytest.raises(ZeroDivisionError), holding.one("acc_a"):
        _ = 1 // 0
    assert not holding._held
    assert holding._total == 0
