"""The relay's typed surface: `/v1`, what probes ask, and its own description."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any


def document() -> dict[str, Any]:
    """The OpenAPI document of this version; needs no database."""
    from relay.api.surface import described  # noqa: PLC0415 - FastAPI is slow to import, and most commands need none

    return described(version("postern")).openapi()
