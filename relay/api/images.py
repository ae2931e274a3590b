"""`/v1/connections/{id}/images/…`: pictures of products through the relay, named by what is in them."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from email.utils import formatdate
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from starlette.types import Receive, Scope, Send

from relay.api.action_asking import ReadCaller, shop_of, told
from relay.api.authentication import Asking, account_router
from relay.api.openapi import refusals
from relay.api.parts import Parts, Serving
from relay.api.problems import OF_ACTIONS, ProblemError
from relay.prestashop.pictures import FRESH_SECONDS, Asked, NotPictureError, Picture, is_sha1

router: APIRouter = account_router("/v1/connections/{connection}/images/products/{product}/{image}", "images")

SEND_SECONDS = 60.0
"""For one picture to its caller: as long as it is not sent it takes a place."""
_ID_MOST = 2**31 - 1
_ETAG = re.compile(r'(?:W/)?"([0-9a-f]{40})"')
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_NAMED = {"ETag": {"description": "The SHA-1 of the picture, quoted.", "schema": {"type": "string"}}}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The picture.",
        "headers": _NAMED,
        "content": {f"image/{kind}": _BINARY for kind in ("jpeg", "png", "gif", "webp", "avif")},
    },
    304: {"description": "The caller has it: `If-None-Match` names it.", "headers": _NAMED},
    **refusals("not_found", "invalid", *OF_ACTIONS, "store_not_image"),
}

Number = Annotated[int, Path(ge=1, le=_ID_MOST)]


@router.get("", summary="Get a product's picture", response_class=Response, responses=_ANSWERS)
async def get_picture(
    *, request: Request, parts: Serving, asking: ReadCaller, connection: str, product: Number, image: Number
) -> Response:
    """As the shop has it. Send `If-None-Match` with the `ETag` of last time: it then comes only if it has changed."""
    return await _sent(request, parts, asking, connection, Asked(product, image))


@router.get("/{size}", summary="Get a product's picture in a size", response_class=Response, responses=_ANSWERS)
async def get_picture_in_size(
    *,
    request: Request,
    parts: Serving,
    asking: ReadCaller,
    connection: str,
    product: Number,
    image: Number,
    size: Annotated[
        str, Path(pattern="^[A-Za-z0-9_-]{1,64}$", description="One of the shop's own.", examples=["large_default"])
    ],
) -> Response:
    """The same in one of the sizes that the shop makes."""
    return await _sent(request, parts, asking, connection, Asked(product, image, size))


async def _sent(request: Request, parts: Parts, asking: Asking, connection: str, asked: Asked) -> Response:
    held = _held(request)
    with told():
        shop = await shop_of(parts, asking, connection)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(parts.pictures.place(shop.connection.account))
            try:
                picture = await parts.pictures.of(shop, asked, held)
            except NotPictureError:
                raise ProblemError("store_not_image", "what came is no JPEG, PNG, GIF, WebP or AVIF") from None
            if picture is None:
                return Response(status_code=304, headers=_headers(held or ""))
            return _Shown(picture, stack.pop_all())


def _held(request: Request) -> str | None:
    """The SHA-1 of the picture that the caller has; of several, the last."""
    names = [name for name in _ETAG.findall(request.headers.get("if-none-match", "")) if is_sha1(name)]
    return names[-1] if names else None


def _headers(sha1: str) -> dict[str, str]:
    return {
        "Date": formatdate(usegmt=True),
        "ETag": f'"{sha1}"',
        "Cache-Control": f"private, max-age={FRESH_SECONDS:.0f}",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Vary": "Authorization",
    }


class _Shown(Response):
    """A picture, which gives up its place when it is sent, or not taken in time."""

    def __init__(self, picture: Picture, place: AsyncExitStack) -> None:
        super().__init__(picture.body, headers=_headers(picture.sha1), media_type=picture.media_type)
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await super().__call__(scope, receive, send)
        except TimeoutError:
            return
        finally:
            await self._place.aclose()
