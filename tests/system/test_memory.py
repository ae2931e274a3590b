"""Memory does not grow with the size of a body, nor with a reader who takes his time (design promise 5)."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.store import huge
from tests.system.caller import Line, basic, request
from tests.system.callers import LastingCallers
from tests.system.lan import DOMAIN
from tests.system.programs import HOST, Program
from tests.system.road import Connection, NewRoad, Road

pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

MIB = 1 << 20
BODY_BYTES = 2 << 30
GROWTH_BYTES = 64 * MIB
PIECE = MIB
SLOW_SECONDS = 60.0
SLOW_BYTES_PER_SECOND = 10_000
SLOW_COST_BYTES = 8 * MIB
OTHERS = 4  # callers beside the slow reader
OTHERS_PAUSE = 0.02  # seconds between two requests of one of them
SECONDS = 200.0


@pytest.fixture(scope="module")
def wide(new_road: NewRoad) -> Iterator[tuple[Road, Connection]]:
    """A road of its own, warmed up: what its processes take now is what they take at rest."""
    road = new_road("memory")
    shop = road.start_shop("--domain", DOMAIN, huge=BODY_BYTES)
    agent = road.start_agent(road.new_agent(), [f"http://{DOMAIN}={HOST}:{shop.port}"])
    connection = road.connect(agent.entry.id, f"http://{DOMAIN}", shop.key)
    for _ in range(50):
        assert connection.ask("/api/products?display=full").status == 200
    download(connection, 8 * MIB)
    upload(connection, 8 * MIB)
    yield road, connection
    road.close()


def programs(road: Road) -> list[Program]:
    return [program for program in road.programs if "shop" not in program.name]


def growth(road: Road, block: Callable[[], object]) -> dict[str, float]:
    """By how many MiB each process's peak is above what it took at rest, after the block."""
    before = {}
    for program in programs(road):
        Path(f"/proc/{program.pid}/clear_refs").write_text("5")  # the peak starts anew (proc_pid_clear_refs(5))
        before[program.name] = program.memory()
    block()
    return {program.name: (program.memory("VmHWM") - before[program.name]) / MIB for program in programs(road)}


def download(connection: Connection, size: int, *, counted: bool = False) -> None:
    """GET so many bytes, and look at each."""
    target = f"/to/{connection.id}/api/__huge?size={size}" + ("&length=1" if counted else "")
    with Line(connection.relay_port, seconds=SECONDS) as line:
        head = [basic(connection.access_key), ("Connection", "close")]
        line.send(request("GET", target, head))
        digest, got = hashlib.sha256(), 0
        for piece in body(line, counted=counted):
            digest.update(piece)
            got += len(piece)
    assert got == size
    assert digest.hexdigest() == huge.sha256(size)


def body(line: Line, *, counted: bool) -> Iterator[bytes]:
    """The answer's body in pieces, nothing of it kept."""
    answer = line._head()
    assert answer.status == 200, answer
    if counted:
        left = int(answer.header("Content-Length") or "")
        while left:
            piece = line._file.read(min(left, PIECE))
            assert piece, f"broken off, {left} bytes missing"
            left -= len(piece)
            yield piece
        return
    while size := int(line._line().partition(b";")[0], 16):
        yield line._exactly(size)
        assert line._line() == b"\r\n"


def upload(connection: Connection, size: int, *, chunked: bool = False) -> None:
    """POST so many bytes; the shop tells how many came, and their SHA-256."""
    framing = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(size))
    with Line(connection.relay_port, seconds=SECONDS) as line:
        line.send(request("POST", f"/to/{connection.id}/api/__huge", [basic(connection.access_key), framing]))
        for piece in huge.content(size):
            line.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            line.send(b"0\r\n\r\n")
        answer = line.read()
    assert answer.json == {"length": size, "sha256": huge.sha256(size)}


@pytest.mark.parametrize("counted", [False, True], ids=["chunked", "counted"])
def test_two_gigabytes_down(wide: tuple[Road, Connection], counted: bool) -> None:
    """2 GiB of answer pass whole, in either framing, and no process's peak grows by 64 MiB."""
    road, connection = wide
    grown = growth(road, lambda: download(connection, BODY_BYTES, counted=counted))
    assert max(grown.values()) < GROWTH_BYTES / MIB, grown


@pytest.mark.parametrize("chunked", [False, True], ids=["counted", "chunked"])
def test_two_gigabytes_up(wide: tuple[Road, Connection], chunked: bool) -> None:
    """2 GiB of request body, likewise."""
    road, connection = wide
    grown = growth(road, lambda: upload(connection, BODY_BYTES, chunked=chunked))
    assert max(grown.values()) < GROWTH_BYTES / MIB, grown


def read_slowly(connection: Connection, seconds: float) -> bytes:
    """Begin a download of 2 GiB and take 10 kB of it per second, through a small window; what was read."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        sock.settimeout(20)
        sock.connect((HOST, connection.relay_port))
        target = f"/to/{connection.id}/api/__huge?size={BODY_BYTES}&length=1"
        sock.sendall(request("GET", target, [basic(connection.access_key)]))
        got, began = bytearray(), time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            due = int(passed * SLOW_BYTES_PER_SECOND) - len(got)
            if due > 0:
                piece = sock.recv(due)
                assert piece, f"cut off after {len(got)} bytes and {passed:.0f} s"
                got += piece
            time.sleep(0.05)
        return bytes(got)


def test_a_slow_reader_costs_little_and_delays_nobody(wide: tuple[Road, Connection]) -> None:
    """A minute at 10 kB/s: less than 8 MiB in either process, the others' p99 as without it, and it is not cut off."""
    road, connection = wide
    alone = LastingCallers([connection] * OTHERS, pause=OTHERS_PAUSE)
    with alone.calling():
        time.sleep(5.0)
    rest = {program.name: program.memory() for program in programs(road)}
    most = dict.fromkeys(rest, 0)
    beside, got = LastingCallers([connection] * OTHERS, pause=OTHERS_PAUSE), []
    reader = threading.Thread(target=lambda: got.append(read_slowly(connection, SLOW_SECONDS)))
    with beside.calling():
        reader.start()
        while reader.is_alive():
            for program in programs(road):
                most[program.name] = max(most[program.name], program.memory())
            time.sleep(0.2)
        reader.join()
    assert got, "the slow reader was cut off"
    _, _, read = got[0].partition(b"\r\n\r\n")
    assert len(read) > 0.9 * SLOW_SECONDS * SLOW_BYTES_PER_SECOND
    assert read == b"".join(huge.content(len(read)))
    cost = {name: (most[name] - rest[name]) / MIB for name in rest}
    assert max(cost.values()) < SLOW_COST_BYTES / MIB, cost
    assert alone.failed + beside.failed == []
    assert len(beside.seconds) > 1000
    assert beside.p99 < 2 * alone.p99 + 0.02, (beside.p99, alone.p99)
