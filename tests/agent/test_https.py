"""HTTP to the relay through the network's proxies, and certificates that are not believed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pydantic import SecretStr

from agent.https import Link, LinkError, Reply
from agent.proxy import Proxies
from tests.agent.test_transports import HOST, PROXY_TROUBLES, Handler, proxy, saying, server, silent, tls_of
from tests.system.certificates import Certificates

RELAY = "https://relay.test"
HELLO = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates.make(tmp_path, "relay.test")


async def ask(proxy_url: str, ca_file: Path | None = None) -> Reply:
    return await Link(RELAY, ca_file, Proxies.of(SecretStr(proxy_url), {})).request("GET", f"{RELAY}/livez")


@pytest.mark.parametrize("by_tls", [False, True])
async def test_the_relay_is_asked_through_the_proxy(certificates: Certificates, tmp_path: Path, by_tls: bool) -> None:
    """By its name, with the credentials from the proxy's address; the proxy may itself be spoken to by TLS."""
    (tmp_path / "proxy").mkdir()
    theirs = Certificates.make(tmp_path / "proxy", "localhost")
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(certificates.ca.read_bytes() + theirs.ca.read_bytes())
    async with (
        server(HELLO, tls_of(certificates)) as port,
        proxy({"relay.test:443": port}, credentials="us@er:p%s", tls=tls_of(theirs) if by_tls else None) as (at, asked),
    ):
        reply = await ask(f"{'https' if by_tls else 'http'}://us%40er:p%25s@localhost:{at}", bundle)
    assert (reply.status, reply.issuer) == (200, "Test CA")
    assert asked == ["CONNECT relay.test:443 HTTP/1.1"]


@pytest.mark.parametrize(("handler", "told", "_refused"), PROXY_TROUBLES[:3])
async def test_a_proxys_refusal_is_told_as_for_tunnels(handler: Handler, told: str, _refused: bool) -> None:
    """In the same words."""
    async with server(handler) as at:
        with pytest.raises(LinkError) as caught:
            await ask(f"http://{HOST}:{at}")
    assert told in str(caught.value)


async def test_a_proxy_that_is_none_or_not_there_is_told() -> None:
    """By its own address."""
    async with server(saying(b"\x16\x03\x01 what", close=True)) as at:
        with pytest.raises(LinkError, match=f"what answers at the proxy's address {HOST}:{at}"):
            await ask(f"http://{HOST}:{at}")
    async with server(silent) as at:
        pass
    with pytest.raises(LinkError, match=f"the proxy {HOST}:{at} cannot be reached"):
        await ask(f"http://{HOST}:{at}")


async def test_an_inspecting_proxy_is_told_with_the_name_of_its_ca(certificates: Certificates) -> None:
    """So that the merchant knows whose CA to ask for."""
    async with server(HELLO, tls_of(certificates)) as port, proxy({"relay.test:443": port}) as (at, _):
        with pytest.raises(LinkError, match=r"signed by 'Test CA', is not trusted .*--ca-file\.$"):
            await ask(f"http://{HOST}:{at}")


async def test_what_the_environment_names_is_used_where_nothing_else_is(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And NO_PROXY keeps the relay from it."""
    async with server(HELLO, tls_of(certificates)) as port, proxy({"relay.test:443": port}) as (at, asked):
        monkeypatch.setenv("HTTPS_PROXY", f"http://{HOST}:{at}")
        assert (await Link(RELAY, certificates.ca).request("GET", f"{RELAY}/livez")).status == 200
        monkeypatch.setenv("NO_PROXY", "relay.test")
        with pytest.raises(LinkError, match=r"name of https://relay\.test is not found"):
            async with asyncio.timeout(20):
                await Link(RELAY, certificates.ca).request("GET", f"{RELAY}/livez")
        assert len(asked) == 1
