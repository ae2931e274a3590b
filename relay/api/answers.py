"""What every answer of the typed surface has in common: JSON that nobody keeps or guesses at, and the relay's time."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate
from typing import Annotated, Any

from pydantic import PlainSerializer, SecretStr, WithJsonSchema
from starlette.responses import JSONResponse, Response

HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Answer(JSONResponse):
    """JSON with the headers that all answers carry. `Date` is always there: agents compare their clocks with it."""

    def __init__(
        self, content: Any = None, status_code: int = 200, headers: Mapping[str, str] | None = None, **rest: Any
    ) -> None:
        super().__init__(content, status_code, {**_always(), **(headers or {})}, **rest)


def nothing() -> Response:
    """204: it is done, and there is nothing to show."""
    return Response(status_code=204, headers=_always())


def _always() -> dict[str, str]:
    return {"Date": formatdate(usegmt=True), **HEADERS}


ShownOnce = Annotated[
    SecretStr,
    PlainSerializer(SecretStr.get_secret_value, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string"}, mode="serialization"),
]
"""A secret in the one answer that shows it; printed or logged, the record still hides it."""
