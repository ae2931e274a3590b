"""How a daemon speaks: JSON to whoever collects logs, readable lines on a terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

PROGRAM = """
import logging, structlog
from agent.wire.logs import set_up
set_up()
log = structlog.get_logger()
with structlog.contextvars.bound_contextvars(request="req_1"):
    log.info("tunnel stands", slot=1)
log.info("left")
logging.getLogger("theirs").warning("of a library")
try:
    raise ValueError("why")
except ValueError:
    log.exception("failed")
"""


def test_where_nobody_looks_on_each_line_is_one_json_object() -> None:
    """Of ours and of libraries below us; a request's id in every line while it is served; a trace in one line."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == ""
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["event"] for line in lines] == ["tunnel stands", "left", "of a library", "failed"]
    assert [line.get("request") for line in lines] == ["req_1", None, None, None]
    assert [line["level"] for line in lines] == ["info", "info", "warning", "error"]
    assert all(line["timestamp"].endswith("Z") for line in lines)
    assert "ValueError: why" in lines[3]["exception"]


def test_on_a_terminal_lines_are_for_people() -> None:
    """No JSON; the event and what belongs to it."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stderr=theirs) as process:
        os.close(theirs)
        said = b""
        try:
            while part := os.read(ours, 65536):
                said += part
        except OSError:  # the terminal's other end has gone
            pass
        assert process.wait(30) == 0
    os.close(ours)
    assert b"tunnel stands" in said
    assert b"req_1" in said
    assert b"{" not in said
