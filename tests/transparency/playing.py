"""A store that plays scripts: it keeps each request as it stood on the wire, and answers exactly what it is told to."""

from __future__ import annotations

import contextlib
import enum
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

from tests.transparency.wire import CutError, Message, Reader, receiving

HOST = "127.0.0.1"
PATIENCE_SECONDS = 10.0  # for a request that a test says must come
LINGER_SECONDS = 5.0  # for the other side to end a connection after this side has
SILENCE_SECONDS = 60.0  # after which a connection that nobody uses is left


class Do(enum.Enum):
    """A step that is no bytes to send."""

    READ = enum.auto()  # the request's body, to its end; after the script where it does not say when
    HEAR = enum.auto()  # a first byte of it, which is read later
    CLOSE = enum.auto()
    RESET = enum.auto()


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


Step = bytes | Do | Pause | Callable[[Message], bytes]
Script = Sequence[Step]
OK: Script = (
    Do.READ,
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
)


LOOK = b"User-Agent: Postern health check"
"""Of the relay itself, which looks each minute at a store that serves nobody well: no part of any play."""


@dataclass(slots=True)
class Player:
    """Listens; each connection has a thread. The script that is set is played for every request that comes."""

    script: Script = OK
    _heads: int = 0
    _seen: list[Message] = field(default_factory=list)
    _sockets: set[socket.socket] = field(default_factory=set)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _listener: socket.socket = field(default_factory=lambda: socket.create_server((HOST, 0), backlog=128))
    connections: int = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in list(self._sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def clear(self) -> None:
        """Forget what was seen."""
        with self._changed:
            self._seen.clear()
            self._heads = 0

    def seen(self, count: int = 1) -> list[Message]:
        """So many requests at least, waited for; those that broke off are not `whole`."""
        with self._changed:
            came = self._changed.wait_for(lambda: len(self._seen) >= count, PATIENCE_SECONDS)
            assert came, f"the store has seen {self._seen}, not {count} requests"
            return list(self._seen)

    def heard(self, count: int = 1) -> None:
        """Wait until so many heads have come, whose bodies may still be under way."""
        with self._changed:
            came = self._changed.wait_for(lambda: self._heads >= count, PATIENCE_SECONDS)
            assert came, f"the store has heard {self._heads} heads, not {count}"

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        self._sockets.add(sock)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(SILENCE_SECONDS)
        reader = Reader(receiving(sock))
        try:
            while head := reader.head():
                if LOOK in head.fields:
                    sock.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                    continue
                self._note_head()
                if not self._play(sock, reader, head):
                    break
        except (OSError, CutError):
            pass
        finally:
            self._sockets.discard(sock)
            sock.close()

    def _play(self, sock: socket.socket, reader: Reader, head: Message) -> bool:
        """One request; False when the connection is over."""
        request: Message | None = None
        for step in self.script:
            if isinstance(step, bytes):
                sock.sendall(step)
            elif isinstance(step, Pause):
                time.sleep(step.seconds)
            elif not isinstance(step, Do):
                sock.sendall(step(head))
            elif step is Do.READ:
                request = reader.request_body(head)
                self._note(request)
            elif step is Do.HEAR:
                reader.some()
            else:
                if request is None:
                    self._note(head)
                _end(sock, reader, with_reset=step is Do.RESET)
                return False
        if request is None:
            request = reader.request_body(head)
            self._note(request)
        return request.whole

    def _note_head(self) -> None:
        with self._changed:
            self._heads += 1
            self._changed.notify_all()

    def _note(self, request: Message) -> None:
        with self._changed:
            self._seen.append(request)
            self._changed.notify_all()


def _end(sock: socket.socket, reader: Reader, *, with_reset: bool) -> None:
    """Break the connection off, or send no more and read on, so that what was sent is not lost."""
    if with_reset:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    else:
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(LINGER_SECONDS)
        reader.rest()
