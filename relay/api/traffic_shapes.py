"""What went through, as the typed surface shows it."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, Field

from relay.api.shapes import Time
from relay.gateway.errors import Origin
from relay.gateway.traffic import Summary


class Traffic(BaseModel):
    """Requests of the last five minutes that are over, on the node that answers."""

    requests: int
    errors: Annotated[
        dict[Origin, int],
        Field(description="By the hop to blame; a store's 5xx is the store's.", examples=[{"store": 2}]),
    ]
    bytes_in: Annotated[int, Field(description="Of the requests' bodies.")]
    bytes_out: Annotated[int, Field(description="Of the answers' bodies.")]
    p50_ms: Annotated[float | None, Field(description="Half of the requests were over within so long.")]
    p95_ms: Annotated[float | None, Field(description="95 of 100 requests were over within so long.")]
    series: Annotated[
        list[int], Field(description="Requests in each half minute, oldest first; the last one is not over.")
    ]
    last_success: Annotated[Time | None, Field(description="When a store last answered 2xx or 3xx. Unix seconds.")]

    @classmethod
    def of(cls, told: Summary) -> Self:
        return cls(
            requests=told.requests,
            errors={Origin(origin): number for origin, number in told.errors.items()},
            bytes_in=told.bytes_in,
            bytes_out=told.bytes_out,
            p50_ms=_ms(told.p50),
            p95_ms=_ms(told.p95),
            series=list(told.series),
            last_success=told.last_success,
        )


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
