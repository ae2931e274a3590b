"""In which language a page speaks, and its sentences: one catalogue for the server and the browser alike."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from fastapi import Request

COOKIE = "postern-language"
DEFAULT = "en"
_HERE = Path(__file__).parent / "static"
CATALOGUES: Mapping[str, Mapping[str, str]] = {
    language: json.loads((_HERE / f"{language}.json").read_text(encoding="utf-8")) for language in ("en", "fr")
}
"""By language, sentences by name. They are texts, never markup."""


def language_of(request: Request) -> str:
    """What was chosen on the page, else what the browser prefers."""
    chosen = request.cookies.get(COOKIE, "")
    return chosen if chosen in CATALOGUES else preferred(request.headers.get("accept-language", ""))


def preferred(header: str) -> str:
    """Of the languages there are the one with the highest weight in an `Accept-Language` (RFC 9110 §12.5.4)."""
    wanted = [
        (language.strip().lower().partition("-")[0], _weight(rest))
        for language, _, rest in (part.partition(";") for part in header.split(","))
    ]
    known = [(language, weight) for language, weight in wanted if language in CATALOGUES and weight > 0]
    return max(known, key=lambda each: each[1], default=(DEFAULT, 1.0))[0]


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    try:
        return float(value) if name.strip().lower() == "q" else 1.0
    except ValueError:
        return 0.0
