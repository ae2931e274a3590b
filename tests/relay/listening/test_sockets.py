"""Listening sockets: handed over, or bound."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.listening import sockets
from relay.listening.sockets import HTTP, SSH, SSH_STOCK, PortError, Sockets, names_of, port_of
from relay.settings import Address, SettingsError

ANY = Address("127.0.0.1", 0)


@pytest.fixture
def opened() -> Iterator[list[socket.socket]]:
    """Whatever a test opens."""
    made: list[socket.socket] = []
    yield made
    for sock in made:
        sock.close()


class HandedOver:
    """Descriptors in a row, as systemd leaves them to the process that it starts."""

    def __init__(self, *originals: socket.socket | int, names: str, pid: int | None = None) -> None:
        self.first = 500
        for position, original in enumerate(originals):
            number = original if isinstance(original, int) else original.fileno()
            os.dup2(number, self.first + position)
        self.count = len(originals)
        self.environment = {
            "LISTEN_PID": str(os.getpid() if pid is None else pid),
            "LISTEN_FDS": str(self.count),
            "LISTEN_FDNAMES": names,
        }

    def close(self) -> None:
        for position in range(self.count):
            try:
                os.close(self.first + position)
            except OSError:
                continue


@pytest.fixture
def hand_over(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[HandedOver]]:
    made: list[HandedOver] = []

    class Made(HandedOver):
        def __init__(self, *originals: socket.socket | int, names: str, pid: int | None = None) -> None:
            super().__init__(*originals, names=names, pid=pid)
            monkeypatch.setattr(sockets, "FIRST_DESCRIPTOR", self.first)
            made.append(self)

    yield Made
    for one in made:
        one.close()


def listening(family: socket.AddressFamily = socket.AF_INET, host: str = "127.0.0.1") -> socket.socket:
    return socket.create_server((host, 0), family=family)


def test_what_systemd_hands_over_is_taken_by_name(hand_over: type[HandedOver], opened: list[socket.socket]) -> None:
    """In whatever order, several of a name too; what was not handed over is bound; nothing is inherited further."""
    ssh, http, http6 = listening(), listening(), listening(socket.AF_INET6, "::1")
    opened += [ssh, http, http6]
    given = hand_over(ssh, http, http6, names="ssh:http:http")
    ours = Sockets(given.environment)
    assert given.environment == {}, "a program that is started from here must not take them for its own"
    taken = ours.open(HTTP, ANY) + ours.open(SSH, ANY)
    assert [port_of(sock) for sock in taken] == [port_of(http), port_of(http6), port_of(ssh)]
    assert names_of(taken[:2]) == f"127.0.0.1:{port_of(http)}, [::1]:{port_of(http6)}"
    assert not any(sock.get_inheritable() for sock in taken)
    assert ours.optional(SSH_STOCK, None) == []
    bound = ours.optional(SSH_STOCK, ANY)
    assert len(bound) == 1
    opened += bound
    for sock in taken:
        sock.detach()


def test_what_is_meant_for_another_process_is_left_alone(
    hand_over: type[HandedOver], opened: list[socket.socket]
) -> None:
    """LISTEN_PID names the process that they were handed to."""
    sock = listening()
    opened.append(sock)
    ours = Sockets(hand_over(sock, names="http", pid=1).environment).open(HTTP, ANY)
    opened += ours
    assert port_of(ours[0]) != port_of(sock)


def test_a_name_that_is_none_of_ours_is_refused(hand_over: type[HandedOver], opened: list[socket.socket]) -> None:
    """The sentence says which names there are; a unit without names hands over its own."""
    sock = listening()
    opened.append(sock)
    for names in ("postern-relay.socket", "", "metrics"):
        with pytest.raises(SettingsError, match="FileDescriptorName= must be http, ssh, ssh-stock"):
            Sockets(hand_over(sock, names=names).environment)


def test_what_does_not_listen_is_refused(
    hand_over: type[HandedOver], opened: list[socket.socket], tmp_path: Path
) -> None:
    """A socket that is not listening, another kind of socket, a file."""
    idle, datagram, local = socket.socket(), socket.socket(type=socket.SOCK_DGRAM), socket.socket(socket.AF_UNIX)
    opened += [idle, datagram, local]
    local.bind(str(tmp_path / "socket"))
    local.listen()
    with (tmp_path / "file").open("w") as file:
        for wrong in (idle, datagram, local, file.fileno()):
            with pytest.raises(SettingsError, match="handed over as 'http'"):
                Sockets(hand_over(wrong, names="http").environment)


def test_a_port_that_is_taken_is_told(opened: list[socket.socket]) -> None:
    """In one sentence with the address."""
    sock = listening()
    opened.append(sock)
    with pytest.raises(PortError, match=rf"cannot listen on 127\.0\.0\.1:{port_of(sock)}: Address already in use"):
        Sockets({}).open(HTTP, Address("127.0.0.1", port_of(sock)))
