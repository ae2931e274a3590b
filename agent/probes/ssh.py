"""A relay's SSH port: whether SSH comes through, and whether the relay lets this installation in."""

from __future__ import annotations

import asyncssh

from agent.login import connect
from agent.logs import printable
from agent.probes.membership import Membership
from agent.probes.road import Road
from agent.probes.step import STEP_SECONDS, Chain, StepError, StepSkipped
from agent.transports import TcpDialer
from agent.wire import ssh
from agent.wire.enrolment import Endpoint

NAME_BYTES = 255
"""Longest line with which SSH names itself (RFC 4253 §4.2)."""
_REFUSED = "look at the lines about the token and the enrolment; if they are right, restart the agent"


async def banner(chain: Chain, road: Road | None) -> None:
    """The step `banner`: the other end names itself as SSH."""

    async def named() -> tuple[None, str]:
        assert road is not None  # noqa: S101 - the steps before gave it
        async with road.open() as wire:
            wire.writer.write(f"SSH-2.0-{ssh.SECOND_VERSION}\r\n".encode())  # who says nothing is made to wait
            line = await wire.reader.read(NAME_BYTES)
        if line.startswith(b"postern: "):
            raise StepError(printable(line.decode("latin-1").strip()), "wait a minute and check again")
        if not line.startswith(b"SSH-"):
            seen = "the port answers, but not with SSH" if line else "the connection is closed before SSH begins"
            raise StepError(seen, _INSPECTED)
        called = line.partition(b"\n")[0].decode("latin-1").rstrip()
        return None, f"answers with SSH ({printable(called, 40)})"

    await chain.step("banner", named, _INSPECTED)


_INSPECTED = (
    "a firewall seems to look into this port: have it let SSH to the relay pass, or rely on the WebSocket, which the "
    "agent uses by itself where that is open"
)


async def login(
    chain: Chain, endpoint: Endpoint, dialer: TcpDialer, membership: Membership | None, *, otherwise: str
) -> None:
    """The step `login`, over and gone at once; without a membership it is skipped, and `otherwise` says why.

    It claims no slot and publishes nothing, so that the relay lets every tunnel of the installation be.
    """

    async def log_in() -> tuple[None, str]:
        if membership is None:
            raise StepSkipped(otherwise)
        connection = await _log_in(endpoint, dialer, membership)
        connection.disconnect(asyncssh.DISC_BY_APPLICATION, "postern-agent check")
        return None, "the relay lets this installation in"

    await chain.step("login", log_in, "the relay does not finish a login: does something on the way look into SSH?")


async def _log_in(endpoint: Endpoint, dialer: TcpDialer, membership: Membership) -> asyncssh.SSHClientConnection:
    dialled = await dialer.dial(endpoint, ssh.SECOND_VERSION)
    try:
        return await connect(dialled, membership, endpoint, ssh.SECOND_VERSION, STEP_SECONDS)
    except asyncssh.HostKeyNotVerifiable as error:
        raise StepError(
            f"what answers is not the relay that the access token names ({printable(error.reason)})",
            "something between here and the relay pretends to be it, or the address leads elsewhere: ask the network",
        ) from None
    except asyncssh.PermissionDenied:
        raise StepError("the relay does not take this installation's certificate", _REFUSED) from None
    except asyncssh.ConnectionLost:
        raise StepError("the connection is closed during the login", _INSPECTED) from None
    except asyncssh.Error as error:
        raise StepError(f"the relay refuses the login: {printable(error.reason)}", _REFUSED) from None
    except ValueError as error:
        raise StepError(f"what answers does not keep to SSH: {printable(str(error))}", _INSPECTED) from None
