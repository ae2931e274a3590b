"""A tunnel that has forgotten its login works as before."""

from __future__ import annotations

import asyncio
import os

import pytest

from relay.tunnels.slimming import Ending, slim_channel, slim_connection
from tests.agent.wire.pair import Gathering, tunnel


@pytest.mark.parametrize("initiator", ["relay", "agent"])
async def test_keys_are_exchanged_again_and_the_end_is_heard(initiator: str) -> None:
    """Whichever end begins it; channels carry on over it, and whoever waits for the end is told."""
    rekeying = {f"{initiator}_options": {"rekey_bytes": 100_000}}
    async with asyncio.timeout(20), tunnel(**rekeying) as pair:  # type: ignore[arg-type]  # by name
        slim_connection(pair.relay)
        first = pair.relay._send_encryption
        data = os.urandom(1_000_000)
        assert await pair.exchange(data) == data
        assert pair.relay._send_encryption is not first, "no key exchange came about"
        channel, receiver = await pair.open(), Gathering()
        channel.attach(receiver)
        slim_channel(channel._chan)
        waiting = asyncio.ensure_future(pair.relay.wait_closed())
        closing = asyncio.ensure_future(channel._chan.wait_closed())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        pair.agent.abort()
        await asyncio.gather(waiting, closing)
        await receiver.lost.wait()


async def test_an_ending_is_an_event() -> None:
    """For those who waited before, and those who come later."""
    ending = Ending()
    early = [asyncio.ensure_future(ending.wait()) for _ in range(2)]
    await asyncio.sleep(0)
    assert not ending.is_set()
    ending.set()
    ending.set()
    assert await asyncio.wait_for(asyncio.gather(*early, ending.wait()), 1) == [True] * 3
    assert ending.is_set()
