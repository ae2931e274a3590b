"""Notices: read again for a while, handed on as they come, and never silently lost."""

from __future__ import annotations

import asyncio

import pytest

from relay.health.feed import BEHIND, KEPT, Feed, MissedError


async def test_subscribers_get_what_comes_while_they_listen() -> None:
    """In order, from the subscription on, and not after its end."""
    feed = Feed(lambda: 1000.0)
    feed.publish("agent.online", account="acc_a", agent="agt_a")
    with feed.subscription() as subscriber:
        waiting = asyncio.ensure_future(subscriber.take())
        await asyncio.sleep(0)
        first = feed.publish("agent.offline", account="acc_a", agent="agt_a", planned=True)
        second = feed.publish("agent.online", account="acc_a", agent="agt_a")
        assert await waiting == [first, second]
        assert (first.details, first.at) == ({"planned": True}, 1000)
    feed.publish("agent.offline", account="acc_a")
    assert subscriber.taken() == []


async def test_a_subscriber_that_falls_behind_is_told() -> None:
    """What waits for one is bounded; it hears that it has missed something, then gets what came later."""
    feed = Feed(lambda: 1000.0)
    with feed.subscription() as subscriber:
        for _ in range(BEHIND + 1):
            last = feed.publish("changed", account=None)
        with pytest.raises(MissedError):
            await subscriber.take()
        assert await subscriber.take() == [last]


def test_what_came_since_a_notice_can_be_read_again() -> None:
    """As far back as it is kept; before that, and before the node began, MissedError."""
    feed = Feed(lambda: 1000.0)
    began = feed.last
    assert feed.since(began) == []
    notices = [feed.publish("changed", account=None) for _ in range(KEPT)]
    assert feed.since(began) == notices
    assert feed.since(notices[-2].id) == notices[-1:]
    feed.publish("changed", account=None)
    for missed in (began, began - 1, feed.last + 1):
        with pytest.raises(MissedError):
            feed.since(missed)
    assert len(feed.since(notices[0].id)) == KEPT


def test_ids_of_a_later_node_are_higher() -> None:
    """So that a reader's last id of a former run is never taken for one of this run."""
    early, late = Feed(lambda: 1000.0), Feed(lambda: 1001.0)
    last = [early.publish("changed", account=None) for _ in range(100)][-1]
    assert late.last > last.id
    with pytest.raises(MissedError):
        late.since(last.id)
