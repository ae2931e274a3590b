"""The project as its users get it: a wheel built from these sources, beside the wheels that it stands on."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from tests.lab.machine import LabError, script

ROOT = Path(__file__).parents[2]
SOURCES = ("pyproject.toml", "README.md", "LICENSE", "agent", "relay")
BUILD_SECONDS = 60.0


def lab_directory() -> Path:
    """LAB_DIR, where the lab keeps what it makes."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("LAB_DIR") or Path(cache, "postern-lab")).resolve()


def wheelhouse(directory: Path) -> Path:
    """A directory with the project's wheel and all others it needs, made in `directory`. Raises LabError."""
    fetched = lab_directory() / "wheels" / "current"
    if not fetched.is_dir():
        raise LabError("there are no wheels for the lab's machines: run tests/lab/prepare.sh")
    sources, house = directory / "sources", directory / "wheels"
    shutil.copytree(fetched.resolve(), house)
    sources.mkdir()  # a copy: building in place would leave files beside the sources, and find those of last time
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, sources)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    script(*pip, "--no-index", "--find-links", house, "--wheel-dir", house, sources, seconds=BUILD_SECONDS)
    return house
