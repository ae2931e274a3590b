"""What a running agent tells whoever may read its state directory: one JSON object per connection to a local socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import structlog

from agent.failure import AgentError

SOCKET = "status.sock"
RUNTIME_DIRECTORY = Path("/run/postern-agent")
"""Where the packaged service has its socket (`RuntimeDirectory=`)."""
ANSWER_SECONDS = 5.0
ANSWER_BYTES = 1024 * 1024
_PATH_BYTES = 107  # sun_path of Linux, without its end

log = structlog.get_logger()


@asynccontextmanager
async def serve_status(state_dir: Path, snapshot: Callable[[], dict[str, Any]]) -> AsyncIterator[None]:
    """Answer on the socket while the block runs. An agent that cannot is worse off, but works: it is logged."""
    path = _own_directory(state_dir) / SOCKET

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                writer.write(json.dumps(snapshot()).encode() + b"\n")
                await writer.drain()
        writer.close()

    try:
        sock, ours = _bind(path)
        server = await asyncio.start_unix_server(answer, sock=sock)
    except OSError as error:
        log.warning("'postern-agent status' will not work", socket=str(path), error=error.strerror)
        yield
        return
    async with server:
        try:
            yield
        finally:
            _take_away(path, ours)


def read_status(state_dir: Path, *, chosen: bool) -> dict[str, Any]:
    """Ask the agent that runs with this state directory; unless it was `chosen` by name, the packaged service too.

    Raises AgentError if none answers.
    """
    places = [_own_directory(state_dir), state_dir] + ([] if chosen else [RUNTIME_DIRECTORY])
    trouble: OSError | None = None
    for place in places:
        try:
            return _ask(place / SOCKET)
        except FileNotFoundError:
            continue
        except OSError as error:
            trouble = trouble or error
        except ValueError:
            raise AgentError(f"what answers at {place / SOCKET} is not an agent.") from None
    raise _nobody(state_dir, trouble, chosen=chosen)


def _nobody(state_dir: Path, trouble: OSError | None, *, chosen: bool) -> AgentError:
    """Why no agent answered, for who asked."""
    if isinstance(trouble, PermissionError):
        return AgentError(
            f"{state_dir} belongs to the agent's own user, and so does what its agent says: ask as that user, or with "
            "sudo."
        )
    if isinstance(trouble, TimeoutError):
        return AgentError("the agent runs, but does not answer: look into its log, or restart it.")
    sentence = f"no agent runs with {state_dir}: start it with 'postern-agent run', or name its --state-dir"
    if chosen and (RUNTIME_DIRECTORY / SOCKET).exists():
        return AgentError(f"{sentence}; the service's own agent answers without --state-dir.")
    return AgentError(f"{sentence}.")


def _own_directory(state_dir: Path) -> Path:
    """The runtime directory that systemd made, else the state directory."""
    return Path(os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0] or state_dir)


def _bind(path: Path) -> tuple[socket.socket, os.stat_result]:
    """A socket that listens there, and by what its file is known."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.unlink(missing_ok=True)  # the state directory's lock says that it is left behind, or of one that leaves
        before = os.umask(0o177)
        try:
            with _short(path) as short:
                sock.bind(short)
        finally:
            os.umask(before)
        sock.listen(16)
        return sock, path.lstat()
    except OSError:
        sock.close()
        raise


def _take_away(path: Path, ours: os.stat_result) -> None:
    """Remove our socket, unless a successor, which may begin while we leave, has put its own in the place."""
    with contextlib.suppress(OSError):
        if os.path.samestat(path.lstat(), ours):
            path.unlink()


def _ask(path: Path) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock, _short(path) as short:
        sock.settimeout(ANSWER_SECONDS)
        sock.connect(short)
        answer = bytearray()
        while len(answer) < ANSWER_BYTES and (more := sock.recv(65536)):
            answer += more
    status = json.loads(answer)
    if not isinstance(status, dict):
        raise ValueError("not an object")  # noqa: TRY004 - the caller handles one kind of bad answer
    return status


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name for `path` that fits into a socket's address, which is shorter than paths may be."""
    if len(os.fsencode(path)) <= _PATH_BYTES:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
