"""Two stand-in shops that cannot be told apart, served in a thread of this process: one for each road."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

from tests.store import Seen, Store
from tests.store_conformance.asking import KEY_NAMES
from tests.store_conformance.replay import comparable
from tests.system.programs import eventually
from tests.system.road import Connection
from tests.transparency.asking import BothWays, Call, Shown, Story, compare, direct, relayed
from tests.transparency.wire import Framing, Message, chunks, split

KEYS = {name: f"{name:K<32}" for name in KEY_NAMES}
SECONDS = 10.0  # for whatever is done in the thread
VARYING = {b"date", b"access-time", b"execution-time", b"expires", b"content-sha1"}  # values of the moment

Result = TypeVar("Result")


class Backstage:
    """A thread with an event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def run(self, steps: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(steps, self._loop).result(SECONDS)

    @contextlib.contextmanager
    def store(self, domain: str, port: int = 0) -> Iterator[Store]:
        """A fresh shop; knobs may be turned from outside."""
        keys = {KEY_NAMES[name]: value for name, value in KEYS.items()}
        serving = Store.serve(port=port, domain=domain, keys=keys)
        store = self.run(serving.__aenter__())
        try:
            yield store
        finally:
            self.run(serving.__aexit__(None, None, None))


@dataclass(frozen=True, slots=True)
class Watched:
    """What a shop has seen, as messages."""

    store: Store

    def clear(self) -> None:
        self.store.requests.clear()

    def seen(self, count: int) -> Sequence[Message]:
        def complete() -> list[Seen]:
            found = list(self.store.requests)
            return found if len(found) >= count and all(one.body_sha256 for one in found) else []

        return [
            _message(one)
            for one in (eventually("the shop has read it all", complete) if count else self.store.requests)
        ]


@dataclass(frozen=True, slots=True)
class Shops:
    """A shop on each road, with the same keys; what is done to one must be done to the other."""

    direct: Store
    relayed: Store
    connections: Mapping[str, Connection]  # by the name of the store's key

    def both(self, key: str = "FULL") -> BothWays:
        """The two roads in the name of a key."""
        here = direct(self.direct.port, self.direct.knobs.domain, KEYS[key])
        return BothWays(here, relayed(self.connections[key]), Watched(self.direct), Watched(self.relayed))

    def set(self, **knobs: object) -> None:
        for store in (self.direct, self.relayed):
            store.knobs.update(**knobs)

    def same(self, *calls: Call, key: str = "FULL") -> Sequence[Message]:
        """The relayed answers to calls on one connection. AssertionError unless the roads differ in what is decided."""
        return self.same_story(lambda caller: [caller.ask(call) for call in calls], seen=len(calls), key=key)

    def same_story(self, story: Story, *, seen: int = 1, key: str = "FULL") -> Sequence[Message]:
        return compare_shown(*self.both(key).tell(story, seen))


def compare_shown(directly: Shown, through: Shown, *, version: bytes = b"1.1") -> Sequence[Message]:
    """As `compare`, less what no two shops have in common; the relayed answers."""
    compare(directly, through, version=version, less=without_moment)
    for one, other in zip(directly.answers, through.answers, strict=True):
        assert has_its_hash(one) == has_its_hash(other)
    return through.answers


def has_its_hash(answer: Message) -> bool:
    return answer.values(b"content-sha1") == [hashlib.sha1(answer.body).hexdigest().encode()]  # noqa: S324 - PrestaShop's


def _message(seen: Seen) -> Message:
    """The body as its length and hash: of its framing there is the header line."""
    fields = tuple(name + b": " + value for name, value in seen.headers)
    body = f"{seen.body_length} bytes, SHA-256 {seen.body_sha256}"
    return Message(seen.line, fields, Framing.NONE, body.encode())


def without_moment(answer: Message) -> Message:
    """An answer without what differs from moment to moment: dates, hashes of passwords, what follows from them."""
    fields = tuple(_spelled(line) + b": ?" if split(line)[0] in VARYING else line for line in answer.fields)
    sizes = [spelled for spelled, _ in chunks(answer.framed)] if answer.framing is Framing.CHUNKED else []
    return replace(answer, fields=fields, framed=b" ".join([*sizes, comparable(answer.body)]))


def _spelled(line: bytes) -> bytes:
    return line.partition(b":")[0]
