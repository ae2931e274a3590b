"""What probes ask: whether the process is alive, and whether it is ready to serve."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from relay.api.openapi import refusals
from relay.api.parts import Serving
from relay.api.problems import ProblemError

READY = "ok"
READY_SECONDS = 3.0
"""Deadline of the whole look; probes commonly wait for 5 s."""

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    """Every item is `ok`."""

    status: Literal["ready"] = "ready"
    items: dict[str, str]


@router.head("/livez", include_in_schema=False)
@router.get("/livez", summary="Whether the process is alive")
async def get_livez() -> Alive:
    return Alive()


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", summary="Whether this node can serve", responses=refusals("not_ready"))
async def get_readyz(parts: Serving) -> Ready:
    """503 names what is not ready, in `detail` and, item by item, in `items`."""
    try:
        async with asyncio.timeout(READY_SECONDS):
            items = dict(await parts.ready())
    except TimeoutError:
        raise ProblemError("not_ready", f"looking took longer than {READY_SECONDS:.0f} s", items={}) from None
    wrong = _wrong(items)
    if wrong:
        raise ProblemError("not_ready", wrong, items=items)
    return Ready(items=items)


def _wrong(items: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {sentence}" for name, sentence in items.items() if sentence != READY)
