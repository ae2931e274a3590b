"""The process around a running agent: settings, logs, signals, and the exit."""

from __future__ import annotations

import asyncio
import resource
import signal
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from agent.failure import DONE, FAILED, AgentError
from agent.settings import Settings
from agent.supervisor import Supervisor
from agent.wire.logs import set_up
from agent.wire.memory import keep_heap

log = structlog.get_logger()


def run(flags: Mapping[str, Any], config: Path | None) -> int:
    """Be the agent until told to stop. Raises AgentError with the sentence that ends it."""
    set_up()
    keep_heap()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core would hold the instance's key
    load = partial(Settings.load, dict(flags), config)
    settings = load()
    try:
        asyncio.run(_serve(settings, load))
    except AgentError:
        raise
    except Exception:
        log.exception("the agent failed; this is a fault in it, not in its configuration")
        return FAILED
    return DONE


async def _serve(settings: Settings, load: Callable[[], Settings]) -> None:
    supervisor = Supervisor(settings, load)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop)
    loop.add_signal_handler(signal.SIGHUP, supervisor.reload)
    await supervisor.run()
