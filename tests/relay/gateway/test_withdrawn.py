"""A credential or a connection that is withdrawn while requests are under way: they end, and nobody else's do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from relay.gateway.gateway import DirectoryUnavailableError
from relay.records import Scope
from tests.relay.gateway.scene import ACCESS_KEY, ID, Scene, basic, sha256
from tests.relay.gateway.test_turns import asking, slow

TOKEN = "token"


def _withdraw_token(scene: Scene) -> None:
    del scene.directory.callers[sha256(TOKEN)]


def _narrow_token(scene: Scene) -> None:
    scene.directory.admit(TOKEN, Scope.STATUS)


def _withdraw_connection(scene: Scene) -> None:
    del scene.directory.connections[ID]


def _withdraw_key(scene: Scene) -> None:
    scene.change(access_keys=(("key_other", sha256("ANOTHER")),))


WITHDRAWN = {
    "api token": (f"Bearer {TOKEN}", _withdraw_token, 401, "unauthenticated"),
    "api token's scope": (f"Bearer {TOKEN}", _narrow_token, 403, "forbidden"),
    "connection, by token": (f"Bearer {TOKEN}", _withdraw_connection, 404, "not_found"),
    "connection, by access key": (basic(ACCESS_KEY), _withdraw_connection, 401, "unauthenticated"),
    "access key": (basic(ACCESS_KEY), _withdraw_key, 401, "unauthenticated"),
}


@pytest.mark.parametrize("remembered", [True, False], ids=["remembered", "looked up"])
@pytest.mark.parametrize(("auth", "withdraw", "status", "code"), WITHDRAWN.values(), ids=WITHDRAWN.keys())
async def test_what_was_sent_ends_with_its_credential(
    scene: Scene, auth: str, withdraw: Callable[[Scene], None], status: int, code: str, *, remembered: bool
) -> None:
    """Answered as the next request would be, but truthfully: it had been sent. The turn is given back."""
    scene.directory.admit(TOKEN, Scope.FORWARD)
    never = asyncio.Event()
    scene.store.behave = slow(never)
    [client] = await asking(scene, 1, auth=auth)
    await scene.until(lambda: scene.store.requests)
    withdraw(scene)
    scene.directory.remembers = remembered
    scene.gateway.judge_again()
    answer = await client.answer()
    assert (answer.status, answer.value("Postern-Error")) == (status, code.encode())
    assert answer.value("Postern-Outcome") == b"sent_unknown"
    await scene.until(lambda: not scene.held())
    never.set()


async def test_those_who_still_may_go_on(scene: Scene) -> None:
    """One token of two is withdrawn, the connection is renamed, the database is away: what may go on does."""
    kept = scene.directory.admit("kept", Scope.FORWARD)
    gone = scene.directory.admit(TOKEN, Scope.FORWARD)
    go_on = asyncio.Event()
    scene.store.behave = slow(go_on)
    [staying] = await asking(scene, 1, auth=kept)
    [leaving] = await asking(scene, 1, auth=gone)
    await scene.until(lambda: len(scene.store.requests) == 2)
    _withdraw_token(scene)
    scene.change(name="renamed")
    scene.gateway.judge_again()
    assert (await leaving.answer()).status == 401
    scene.directory.remembers, scene.directory.fault = False, DirectoryUnavailableError()
    scene.gateway.judge_again()
    await scene.until(lambda: scene.directory.asked and not scene.gateway._tasks)
    scene.directory.fault = None
    go_on.set()
    assert (await staying.answer()).status == 200
