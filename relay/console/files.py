"""The console's stylesheet, scripts and catalogues: read once, sent with an entity tag."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class File:
    content: bytes
    media_type: str
    etag: str


def read() -> dict[str, File]:
    """All of them, by name."""
    directory = Path(__file__).parent / "static"
    return {path.name: _read(path) for path in directory.iterdir() if path.suffix in _TYPES}


def _read(path: Path) -> File:
    content = path.read_bytes()
    return File(content, _TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')
