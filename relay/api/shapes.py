"""The habits that all forms and records of the typed surface share."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

Time = Annotated[int, Field(description="Unix seconds, UTC.", examples=[1793000000])]
LastUse = Annotated[Time | None, Field(description="When it was last accepted, to the minute or so.")]
Name = Annotated[str, Field(max_length=400, description="1 to 100 characters.", examples=["Shop in Lyon"])]
OwnerNamed = Annotated[
    str | None,
    Field(max_length=80, description="For operators: the account that it is to belong to; else the token's own."),
]


class Shown(BaseModel):
    """What is shown of a record: those of its fields that have the names of the members."""

    model_config = ConfigDict(from_attributes=True)

    @classmethod
    def of(cls, record: object) -> Self:
        return cls.model_validate(record)


class Form(BaseModel):
    """What a caller sends. Unknown members are refused, so that a misspelt one is not silently ignored."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class Patch(Form):
    """What a caller changes: absent members stay as they are."""

    def given(self) -> dict[str, Any]:
        """The members that were sent."""
        return {name: getattr(self, name) for name in self.model_fields_set}


def absent(**rest: Any) -> Any:
    """The default of a patch's member: never seen, because `given` leaves it out, and absent from the schema."""
    return Field(default_factory=lambda: None, **rest)
