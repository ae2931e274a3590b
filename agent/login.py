"""The SSH login at the relay: whom the agent believes, as whom it comes, and what each failure means."""

from __future__ import annotations

import asyncio
from typing import Any

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


async def log_in(
    dialled: Dialled, admission: Admission, endpoint: Endpoint, client: asyncssh.SSHClient, version: str
) -> asyncssh.SSHClientConnection:
    """`version`: how this end names itself, as it was dialled. Raises TunnelError."""
    where = f"{endpoint.host}:{endpoint.port}"
    trusted: tuple[list[Any], list[Any], list[Any]] = ([], list(admission.host_cas), [])
    options: dict[str, Any] = ssh.CLIENT | {
        "tunnel": dialled,
        "client_factory": lambda: client,
        "username": admission.agent_id,
        "client_keys": [admission.credentials],
        "known_hosts": lambda _host, _address, _port: trusted,
        "host_key_alias": admission.host_principal,
        "login_timeout": LOGIN_SECONDS,
        "preferred_auth": "publickey",
        "client_version": version,
    }
    try:
        async with asyncio.timeout(LOGIN_SECONDS):
            return await asyncssh.connect(endpoint.host, endpoint.port, **options)
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
    finally:
        dialled.abandon()
