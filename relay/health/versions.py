"""Which of two versions is the older one."""

from __future__ import annotations

import re

_VERSION = re.compile(r"(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?")


def is_older(version: str, than: str) -> bool:
    """Whether it is; versions that cannot be compared are not."""
    mine, theirs = _numbers(version), _numbers(than)
    return bool(mine and theirs and mine < theirs)


def _numbers(version: str) -> tuple[int, ...] | None:
    match = _VERSION.match(version)
    return tuple(int(number or 0) for number in match.groups()) if match else None
