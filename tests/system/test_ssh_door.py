"""The agents' door: whose certificate opens it, and that there is nothing behind it but published names."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncssh
import pytest

from tests.system import hostile
from tests.system.caller import JSON, Answer
from tests.system.hostile import Instance, dialled
from tests.system.lan import DOMAIN, Lan
from tests.system.programs import HOST, free_ports
from tests.system.road import Connection, Road

pytestmark = pytest.mark.timeout(60)

LIFE = 3600


@pytest.fixture(scope="module", autouse=True)
def known_place(lan: Lan) -> None:
    """An agent that stands: from where one has logged in, failed logins bring no penalty."""


@pytest.fixture(scope="module")
def instance(road: Road) -> Instance:
    """A key that has enrolled, and whose agent does not run: nobody's place is taken by dialling with it."""
    return hostile.enrol(road, road.new_agent())


@pytest.fixture(scope="module")
def victim(road: Road) -> Instance:
    """The same of another agent."""
    return hostile.enrol(road, road.new_agent())


def forged(ca: asyncssh.SSHKey, key: asyncssh.SSHKey, like: Instance, **but: Any) -> asyncssh.SSHCertificate:
    """A user certificate as the relay makes it for `like`, but for what is said."""
    now = int(time.time())
    command = vars(like.certificate)["options"]["force-command"]
    options = {"principals": [like.entry.id], "force_command": command, "serial": 7, "key_id": "forged"}
    options |= {"valid_after": now - 60, "valid_before": now + LIFE, "permit_pty": False}
    return ca.generate_user_certificate(key, **(options | but))


async def test_a_certificate_of_the_relay_opens_the_door(road: Road, instance: Instance) -> None:
    """The control of the tests below: enrolled, and forged with the relay's own CA, it may publish."""
    copy = forged((await hostile.authority_keys(road)).user_ca, instance.key, instance)
    for certificate in (instance.certificate, copy):
        async with dialled(road, instance.entry.id, [(instance.key, certificate)]) as connection:
            published = await connection.create_server(hostile.nobody, DOMAIN, 80, encoding=None)
            assert published.get_port() == 80


@pytest.mark.parametrize(
    "but",
    [
        {"valid_after": 1, "valid_before": int(time.time()) - 60},
        {"valid_after": int(time.time()) + 86_400, "valid_before": int(time.time()) + 172_800},
        {"principals": []},
        {"principals": ["agt_aaaaaaaaaaaaaaaa"]},
        {"principals": ["*"]},
        {"force_command": None},
        {"force_command": "sh"},
        {"source_address": ["192.0.2.1"]},
    ],
    ids=["expired", "not yet valid", "no principal", "another agent", "star", "no identity", "no id", "elsewhere"],
)
async def test_certificates_that_even_the_right_ca_could_not_make_good(
    road: Road, instance: Instance, but: dict[str, Any]
) -> None:
    """Expired, for nobody, for somebody else, or without an identity: refused."""
    certificate = forged((await hostile.authority_keys(road)).user_ca, instance.key, instance, **but)
    await hostile.refused(road, instance.entry.id, [(instance.key, certificate)])


async def test_another_ca_and_other_kinds_of_certificate(road: Road, instance: Instance) -> None:
    """Another CA, a host certificate, a certificate of another key, a bare key, one's own signature: refused."""
    ca, stranger = (await hostile.authority_keys(road)).user_ca, asyncssh.generate_private_key("ssh-ed25519")
    as_host = ca.generate_host_certificate(instance.key, key_id="relay", principals=[instance.entry.id])
    for keys in (
        [(instance.key, forged(stranger, instance.key, instance))],
        [(instance.key, forged(instance.key, instance.key, instance))],
        [(instance.key, as_host)],
        [instance.key],
        [stranger],
        [],
    ):
        await hostile.refused(road, instance.entry.id, keys)


async def test_a_good_certificate_is_good_for_its_own_agent_alone(
    road: Road, instance: Instance, victim: Instance
) -> None:
    """An enrolled instance cannot log in as another agent, nor as anybody that a system would know."""
    for user in (victim.entry.id, instance.id, "root", "", "*", f"{instance.entry.id} ", instance.entry.id.upper()):
        await hostile.refused(road, user, [(instance.key, instance.certificate)])


async def test_no_other_way_to_authenticate(road: Road, instance: Instance) -> None:
    """Passwords and the like are not even asked for."""
    methods = await asyncssh.get_server_auth_methods(HOST, road.ssh_port, instance.entry.id, config=None)
    assert methods == ["publickey"]
    await hostile.refused(
        road, instance.entry.id, [], password="guess", preferred_auth=["password", "keyboard-interactive"]
    )


Attempt = Callable[[], Awaitable[object]]


def services(connection: asyncssh.SSHClientConnection, port: int) -> dict[str, Attempt]:
    """Everything that an SSH client can ask of a server, and that this one must not do."""
    channel: Any = connection.create_tcp_channel(None)

    def publish(host: str, number: int = 80) -> Attempt:
        return lambda: connection.create_server(hostile.nobody, host, number, encoding=None)

    return {
        "shell": connection.create_process,
        "command": lambda: connection.run("id"),
        "subsystem": connection.start_sftp_client,
        "terminal": lambda: connection.create_process(term_type="xterm"),
        "x11": lambda: connection.create_process(x11_forwarding=True),
        "agent forwarding": lambda: connection.create_process("id", env={"SSH_AUTH_SOCK": "/x"}),
        "direct-tcpip": lambda: connection.open_connection(HOST, port),
        "direct-tcpip to a published name": lambda: connection.open_connection(DOMAIN, 80),
        "direct-streamlocal": lambda: connection.open_unix_connection("/run/x"),
        "streamlocal-forward": lambda: connection.create_unix_server(_no_unix, "/tmp/postern-x"),
        "tun": lambda: connection.create_tun(asyncssh.SSHTunTapSession),
        "x11 channel": lambda: channel._open(b"x11"),
        "agent channel": lambda: channel._open(b"auth-agent@openssh.com"),
        "forwarded-tcpip channel": lambda: channel._open(b"forwarded-tcpip"),
        "port 0": publish(DOMAIN, 0),
        "no name": publish("", port),
        "a name with blanks": publish("a b"),
        "a name with a line end": publish("a\nb"),
        "too long a name": publish("a" * 300),
    }


SERVICES = (
    "shell", "command", "subsystem", "terminal", "x11", "agent forwarding", "direct-tcpip",
    "direct-tcpip to a published name", "direct-streamlocal", "streamlocal-forward", "tun", "x11 channel",
    "agent channel", "forwarded-tcpip channel", "port 0", "no name", "a name with blanks", "a name with a line end",
    "too long a name",
)  # fmt: skip


def _no_unix() -> Any:
    raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "nobody here")


@pytest.mark.parametrize("name", SERVICES)
async def test_there_is_nothing_behind_the_door_but_names(road: Road, instance: Instance, name: str) -> None:
    """Sessions, direct-tcpip, sockets, X11, agents, port 0, odd names: refused, and names still work afterwards."""
    async with dialled(road, instance.entry.id, [(instance.key, instance.certificate)]) as connection:
        with pytest.raises((asyncssh.ChannelOpenError, asyncssh.ChannelListenError)):
            await services(connection, road.http_port)[name]()
        await connection.create_server(hostile.nobody, "still.test", 80, encoding=None)


async def test_publishing_binds_no_port(road: Road, instance: Instance) -> None:
    """Whatever is published, with the relay's own addresses as names: nothing listens there afterwards."""
    ports = free_ports(2)
    async with dialled(road, instance.entry.id, [(instance.key, instance.certificate)]) as connection:
        for port, name in zip(ports, (HOST, "localhost"), strict=True):
            await connection.create_server(hostile.nobody, name, port, encoding=None)
        assert [hostile.listens(port) for port in ports] == [False, False]


async def test_a_tunnel_publishes_64_stores_and_no_more(road: Road, instance: Instance) -> None:
    """The 65th name is refused, and the tunnel stands."""
    async with dialled(road, instance.entry.id, [(instance.key, instance.certificate)]) as connection:
        for number in range(64):
            await connection.create_server(hostile.nobody, f"shop{number}.test", 80, encoding=None)
        with pytest.raises(asyncssh.ChannelListenError):
            await connection.create_server(hostile.nobody, "one.more.test", 80, encoding=None)


async def test_an_agent_cannot_answer_for_another(road: Road, instance: Instance, connection: Connection) -> None:
    """Publishing a name that another agent's connection uses brings nobody's requests here."""
    asked = []

    def curious(host: str, port: int) -> Any:
        asked.append((host, port))
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "caught one")

    async with dialled(road, instance.entry.id, [(instance.key, instance.certificate)]) as tunnel:
        await tunnel.create_server(curious, DOMAIN, 80, encoding=None)
        own = road.connect(instance.entry.id, f"http://{DOMAIN}", "K" * 32)
        for _ in range(3):
            assert (await _ask(connection)).status == 200
        assert asked == []
        assert (await _ask(own)).code == "store_not_published"  # what the relay makes of a refusal without our codes
        assert len(asked) > 0


async def _ask(connection: Connection) -> Answer:
    return await asyncio.to_thread(connection.ask, "/api/orders?limit=1")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0xFE000002, "x" * 5000),
        (0xFE000007, "\x1b[31m<b>]]>\r\nSet-Cookie: a=b\r\n\r\n"),
        (0xFFFFFFFF, ""),
        (1, "administratively"),
        (0xFE000003, "é\x00\u202e"),
    ],
    ids=["long", "control characters", "unknown number", "known to SSH", "not ASCII"],
)
async def test_a_hostile_agent_that_refuses_oddly_does_no_harm(
    road: Road, instance: Instance, number: int, text: str
) -> None:
    """What an agent says of a refusal is untrusted: cut, in well-formed XML and JSON, nothing that acts on a reader."""

    def odd(host: str, port: int) -> Any:
        raise asyncssh.ChannelOpenError(number, text)

    async with dialled(road, instance.entry.id, [(instance.key, instance.certificate)]) as tunnel:
        await tunnel.create_server(odd, "odd.test", 80, encoding=None)
        own = road.connect(instance.entry.id, "http://odd.test", "K" * 32)
        for headers in ([], [JSON]):
            answer = await asyncio.to_thread(own.ask, "/api/orders", headers=headers)
            assert answer.status in {502, 503, 504}
            ((_, sentence),) = answer.errors
            assert len(sentence) < 1000
            assert all(character.isprintable() for character in sentence)
            assert "set-cookie" not in answer.names()
