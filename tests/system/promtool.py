"""Prometheus' own judge of metrics and rules. Where it is missing its tests say so, and fail where CI is set."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PROMTOOL = shutil.which("promtool")
SECONDS = 60.0


def promtool(*arguments: str | Path, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run it; the test is skipped, with the reason, where there is none."""
    if PROMTOOL is None:
        reason = "promtool is not installed (Debian: prometheus)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    command = [PROMTOOL, *map(str, arguments)]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=SECONDS, check=False)


def lint(metrics: str) -> str:
    """What it finds wrong with a scrape in the text format; empty: nothing."""
    done = promtool("check", "metrics", text=metrics)
    assert done.returncode in {0, 1, 3}, done
    return (done.stdout + done.stderr).strip()
