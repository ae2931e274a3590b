"""What this machine itself says: the settings, the state directory, the token, and the agent that runs here."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from agent.condition import span, standing, state
from agent.failure import AgentError, ConfigurationError
from agent.identity import FILE_BYTES, KEY, Memory, check_directory, read_memory
from agent.probes.step import Chain, StepError, StepSkipped
from agent.settings import Settings
from agent.status import read_status
from agent.wire.enrolment import instance_id
from agent.wire.token import AccessToken


class Running:
    """The agent that runs with this state directory, as its status tells; empty if none answers."""

    def __init__(self, status: dict[str, Any] | None) -> None:
        self.status = status

    @property
    def stands(self) -> bool:
        return self.status is not None and standing(self.status)

    @property
    def stands_whole(self) -> bool:
        """Whether every tunnel that the relay wants stands: then nothing is wrong with this installation's rights."""
        return self.status is not None and state(self.status) == "online"

    @property
    def certificate_seconds(self) -> float:
        return float(self.status.get("certificate_seconds") or 0) if self.status else 0.0

    def tunnel_at(self, node: str, transport: str) -> dict[str, Any] | None:
        """A tunnel that stands on a node by a transport."""
        tunnels: list[dict[str, Any]] = self.status.get("tunnels", []) if self.status else []
        at = (
            t for t in tunnels if (t.get("state"), t.get("node"), t.get("transport")) == ("standing", node, transport)
        )
        return next(at, None)


@dataclass(frozen=True, slots=True)
class Here:
    """What was found; `memory` and `key` are of an enrolment at this very relay."""

    token: AccessToken | None
    memory: Memory | None
    key: Ed25519PrivateKey | None
    agent: Running


async def look_here(chain: Chain, settings: Settings) -> Here:
    """The steps `settings`, `state directory`, `token`, `agent`: each stands for itself."""
    chain.succeed("settings", f"{len(settings.stores)} store(s), relay {settings.relay}")
    directory = settings.state_dir.absolute()
    memory = await chain.step("state directory", lambda: _state_directory(directory, settings.relay), "")
    chain.broken = ""
    token = await chain.step("token", lambda: _token(settings, memory), "")
    chain.broken = ""
    key = _read_key(directory)
    status = await chain.step("agent", lambda: _agent(directory, key), "look into its log, or restart it")
    if memory is None or key is None:
        return Here(token, None, None, Running(status))
    return Here(token, memory, key, Running(status))


def openssh_line(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def openssh_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


async def _state_directory(directory: Path, relay: str) -> tuple[Memory | None, str]:
    return _look_into(directory, relay)


def _look_into(directory: Path, relay: str) -> tuple[Memory | None, str]:
    try:
        if not directory.exists():
            return None, _place_for(directory)
        owner = directory.stat().st_uid
        as_root = os.geteuid() == 0 and owner != 0
        if not as_root:
            check_directory(directory)
        memory = read_memory(directory)
    except ConfigurationError as error:
        seen, _, remedy = str(error).rstrip(".").rpartition(": ")
        raise StepError(seen, remedy, final=True) from None
    except OSError as error:
        raise StepError(
            f"the state directory {directory} cannot be looked into: {error.strerror}", "check as the agent's user"
        ) from None
    return memory if memory and memory.relay == relay else None, (
        f"{directory} {_content(directory, memory, relay)}"
        + (f"; it belongs to user {owner}, who must be the agent's" if as_root else "")
    )


def _content(directory: Path, memory: Memory | None, relay: str) -> str:
    if memory and memory.relay == relay:
        return f"holds this installation, enrolled as {memory.agent_name!r}"
    if memory:
        return f"holds an enrolment at another relay, {memory.relay}"
    return "holds a key that has not enrolled" if (directory / KEY).exists() else "holds no key yet"


def _place_for(directory: Path) -> str:
    parent = next(parent for parent in directory.parents if parent.exists())
    if not os.access(parent, os.W_OK | os.X_OK):
        raise StepError(
            f"{directory} does not exist and cannot be made in {parent}", "choose one with --state-dir", final=True
        )
    return f"{directory} will be made"


async def _token(settings: Settings, memory: Memory | None) -> tuple[AccessToken | None, str]:
    try:
        token = settings.read_token()
    except ConfigurationError as error:
        seen, _, remedy = str(error).partition(". ")
        raise StepError(seen.rstrip("."), remedy or "copy the access token there again, whole", final=True) from None
    if token:
        return token, f"well formed ({token.id}, for the relay whose host CA is {token.ca_fingerprint.hex()})"
    if memory:
        return None, f"not needed: enrolled as {memory.agent_name!r}"
    raise StepError("no access token is given", "name its file with --token-file", final=True)


async def _agent(directory: Path, key: Ed25519PrivateKey | None) -> tuple[dict[str, Any], str]:
    try:
        status = await asyncio.to_thread(read_status, directory, chosen=False)
    except AgentError as error:
        raise StepSkipped(str(error).partition(":")[0].rstrip(".")) from None
    if key is None or status.get("instance") != instance_id(openssh_line(key)):
        raise StepSkipped(f"no agent runs with {directory}")
    tunnels = status.get("tunnels", [])
    stand = sum(tunnel.get("state") == "standing" for tunnel in tunnels)
    up = span(time.time() - status["started"]) if "started" in status else "some time"
    return status, f"runs here (process {status.get('pid')}) for {up}; {stand} of {len(tunnels)} tunnels stand"


def _read_key(directory: Path) -> Ed25519PrivateKey | None:
    with contextlib.suppress(OSError, ValueError):
        handle = os.open(directory / KEY, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(handle, "rb") as file:  # noqa: PTH123 - pathlib opens no descriptors
            key = load_ssh_private_key(file.read(FILE_BYTES), None)
        return key if isinstance(key, Ed25519PrivateKey) else None
    return None
