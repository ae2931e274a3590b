"""Pictures of products: fetched from the shop, told apart from what only calls itself one, and kept for a while.

The webservice names a picture by `Content-Sha1`, its SHA-1, and answers 304 to whoever has it already and says so in
`Local-Content-Sha1` (PrestaShop 8 and later; before, it sends it again). So a picture crosses the tunnel once, and is
asked for by name afterwards, by the relay as well as by its callers.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import weakref
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

from relay.gateway.call import Answer
from relay.gateway.errors import GatewayError, Outcome
from relay.prestashop.query import address
from relay.prestashop.shop import Shop
from relay.prestashop.store_errors import error_of
from relay.records import Connection

PICTURE_BYTES = 8 * 1024 * 1024
"""Of one picture, which is held in memory until it is sent. PrestaShop takes 3 MB unless it was told otherwise."""
PLACES, PLACES_EACH = 8, 3
"""Pictures on their way at once, of everybody and of one account."""
WAIT_SECONDS = 20.0
"""For a place."""
FRESH_SECONDS = 600.0
"""How long a picture is taken for the newest without asking: a new one usually has a new id."""
KEPT_BYTES, KEPT_BYTES_EACH = 32 * 1024 * 1024, 8 * 1024 * 1024
"""Of everybody's pictures and of one account's."""
KEPT_MOST = 4096
_LARGEST_KEPT = 1024 * 1024


class NotPictureError(Exception):
    """The shop sent something else; a page with a script in it, for all that is known."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which picture: `size` is one of the shop's own names, None for the picture as it was put in."""

    product: int
    image: int
    size: str | None = None

    @property
    def path(self) -> str:
        return address(
            "/".join(["images/products", str(self.product), str(self.image), *([self.size] if self.size else [])]), ()
        )


@dataclass(frozen=True, slots=True)
class Picture:
    """`sha1` is that of the bytes; `name` what the shop calls them by, None where it does not."""

    media_type: str
    body: bytes
    sha1: str
    name: str | None


@dataclass(frozen=True, slots=True)
class _Kept:
    connection: Connection
    picture: Picture
    checked_at: float


_Key = tuple[str, str, str]
"""Account, connection, path."""


def address_of(relay: str, connection: str, product: int, image: int) -> str:
    """Where the relay has the picture."""
    return f"{relay}/v1/connections/{connection}/images/products/{product}/{image}"


class Pictures:
    """What is kept of pictures, the least lately used going first. `clock` is monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._bytes: Counter[str] = Counter()
        self._places = asyncio.Semaphore(PLACES)
        self._of_accounts: weakref.WeakValueDictionary[str, asyncio.Semaphore] = weakref.WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def place(self, account: str) -> AsyncIterator[None]:
        """Room for one picture, until it is sent. Raises GatewayError `relay_overloaded`."""
        own = self._of_accounts.setdefault(account, asyncio.Semaphore(PLACES_EACH))
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    await stack.enter_async_context(own)
                    await stack.enter_async_context(self._places)
            except TimeoutError:
                raise GatewayError("relay_overloaded", "other pictures go first", Outcome.NOT_SENT) from None
            yield

    async def of(self, shop: Shop, asked: Asked, held: str | None = None) -> Picture | None:
        """The picture, or None where the caller has it: `held` is the SHA-1 of theirs.

        Raises NotPictureError, GatewayError, StoreError.
        """
        key = (shop.connection.account, shop.connection.id, asked.path)
        kept = self._kept.get(key)
        if kept and kept.connection != shop.connection:
            kept = None
        if kept is None or self._clock() - kept.checked_at >= FRESH_SECONDS:
            kept = await self._fetched(shop, asked, kept, held)
            if kept is None:
                return None
            self._keep(key, kept)
        self._touch(key)
        return None if kept.picture.sha1 == held else kept.picture

    async def _fetched(self, shop: Shop, asked: Asked, kept: _Kept | None, held: str | None) -> _Kept | None:
        """None where the shop says that the caller has it."""
        name = kept.picture.name if kept else held
        fields = (("Local-Content-Sha1", name),) if name else ()
        answer = await shop.get(asked.path, fields=fields, limit=PICTURE_BYTES)
        if answer.status == 304 and name:
            return replace(kept, checked_at=self._clock()) if kept else None
        if answer.status != 200:
            raise error_of(answer)
        return _Kept(shop.connection, _picture(answer), self._clock())

    def _keep(self, key: _Key, kept: _Kept) -> None:
        self._drop(key)
        size = len(kept.picture.body)
        if size > _LARGEST_KEPT:
            return
        self._kept[key] = kept
        self._bytes[key[0]] += size
        while self._bytes[key[0]] > KEPT_BYTES_EACH:
            self._drop(next(other for other in self._kept if other[0] == key[0]))
        while self._bytes.total() > KEPT_BYTES or len(self._kept) > KEPT_MOST:
            self._drop(next(iter(self._kept)))

    def _touch(self, key: _Key) -> None:
        if key in self._kept:
            self._kept.move_to_end(key)

    def _drop(self, key: _Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is None:
            return
        self._bytes[key[0]] -= len(kept.picture.body)
        if not self._bytes[key[0]]:
            del self._bytes[key[0]]


def _picture(answer: Answer) -> Picture:
    """Raises NotPictureError."""
    kind = kind_of(answer.body)
    if kind is None:
        raise NotPictureError
    name = (answer.field("Content-Sha1") or "").strip().lower()
    sha1 = hashlib.sha1(answer.body, usedforsecurity=False).hexdigest()
    return Picture(kind, answer.body, sha1, name if is_sha1(name) else None)


def kind_of(body: bytes) -> str | None:
    """The media type by the first bytes, whatever the shop calls it: of pictures that run nothing, no other."""
    if body.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if body.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if body[:6] in {b"GIF87a", b"GIF89a"}:
        return "image/gif"
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return "image/webp"
    return "image/avif" if body[4:12] == b"ftypavif" else None


def is_sha1(text: str) -> bool:
    return len(text) == 40 and all(character in "0123456789abcdef" for character in text)
