"""Merchants' networks, with a real agent, a real relay and a real shop: whatever lets HTTPS out lets the tunnel out."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import websockets
from websockets.exceptions import InvalidStatus

from agent.enrolment import Enrolment
from agent.https import Link
from agent.identity import Identity
from agent.proxy import Proxies
from agent.racing import HEAD_START_SECONDS, PATHS
from agent.wire.token import AccessToken
from agent.wire.websocket import PATH, SUBPROTOCOL
from tests.system.certificates import Certificates
from tests.system.crossing import Firewall, Late, Proxy, standing, tls_in_front_of
from tests.system.lan import DOMAIN
from tests.system.programs import AGENT, HOST, finish, free_ports
from tests.system.road import STANDS, Agent, NewRoad, Road, Shop

NAME = "relay.test"
PASSWORD = "p%40ss-CANARYPROXYPASSWORD"


@pytest.fixture(scope="module")
def shop(new_road: NewRoad) -> Shop:
    return new_road("websocket-shop", start=False).start_shop("--domain", DOMAIN)


@dataclass
class Ground:
    """Makes roads with hops between their two ends."""

    stack: AsyncExitStack
    new_road: NewRoad
    shop: Shop
    home: Path

    async def stand(self, hop: Any) -> Any:
        await self.stack.enter_async_context(standing(hop))
        return hop

    async def road(self, name: str, **more: Any) -> Road:
        road = self.new_road(name, start=False, **more)
        await asyncio.to_thread(road.start_relay)
        self.stack.push_async_callback(asyncio.to_thread, road.close)
        return road

    async def https_road(self, name: str) -> tuple[Road, int, Certificates]:
        """A relay that is called https://relay.test, the port of its TLS end, and the CA that this is signed by."""
        (self.home / name).mkdir()
        certificates = Certificates.make(self.home / name, NAME)
        made: list[Road] = []
        port = await self.stack.enter_async_context(tls_in_front_of(lambda: made[0].http_port, certificates))
        made.append(await self.road(name, public_url=f"https://{NAME}:{port}"))
        return made[0], port, certificates

    async def agent(self, road: Road, *options: str, wait: bool = True, **more: Any) -> Agent:
        entry = more.pop("entry", None) or await asyncio.to_thread(road.new_agent)
        stores = [f"http://{DOMAIN}={HOST}:{self.shop.port}"]
        return await asyncio.to_thread(road.start_agent, entry, stores, options=options, wait=wait, **more)

    def config(self, **values: str) -> Sequence[str]:
        path = self.home / "agent.toml"
        path.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()))
        return ["--config", str(path)]


@pytest.fixture
async def ground(new_road: NewRoad, shop: Shop, tmp_path: Path) -> AsyncIterator[Ground]:
    async with AsyncExitStack() as stack:
        yield Ground(stack, new_road, shop, tmp_path)


async def forwards(road: Road, agent: Agent, shop: Shop) -> None:
    """A request with a body goes to the shop and its answer comes back."""
    connection = await asyncio.to_thread(road.connect, agent.entry.id, f"http://{DOMAIN}", shop.key)
    answer = await asyncio.to_thread(connection.ask, "/api/orders?limit=1")
    assert answer.status == 200, answer
    assert b"<prestashop" in answer.body


async def tunnels(agent: Agent) -> list[dict[str, Any]]:
    """What stands, as the running agent tells it."""
    told = await asyncio.to_thread(finish, AGENT, "status", "--state-dir", str(agent.state_dir), "--json")
    return [tunnel for tunnel in json.loads(told.out)["tunnels"] if tunnel["state"] == "standing"]


async def by(agent: Agent) -> set[str]:
    return {tunnel["transport"] for tunnel in await tunnels(agent)}


async def test_without_the_ssh_port_the_websocket_carries_all(ground: Ground) -> None:
    """Nobody listens where TCP is dialled."""
    (closed,) = free_ports(1)
    road = await ground.road("no-ssh-port", public_ssh=f"{HOST}:{closed}")
    agent = await ground.agent(road)
    await forwards(road, agent, ground.shop)
    assert await by(agent) == {"websocket"}


async def test_what_worked_is_tried_first_after_a_restart(ground: Ground) -> None:
    """Though TCP would work by then; the second tunnel finds that out."""
    firewall = await ground.stand(Firewall(0))
    road = await ground.road("restart", public_ssh=f"{HOST}:{firewall.port}")
    firewall.to_port = road.ssh_port
    agent = await ground.agent(road)
    assert json.loads((agent.state_dir / PATHS).read_text()) == {"last": "websocket"}
    await asyncio.to_thread(agent.program.stop)
    firewall.open = True
    again = await ground.agent(road, entry=agent.entry, state_dir=agent.state_dir)
    stood = [json.loads(line) for line in again.program.text().splitlines() if STANDS in line]
    assert stood[0]["transport"] == "websocket"
    await asyncio.to_thread(again.wait_until_it_stands, 2)
    assert await by(again) == {"tcp", "websocket"}
    await forwards(road, again, ground.shop)


@pytest.mark.parametrize("resets", [False, True], ids=["swallows", "resets"])
async def test_a_firewall_that_knows_ssh(ground: Ground, resets: bool) -> None:
    """TCP connects and SSH does not come through: the WebSocket stands after its head start, and a bit."""
    firewall = await ground.stand(Firewall(0, resets=resets))
    road = await ground.road(f"dpi-{resets}", public_ssh=f"{HOST}:{firewall.port}")
    firewall.to_port = road.ssh_port
    agent = await ground.agent(road, wait=False)
    await asyncio.to_thread(agent.program.says, '"enrolled"')
    began = time.monotonic()
    await asyncio.to_thread(agent.wait_until_it_stands)
    assert time.monotonic() - began < HEAD_START_SECONDS + 3
    assert firewall.caught > 0
    assert await by(agent) == {"websocket"}
    await forwards(road, agent, ground.shop)


async def test_a_firewall_that_swallows_what_comes_after_the_names(ground: Ground) -> None:
    """The dial stands and no login comes: the next dial goes by WebSocket."""
    firewall = await ground.stand(Late(0))
    road = await ground.road("late-dpi", public_ssh=f"{HOST}:{firewall.port}")
    firewall.to_port = road.ssh_port
    agent = await ground.agent(road)
    assert firewall.caught > 0
    assert await by(agent) == {"websocket"}
    await forwards(road, agent, ground.shop)


async def test_only_an_authenticating_proxy_leads_out(ground: Ground) -> None:
    """The agent resolves no name of the relay, and the proxy lets 443 out alone: enrolment and tunnel pass it."""
    road, port, certificates = await ground.https_road("proxied")
    proxy = await ground.stand(Proxy({f"{NAME}:{port}": port}, credentials="m.erchant:p@ss-CANARYPROXYPASSWORD"))
    road.secrets |= {PASSWORD, "p@ss-CANARYPROXYPASSWORD"}
    config = ground.config(proxy=f"http://m.erchant:{PASSWORD}@{HOST}:{proxy.port}")
    agent = await ground.agent(road, *config, "--ca-file", str(certificates.ca))
    await forwards(road, agent, ground.shop)
    assert await by(agent) == {"websocket"}
    assert f"CONNECT {NAME}:{port}" in proxy.asked
    assert f"CONNECT {NAME}:{road.ssh_port}" in proxy.asked or road.ssh_port == port, "TCP is tried through it as well"
    assert road.leaks() == []


async def test_a_proxy_with_a_wrong_password_is_told(ground: Ground) -> None:
    """In one sentence without the password; and it is not asked many times a second, which would lock the account."""
    road, port, certificates = await ground.https_road("wrong-password")
    proxy = await ground.stand(Proxy({f"{NAME}:{port}": port}, credentials="user:right"))
    road.secrets.add("CANARYWRONG")
    config = ground.config(proxy=f"http://user:CANARYWRONG@{HOST}:{proxy.port}")
    agent = await ground.agent(road, *config, "--ca-file", str(certificates.ca), wait=False)
    await asyncio.to_thread(agent.program.says, "does not take the user name and password that it was given (407)")
    assert len(proxy.asked) <= 3
    assert road.leaks() == []


async def test_a_proxy_that_inspects_tls(ground: Ground) -> None:
    """Told with the name of its CA; with that CA given it works, and what it reads is SSH and no token."""
    road, port, _ = await ground.https_road("inspected")
    (ground.home / "inspector").mkdir()
    inspector = Certificates.make(ground.home / "inspector", NAME)
    proxy = await ground.stand(Proxy({f"{NAME}:{port}": road.http_port}, inspects=inspector))
    config = ground.config(proxy=f"http://{HOST}:{proxy.port}")
    stranger = await ground.agent(road, *config, wait=False)
    await asyncio.to_thread(stranger.program.says, "signed by 'Test CA', is not trusted")
    await asyncio.to_thread(stranger.program.stop)
    agent = await ground.agent(road, *config, "--ca-file", str(inspector.ca))
    await forwards(road, agent, ground.shop)
    assert await by(agent) == {"websocket"}
    assert b"SSH-2.0-" in proxy.read
    token = AccessToken.parse(agent.entry.token)
    assert token.secret not in proxy.read
    assert agent.entry.token.encode() not in proxy.read


async def test_a_ticket_ends_within_a_second_of_its_instance(ground: Ground, tmp_path: Path) -> None:
    """A stock client gets in with a fresh ticket, and not any more once the instance was revoked."""
    road = await ground.road("ticket")
    entry = await asyncio.to_thread(road.new_agent)
    identity = Identity.open(tmp_path / "state")
    link = Link(road.url, None, Proxies())
    enrolment = Enrolment(road.url, identity, lambda: AccessToken.parse(entry.token), link)
    admission = await enrolment.enrol(())
    url = road.url.replace("http", "ws", 1) + PATH
    assert url in {endpoint.url for endpoint in admission.endpoints}

    async def knock() -> None:
        headers = {"Authorization": f"Bearer {admission.ticket.get_secret_value()}"}
        options: dict[str, Any] = {"additional_headers": headers, "subprotocols": [SUBPROTOCOL], "compression": None}
        async with websockets.connect(url, proxy=None, **options) as client:
            await client.send(b"SSH-2.0-stock\r\n")
            assert (await client.recv())[:8] == b"SSH-2.0-"

    await knock()
    await asyncio.to_thread(road.cli, "agents", "release", entry.id, admission.instance_id)
    await asyncio.sleep(1)
    with pytest.raises(InvalidStatus) as caught:
        await knock()
    assert caught.value.response.status_code == 401
    identity.unlock()
