"""The SSH login at the relay: whom the agent believes, as whom it comes, and what each failure means."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import asyncssh

from agent.enrolment import Admission
from agent.logs import printable
from agent.wire import ssh
from agent.wire.carrier import Dialled
from agent.wire.enrolment import Endpoint
from agent.wire.limits import LOGIN_SECONDS


class TunnelError(Exception):
    """A tunnel could not be opened. `refused`: the relay was there and said no, perhaps with a time in seconds."""

    def __init__(self, sentence: str, *, refused: bool = False, retry_after: float | None = None) -> None:
        super().__init__(sentence)
        self.refused = refused
        self.retry_after = retry_after


class LoginRefusedError(TunnelError):
    """The relay does not take this certificate, or nothing under it: a new one is needed."""

    def __init__(self, what: str = "the relay does not take this instance's certificate") -> None:
        super().__init__(f"{what}; asking for a new one", refused=True)


class Member(Protocol):
    """As whom one comes, and whom one believes."""

    @property
    def agent_id(self) -> str: ...
    @property
    def credentials(self) -> tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]: ...
    @property
    def host_cas(self) -> tuple[asyncssh.SSHKey, ...]: ...
    @property
    def host_principal(self) -> str: ...


async def connect(
    dialled: Dialled, member: Member, endpoint: Endpoint, version: str, seconds: float, **more: Any
) -> asyncssh.SSHClientConnection:
    """A login over what was dialled, to a host that one of the CAs vouches for. Raises asyncssh.Error, OSError."""
    trusted: tuple[list[Any], list[Any], list[Any]] = ([], list(member.host_cas), [])
    options: dict[str, Any] = ssh.CLIENT | {
        "tunnel": dialled,
        "username": member.agent_id,
        "client_keys": [member.credentials],
        "known_hosts": lambda _host, _address, _port: trusted,
        "host_key_alias": member.host_principal,
        "login_timeout": seconds,
        "preferred_auth": "publickey",
        "client_version": version,
    }
    try:
        return await asyncssh.connect(endpoint.host, endpoint.port, **options, **more)
    finally:
        dialled.abandon()


async def log_in(
    dialled: Dialled, admission: Admission, endpoint: Endpoint, client: asyncssh.SSHClient, version: str
) -> asyncssh.SSHClientConnection:
    """`version`: how this end names itself, as it was dialled. Raises TunnelError."""
    where = f"{endpoint.host}:{endpoint.port}"
    try:
        async with asyncio.timeout(LOGIN_SECONDS):
            return await connect(dialled, admission, endpoint, version, LOGIN_SECONDS, client_factory=lambda: client)
    except (TimeoutError, asyncssh.ConnectionLost):
        raise TunnelError(f"{where} takes connections, but does not finish an SSH login") from None
    except asyncssh.HostKeyNotVerifiable as error:
        raise TunnelError(
            f"what answers at {where} is not the relay that the access token names ({printable(error.reason)})",
            refused=True,
        ) from None
    except asyncssh.PermissionDenied:
        raise LoginRefusedError from None
    except asyncssh.Error as error:
        raise TunnelError(f"{where} refuses the SSH connection: {printable(error.reason)}", refused=True) from None
    except (OSError, ValueError) as error:
        raise TunnelError(f"the SSH login at {where} failed: {printable(str(error))}") from None
