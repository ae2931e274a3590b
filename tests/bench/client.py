"""The bench's own client, for what wrk does not do: big bodies, paced requests, and times that include connecting.

Run as a program of its own, so that the bench costs it nothing: `python -m tests.bench.client JOB` takes a `Job` and
prints a `Report`, both as JSON. Blocking sockets and a thread per client, since they only wait.
"""

import dataclasses
import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

TIMEOUT_S = 30.0  # of one read or write; nothing here may take that long
PIECE = 1 << 20  # bytes read or written at once


class AnswerError(Exception):
    """The road answered something else than was asked for."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to do: `download` or `upload` big bodies one after another; `paced` requests, each client one every
    `pause_s`; or `fresh` ones, each on a connection of its own, as fast as they go.
    """

    kind: str
    port: int
    path: str
    authorization: str
    size: int  # bytes of the body that is expected or sent
    seconds: float
    clients: int = 1
    pause_s: float = 0


@dataclass(slots=True)
class Report:
    """`seconds_each` holds the time of every request that was answered as expected."""

    seconds_each: list[float] = field(default_factory=list)
    elapsed_s: float = 0
    errors: list[str] = field(default_factory=list)


class Caller:
    """One connection, with requests sent on it one after another."""

    def __init__(self, port: int, authorization: str) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = f"Host: 127.0.0.1:{port}\r\nAuthorization: {authorization}\r\n"
        self._piece = memoryview(bytearray(PIECE))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def get(self, path: str, *, size: int, close: bool = False, take: Callable[[memoryview], object] = len) -> None:
        """GET it and give its body to `take`, piece by piece.

        Raises:
            AnswerError: it is not a 200 with `size` bytes.
        """
        ending = "Connection: close\r\n" if close else ""
        self._sock.sendall(f"GET {path} HTTP/1.1\r\n{self._head}{ending}\r\n".encode())
        self._answer(size, take)

    def upload(self, path: str, *, size: int) -> None:
        """POST `size` bytes; the answer tells how many the store got.

        Raises:
            AnswerError: it is not a 200 that tells at least as many.
        """
        self._sock.sendall(f"POST {path} HTTP/1.1\r\n{self._head}Content-Length: {size}\r\n\r\n".encode())
        for start in range(0, size, PIECE):
            self._sock.sendall(self._piece[: min(PIECE, size - start)])
        answer = bytearray()
        self._answer(None, answer.extend)
        if int(answer) < size:
            raise AnswerError(f"the store got {int(answer)} of {size} bytes")

    def at_end(self) -> bool:
        """Whether the other side has closed it."""
        try:
            return not self._sock.recv(1)
        except ConnectionResetError:
            return True

    def _answer(self, size: int | None, take: Callable[[memoryview], object]) -> None:
        """Read one; its length must be `size`, if that is known."""
        head, rest = self._answer_head()
        status, length = _judged(head)
        if status != 200 or length != (length if size is None else size):
            raise AnswerError(f"answered {status} with {length} bytes: {rest[:300]!r}")
        take(memoryview(rest))
        left = length - len(rest)
        while left:
            got = self._sock.recv_into(self._piece, min(left, PIECE))
            if not got:
                raise AnswerError(f"closed {left} bytes before the end of an answer")
            take(self._piece[:got])
            left -= got

    def _answer_head(self) -> tuple[bytes, bytes]:
        received = b""
        while b"\r\n\r\n" not in received:
            got = self._sock.recv(1 << 16)
            if not got:
                raise AnswerError("closed without an answer")
            received += got
        head, _, rest = received.partition(b"\r\n\r\n")
        return head, rest


def work(job: Job) -> Report:
    """Do it; an error ends the client that met it and is reported, never raised."""
    report, kind = Report(), _KINDS[job.kind]
    started = time.perf_counter()

    def client() -> None:
        try:
            kind(job, started + job.seconds, report.seconds_each)
        except (OSError, AnswerError) as error:
            report.errors.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=client) for _ in range(job.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report.elapsed_s = time.perf_counter() - started
    return report


def _fresh(job: Job, until: float, times: list[float]) -> None:
    while (start := time.perf_counter()) < until:
        with Caller(job.port, job.authorization) as caller:
            caller.get(job.path, size=job.size, close=True)
            times.append(time.perf_counter() - start)


def _paced(job: Job, until: float, times: list[float]) -> None:
    with Caller(job.port, job.authorization) as caller:
        while (start := time.perf_counter()) < until:
            caller.get(job.path, size=job.size)
            times.append(time.perf_counter() - start)
            time.sleep(max(0, start + job.pause_s - time.perf_counter()))


def _download(job: Job, until: float, times: list[float]) -> None:
    while (start := time.perf_counter()) < until:
        with Caller(job.port, job.authorization) as caller:
            caller.get(job.path, size=job.size)
            times.append(time.perf_counter() - start)


def _upload(job: Job, until: float, times: list[float]) -> None:
    while (start := time.perf_counter()) < until:
        with Caller(job.port, job.authorization) as caller:
            caller.upload(job.path, size=job.size)
            times.append(time.perf_counter() - start)


_KINDS = {"fresh": _fresh, "paced": _paced, "download": _download, "upload": _upload}


def _judged(head: bytes) -> tuple[int, int]:
    """Status and length of an answer."""
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(status.split()[1]), int(headers.get("content-length", -1))


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(work(Job(**json.loads(sys.argv[1]))))))
