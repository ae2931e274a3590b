"""An agent made by hand: it enrols, forges certificates with whatever keys it has, and dials as it likes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncssh
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from agent.wire import ssh
from agent.wire.enrolment import PATH, EnrolmentRequest, SignedRequest
from agent.wire.token import AccessToken
from relay.database import authorities
from relay.settings import Settings
from tests.system import caller
from tests.system.caller import Answer
from tests.system.programs import HOST
from tests.system.road import Entry, Road

LOGIN_SECONDS = 10.0
PARTING_SECONDS = 3.0  # from a login that is not wanted to its end


@dataclass(frozen=True, slots=True)
class Instance:
    """A key that has enrolled, with what the relay gave it."""

    entry: Entry
    id: str
    key: asyncssh.SSHKey
    certificate: asyncssh.SSHCertificate
    answer: dict[str, Any]
    signer: Ed25519PrivateKey  # the same key, for enrolments


def sign(road: Road, token: str | None, key: Ed25519PrivateKey, **more: Any) -> SignedRequest:
    """An enrolment as the real agent makes it, signed and not yet sent."""
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    request = EnrolmentRequest(public_key=public, host_name="by-hand", version="0", stores=["http://shop.test"])
    given = {"relay": road.url, "time": int(time.time()), **more}
    return SignedRequest.sign(request, key=key, token=AccessToken.parse(token) if token else None, **given)


def post(
    road: Road, signed: SignedRequest, headers: dict[str, str] | None = None, *, body: bytes | None = None
) -> Answer:
    """Send it, with another body or other headers than were signed where the test wants that."""
    sent = [*(signed.headers | (headers or {})).items()]
    return caller.ask(road.http_port, "POST", PATH, sent, signed.body if body is None else body)


def enrol(road: Road, entry: Entry, key: Ed25519PrivateKey | None = None) -> Instance:
    key = key or Ed25519PrivateKey.generate()
    answer = post(road, sign(road, entry.token, key))
    assert answer.status == 200, answer
    told = json.loads(answer.body)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    ssh_key, certificate = asyncssh.import_private_key(private), asyncssh.import_certificate(told["certificate"])
    return Instance(entry, told["instance_id"], ssh_key, certificate, told, key)


@dataclass(frozen=True, slots=True)
class Stolen:
    """The relay's own CAs."""

    user_ca: asyncssh.SSHKey
    host_ca: asyncssh.SSHKey


async def authority_keys(road: Road) -> Stolen:
    """What somebody has who took the database and the master keys."""
    database = await Settings(state_dir=road.state_dir).open_database()
    try:
        keys = await authorities.load(database)
    finally:
        await database.close()
    user_ca, host_ca = (each.private_key.get_secret_value() for each in (keys.user_ca, keys.host_ca))
    return Stolen(asyncssh.import_private_key(user_ca), asyncssh.import_private_key(host_ca))


@asynccontextmanager
async def dialled(
    road: Road, user: str, keys: list[Any], **options: Any
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """Log in as `user` with keys or (key, certificate) pairs. Raises what asyncssh raises."""
    given: dict[str, Any] = ssh.CLIENT | {"username": user, "client_keys": keys, "known_hosts": None}
    given |= {"server_host_key_algs": "default", "login_timeout": LOGIN_SECONDS} | options
    connection = await asyncssh.connect(HOST, road.ssh_port, **given)
    try:
        yield connection
    finally:
        connection.abort()


async def refused(road: Road, user: str, keys: list[Any], **options: Any) -> str:
    """The reason for which a login is refused; AssertionError if somebody gets in, or may publish."""
    try:
        async with dialled(road, user, keys, **options) as connection:
            # the relay judges revocations once SSH itself is content, so the word may come a moment after the login
            with contextlib.suppress(asyncssh.Error, asyncssh.ChannelListenError):
                await connection.create_server(nobody, "shop.test", 80, encoding=None)
                raise AssertionError(f"{user} got in, and published a store")
            async with asyncio.timeout(PARTING_SECONDS):
                await connection.wait_closed()
            return "ended after the login"
    except TimeoutError:
        raise AssertionError(f"{user} got in, and stays") from None
    except (asyncssh.Error, OSError) as error:
        return str(error)


def nobody(_host: str, _port: int) -> Any:
    raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "nobody here")


def listens(port: int) -> bool:
    """Whether anything takes connections there."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True
