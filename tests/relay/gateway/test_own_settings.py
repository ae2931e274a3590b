"""What a connection's own record decides, and what is remembered of the credentials that use it."""

from __future__ import annotations

import pytest

from relay.records import Scope
from tests.relay.gateway.scene import ACCESS_KEY, Scene, basic, request, sha256
from tests.relay.gateway.store import silent


async def test_a_silent_store_is_given_up_when_its_connection_says(scene: Scene) -> None:
    """Seven seconds where the connection says seven: 504 `store_timeout`."""
    scene.change(answer_timeout=7)
    scene.store.behave = silent
    client = await scene.client()
    client.send(request())
    visit = await scene.store.visit()
    await scene.until(lambda: visit.received)
    await scene.pass_time(7)
    assert not visit.ended.is_set()
    await scene.pass_time(1)
    late = await client.answer()
    assert (late.status, late.value("Postern-Error")) == (504, b"store_timeout")


@pytest.mark.parametrize("remembers", [True, False])
async def test_credentials_that_were_accepted_are_remembered(scene: Scene, remembers: bool) -> None:
    """By their digests, whether they were known or had to be looked up; refused ones are not."""
    scene.directory.remembers = remembers
    token = scene.directory.admit("token", Scope.READ)
    assert (await scene.ask(auth=basic("W" * 32))).status == 401
    assert (await scene.ask(auth=token, method="DELETE")).status == 403
    assert scene.gateway.used == set()
    assert (await scene.ask()).status == 200
    assert scene.gateway.used == {sha256(ACCESS_KEY)}
    scene.gateway.used.clear()
    assert (await scene.ask(auth=token)).status == 200
    assert scene.gateway.used == {sha256("token")}
