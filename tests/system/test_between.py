"""Somebody between a real agent and a real relay: what they can read, change and pretend."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import asyncssh
import pytest
import pytest_asyncio

from agent.wire.enrolment import ca_fingerprint
from agent.wire.token import AccessToken
from relay.tunnels.authority import HOST_PRINCIPAL
from tests.system import between, caller, hostile
from tests.system.between import Hop, impostor
from tests.system.lan import DOMAIN
from tests.system.programs import HOST
from tests.system.road import Agent, NewRoad, Road

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hop() -> AsyncIterator[Hop]:
    async with between.hop() as one:
        yield one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def tapped(hop: Hop, new_road: NewRoad) -> AsyncIterator[Road]:
    """A relay that is reached through the hop."""
    made = new_road("tapped", start=False, public_url=f"http://{HOST}:{hop.port}")
    hop.to_port = made.http_port
    await asyncio.to_thread(made.start_relay)
    yield made
    await asyncio.to_thread(made.close)


async def start_agent(tapped: Road, name: str) -> Agent:
    entry = await asyncio.to_thread(tapped.new_agent, name)
    return await asyncio.to_thread(tapped.start_agent, entry, [f"http://{DOMAIN}=127.0.0.1:9"], wait=False)


def endpoint(port: int) -> dict[str, Any]:
    return {"endpoints": [{"transport": "tcp", "node": "x", "host": HOST, "port": port}]}


def new_key() -> asyncssh.SSHKey:
    return asyncssh.generate_private_key("ssh-ed25519")


def host_certificate(ca: asyncssh.SSHKey, key: asyncssh.SSHKey, name: str = HOST_PRINCIPAL) -> asyncssh.SSHCertificate:
    return ca.generate_host_certificate(key, key_id="relay", principals=[name])


async def real_host_ca(tapped: Road) -> asyncssh.SSHKey:
    """As somebody has it who took the relay's database and master keys."""
    return (await hostile.authority_keys(tapped)).host_ca


IN_THE_RELAYS_PLACE = {
    "another CA": "is not the relay that the access token names",
    "another name": "is not the relay that the access token names",
    "a bare key": "refuses the SSH connection",
}


@pytest.mark.parametrize("shown", IN_THE_RELAYS_PLACE)
async def test_a_wrong_host_key_is_refused_and_told(tapped: Road, hop: Hop, shown: str) -> None:
    """In the relay's place: another CA's certificate, the right CA's for another name, a bare key. Nobody is let in."""
    key = new_key()
    keys = {
        "another CA": (key, host_certificate(new_key(), key)),
        "another name": (key, host_certificate(await real_host_ca(tapped), key, "evil.test")),
        "a bare key": key,
    }
    async with impostor(keys[shown]) as (port, met):
        hop.changes[shown] = endpoint(port)
        agent = await start_agent(tapped, shown)
        await asyncio.to_thread(agent.program.says, IN_THE_RELAYS_PLACE[shown])
        assert met == [], "not even the user name is sent to a host that is not believed"
    assert agent.program.running, "it goes on trying: the relay may come back"
    assert '"tunnel stands"' not in agent.program.text()


async def test_the_right_host_key_is_believed(tapped: Road, hop: Hop) -> None:
    """The control of the test before: with the relay's own CA and name, the impostor is met."""
    key = new_key()
    async with impostor((key, host_certificate(await real_host_ca(tapped), key))) as (port, met):
        hop.changes["believer"] = endpoint(port)
        agent = await start_agent(tapped, "believer")
        await asyncio.to_thread(agent.program.says, "but none of the stores")
    assert met[0] == f"user {agent.entry.id}"
    assert f"store {DOMAIN}:80" in met


async def test_another_host_ca_is_not_believed(tapped: Road, hop: Hop) -> None:
    """The hop puts its own host CA into the answer: the token's fingerprint gives it away, and nothing is dialled."""
    ca, key = new_key(), new_key()
    line = " ".join(ca.export_public_key().decode().split()[:2])
    async with impostor((key, host_certificate(ca, key))) as (port, met):
        hop.changes["misled"] = endpoint(port) | {"host_cas": [{"public_key": line}]}
        agent = await start_agent(tapped, "misled")
        await asyncio.to_thread(agent.program.says, "not enrolled")
        assert "host CA" in agent.program.text()
        assert met == []
    assert ca_fingerprint(line) != AccessToken.parse(agent.entry.token).ca_fingerprint


async def test_what_the_hop_has_read_is_of_no_use(tapped: Road, hop: Hop) -> None:
    """A recorded enrolment holds no token; sent again it is refused, changed it is refused."""
    hop.taken.clear()
    agent = await start_agent(tapped, "overheard")
    await asyncio.to_thread(agent.program.says, '"enrolled"')
    token = AccessToken.parse(agent.entry.token)
    taken = next(taken for taken in hop.taken if token.id.encode() in taken)
    for secret in (
        agent.entry.token.encode(),
        token.secret,
        token.secret.hex().encode(),
        base64.b64encode(token.secret),
    ):
        assert secret not in taken
    again = await asyncio.to_thread(caller.ask_raw, tapped.http_port, taken)
    assert (again.status, again.json["code"]) == (409, "nonce_reused")
    head, _, body = taken.partition(b"\r\n\r\n")
    changed = body.replace(b'"host_name":"', b'"host_name":"x')
    length, longer = (f"ontent-{word}ength: {len(changed) - less}".encode() for word, less in (("L", 1), ("L", 0)))
    assert length in head
    sent = head.replace(length, longer) + b"\r\n\r\n" + changed
    spoiled = await asyncio.to_thread(caller.ask_raw, tapped.http_port, sent)
    assert (spoiled.status, spoiled.json["code"]) == (403, "signature_invalid")


RUBBISH: dict[str, dict[str, Any]] = {
    "no endpoints": {"endpoints": []},
    "nowhere to dial": {"endpoints": [{"transport": "tcp", "node": "x", "host": "", "port": 22}]},
    "too many tunnels": {"tunnels": 999},
    "no life": {"certificate_seconds": -1},
    "another kind of key": {"host_cas": [{"public_key": "ssh-rsa AAAA"}]},
    "no certificate": {"certificate": "rubbish"},
    "no number": {"renew_seconds": "soon"},
}


async def test_rubbish_from_a_relay_does_not_end_an_agent(tapped: Road, hop: Hop) -> None:
    """An answer that no relay of this version gives is told in one sentence; the agent goes on trying."""
    other = new_key().generate_user_certificate(new_key(), key_id="x", principals=["x"]).export_certificate().decode()
    hop.changes |= RUBBISH | {"a certificate for another key": {"certificate": other}}
    names = [*RUBBISH, "a certificate for another key"]
    agents = await asyncio.gather(*(start_agent(tapped, name) for name in names))
    for agent in agents:
        await asyncio.to_thread(agent.program.says, '"reason"')
        assert agent.program.running
        assert "Traceback" not in agent.program.text()
        assert '"tunnel stands"' not in agent.program.text()
    for agent in agents:
        await asyncio.to_thread(agent.program.stop)
