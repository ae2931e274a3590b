"""The certificate authorities at work: what an instance's certificate says, and what the relay's own host shows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncssh
from pydantic import SecretBytes

from agent.wire.limits import CERTIFICATE_BACKDATE_SECONDS, CERTIFICATE_SECONDS

HOST_PRINCIPAL = "relay.postern.invalid"
"""The name in every host certificate, so that the check is the same over TCP, WebSocket and balancers."""

_IDENTITY = re.compile(r"postern (ins_[a-z2-7]{16}) (atk_[a-z2-7]{16}) (\d{1,20}) (\d{1,12})")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who logged in. `token` is the access token (`atk_…`) that the instance showed last; `not_after` unix seconds."""

    agent: str
    instance: str
    token: str
    serial: int
    not_after: int

    @property
    def command(self) -> str:
        """As it travels in the certificate's `force-command`, the one field that asyncssh hands to a server."""
        return f"postern {self.instance} {self.token} {self.serial} {self.not_after}"

    @classmethod
    def read(cls, agent: str, command: object) -> Identity | None:
        match = _IDENTITY.fullmatch(command) if isinstance(command, str) else None
        if not match:
            return None
        instance, token, serial, not_after = match.groups()
        return cls(agent, instance, token, int(serial), int(not_after))


class Authority:
    """Signs with the user CA, shows the host CA. Keys come as OpenSSH private keys."""

    def __init__(self, *, user_ca: SecretBytes, host_ca: SecretBytes, host_key: SecretBytes) -> None:
        self._user_ca = asyncssh.import_private_key(user_ca.get_secret_value())
        self._host_ca = asyncssh.import_private_key(host_ca.get_secret_value())
        self._host_key = asyncssh.import_private_key(host_key.get_secret_value())

    @property
    def host_ca_line(self) -> str:
        """The public half, as an OpenSSH line without comment."""
        return _line(self._host_ca)

    @property
    def trusted_clients(self) -> asyncssh.SSHAuthorizedKeys:
        return _NamedOnly(f"cert-authority {_line(self._user_ca)}\n")

    def certify_instance(self, public_key: str, identity: Identity) -> str:
        """An OpenSSH user certificate; its only principal is the agent, so the user name needs no code of ours."""
        certificate = self._user_ca.generate_user_certificate(
            asyncssh.import_public_key(public_key),
            key_id=f"{identity.agent}:{identity.instance}:{identity.serial}",
            serial=identity.serial,
            principals=[identity.agent],
            valid_after=identity.not_after - CERTIFICATE_SECONDS - CERTIFICATE_BACKDATE_SECONDS,
            valid_before=identity.not_after,
            force_command=identity.command,
            permit_x11_forwarding=False,
            permit_agent_forwarding=False,
            permit_pty=False,
            permit_user_rc=False,
        )
        return certificate.export_certificate().decode().strip()

    def host_identity(self, *names: str) -> tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]:
        """`names`: further ones under which the host is known, to clients that do not know HOST_PRINCIPAL."""
        certificate = self._host_ca.generate_host_certificate(
            self._host_key,
            key_id="relay",
            principals=[HOST_PRINCIPAL, *names],
            valid_after="-1d",
            valid_before="+3650d",
        )
        return self._host_key, certificate


class _NamedOnly(asyncssh.SSHAuthorizedKeys):
    """Takes no certificate without principals: asyncssh would let it in under every name."""

    def validate(
        self,
        key: asyncssh.SSHKey,
        client_host: str,
        client_addr: str,
        cert_principals: Sequence[str] | None = None,
        ca: bool = False,
    ) -> Any:
        if ca and not cert_principals:
            return None
        return super().validate(key, client_host, client_addr, cert_principals, ca)


def _line(key: asyncssh.SSHKey) -> str:
    return " ".join(key.export_public_key().decode().split()[:2])
