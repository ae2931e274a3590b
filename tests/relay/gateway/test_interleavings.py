"""Whatever happens in whatever order, nothing is held at the end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.gateway.errors import GatewayError
from relay.gateway.gateway import DirectoryUnavailableError
from tests.relay.gateway.scene import ACCESS_KEY, DEADLINE, Scene, request, sha256
from tests.relay.gateway.store import OK, Behaviour, Store, answering, silent

ANSWERS: list[Behaviour] = [
    answering(OK), answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"), answering(b"garbage\r\n\r\n"),
    answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut"), silent,
]  # fmt: skip


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.SelectorEventLoop], ids=["uvloop", "asyncio"])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_nothing_leaks_whatever_happens_in_whatever_order(
    loop: Callable[[], asyncio.AbstractEventLoop], seed: int
) -> None:
    """Callers start, leave, half-close, send badly; stores answer, cut, say nothing; lines fail, are slow, are lost;
    the database comes and goes; records change: at the end no turn, share, task or place in a queue is held."""
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(interleaving(random.Random(seed)))  # noqa: S311 - not a secret


async def interleaving(chance: random.Random) -> None:
    store = Store()
    async with store.listening() as port, Scene(port, store).running() as scene:
        scene.change(concurrency=chance.randint(1, 3))
        for _ in range(60):
            await step(scene, chance)
            if chance.random() < 0.5:
                await asyncio.sleep(0)
        for client in scene.clients:
            client.leave()
        scene.route.open_gate.set()
        scene.directory.open.set()
        scene.route.fault = scene.directory.fault = None
        async with asyncio.timeout(DEADLINE):
            while scene.held():  # who closed its side is still answered, so time must pass for a silent store
                await scene.pass_time(10)
                await asyncio.sleep(0.001)
    assert not scene.faults


async def step(scene: Scene, chance: random.Random) -> None:  # noqa: C901 - one branch per thing that can happen
    """One of the things that can happen."""
    open_clients = [client for client in scene.clients if not client.writer.transport.is_closing()]
    kind = chance.randrange(14)
    if kind < 4:
        client = await scene.client()
        client.send(request(method=chance.choice(["GET", "POST"])) * chance.randint(1, 2))
    elif kind == 4:
        client = await scene.client()
        client.send(request("Content-Length: 10", method="POST", body=b"x" * chance.randint(0, 10)))
    elif kind == 5:
        client = await scene.client()
        client.send(
            request("Transfer-Encoding: chunked", method="POST", body=chance.choice([b"2\r\nok\r\n", b"zz\r\n"]))
        )
    elif kind == 6 and open_clients:
        chance.choice(open_clients).leave()
    elif kind == 7 and open_clients:
        chance.choice(open_clients).writer.close()
    elif kind == 8 and scene.store.visits:
        chance.choice(scene.store.visits).abort()
    elif kind == 9:
        scene.store.behave = chance.choice(ANSWERS)
    elif kind == 10:
        (scene.route.open_gate.clear if chance.random() < 0.5 else scene.route.open_gate.set)()
    elif kind == 11:
        scene.directory.remembers = chance.random() < 0.7
        (scene.directory.open.clear if chance.random() < 0.5 else scene.directory.open.set)()
    elif kind == 12:
        scene.route.fault = chance.choice([None, None, GatewayError("store_refused")])
        scene.directory.fault = chance.choice([None, None, DirectoryUnavailableError()])
    elif kind == 13:
        await scene.pass_time(chance.choice([1, 4, 70, 310]))
        scene.change(access_keys=chance.choice([(), (("key", sha256(ACCESS_KEY)),)]))
