"""Tasks that run as long as the relay does: none of them ends in silence."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from relay import background as background_module
from relay.background import Background


async def forever() -> None:
    await asyncio.Event().wait()


async def fails() -> None:
    raise RuntimeError("a fault")


async def ends() -> None:
    await asyncio.sleep(0)


@pytest.mark.parametrize("steps", [fails, ends])
async def test_one_that_ends_by_itself_is_a_fault(steps: object) -> None:
    """With an error, which is in the log, or without; the others go on until they are told to end."""
    fault = asyncio.Event()
    background = Background(fault.set)
    with capture_logs() as logs:
        background.begin(forever())
        background.begin(steps())  # type: ignore[operator]  # a coroutine function
        await asyncio.wait_for(fault.wait(), 10)
    assert [entry["task"] for entry in logs] == (["fails"] if steps is fails else [])
    await asyncio.wait_for(background.end(), 10)


async def test_what_is_told_to_end_is_no_fault() -> None:
    """Nor does it keep the relay from leaving, if it then fails."""

    async def stubborn() -> None:
        try:
            await forever()
        finally:
            raise RuntimeError("a fault")

    faults = []
    background = Background(lambda: faults.append(1))
    with capture_logs() as logs:
        background.begin(forever())
        background.begin(stubborn())
        await asyncio.sleep(0)
        await asyncio.wait_for(background.end(), 10)
    assert not faults
    assert len(logs) == 1


async def test_what_requests_do_not_need_is_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alerts, say, that cannot be read from the database: that ends neither the relay nor the alerts."""
    monkeypatch.setattr(background_module, "AGAIN_SECONDS", 0.0)
    begun, faults, twice = [], [], asyncio.Event()

    async def steps() -> None:
        begun.append(1)
        if len(begun) < 3:
            raise RuntimeError("a fault")
        twice.set()
        await forever()

    background = Background(lambda: faults.append(1))
    with capture_logs() as logs:
        background.keep(steps)
        await asyncio.wait_for(twice.wait(), 10)
    assert (len(logs), faults) == (2, [])
    await asyncio.wait_for(background.end(), 10)


def test_a_relay_whose_task_has_failed_leaves_in_order(tmp_path: Path) -> None:
    """With status 1, so that systemd starts it anew; the task and its error are in the log."""
    code = f"""
from relay.cli import main
from relay.metrics.loop_lag import LoopLag

async def run(self):
    raise RuntimeError("a fault")

LoopLag.run = run
raise SystemExit(main(["serve", "--state-dir", {str(tmp_path)!r}, "--http", "127.0.0.1:0", "--ssh", "127.0.0.1:0"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stderr
    assert "a fault" in done.stderr
    assert "stopped" in done.stderr
