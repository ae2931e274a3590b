"""Which hosts are this very machine."""

from __future__ import annotations

import pytest

from agent.wire.loopback import is_loopback, means_loopback


@pytest.mark.parametrize(
    ("host", "sure", "meant"),
    [
        ("127.0.0.1", True, True),
        ("127.9.9.9", True, True),
        ("::1", True, True),
        ("localhost", True, True),
        ("shop.localhost", False, True),
        ("localhost.lan", False, False),
        ("notlocalhost", False, False),
        ("192.0.2.7", False, False),
        ("fe80::1", False, False),
        ("", False, False),
    ],
)
def test_a_name_below_localhost_means_this_machine_and_is_not_sure_to_be_it(host: str, sure: bool, meant: bool) -> None:
    """A name server may send it elsewhere: what must not leave the machine asks for the sure ones."""
    assert (is_loopback(host), means_loopback(host)) == (sure, meant)
