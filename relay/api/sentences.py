"""What to do about a trouble, as the typed surface says it: in both languages."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, Field

from relay.prestashop.remedies import Remedy


class Sentence(BaseModel):
    """What to do, in plain words."""

    en: Annotated[str, Field(description="English.")]
    fr: Annotated[str, Field(description="French.")]

    @classmethod
    def of(cls, remedy: Remedy) -> Self:
        return cls(en=remedy.en, fr=remedy.fr)
