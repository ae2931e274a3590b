"""What an agent tells Prometheus and probes on its own machine, where it is told to, and nowhere else."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from agent import metrics
from agent.failure import ConfigurationError
from agent.loopback import Loopback
from agent.metrics import exposition
from agent.settings import Settings
from agent.wire import pages
from tests.agent.conftest import Agent
from tests.agent.fake_relay import FakeRelay
from tests.agent.test_status import NOW, STATUS
from tests.system.promtool import lint


def scrape(status: dict[str, Any], *, openmetrics: bool = False) -> str:
    return "".join(f"{line}\n" for line in exposition(status, NOW, openmetrics=openmetrics))


def values(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in read_text(text)
        for sample in family.samples
    }


def test_the_status_in_figures() -> None:
    """State, tunnels by transport, round trip, channels with those of older tunnels, stores, certificate, error."""
    told = values(scrape(STATUS))
    assert told["postern_agent_build_info", ("0.1.0",)] == 1
    assert [told["postern_agent_state", (one,)] for one in ("online", "degraded", "offline", "enrolling")] == [
        *(0, 1, 0, 0)
    ]
    assert told["postern_agent_tunnels_wanted", ()] == 2
    assert (told["postern_agent_tunnels", ("tcp",)], told["postern_agent_tunnels", ("websocket",)]) == (0, 1)
    assert told["postern_agent_tunnel_round_trip_seconds", ("0",)] == 0.0125
    assert told["postern_agent_channels", ()] == 3
    assert told["postern_agent_stores", ()] == 1
    assert told["postern_agent_certificate_expiry_timestamp_seconds", ()] == NOW + 3661
    assert told["postern_agent_last_error_timestamp_seconds", ()] == NOW - 60
    assert told["process_resident_memory_bytes", ()] > 1_000_000


def test_both_formats_are_what_their_readers_take() -> None:
    """OpenMetrics ends in `# EOF` and names units; an agent that has done nothing yet can be scraped as well."""
    new = STATUS | {"tunnels": [], "draining": [], "certificate_seconds": None, "last_error": None}
    for status in (STATUS, new):
        text = scrape(status, openmetrics=True)
        assert text.endswith("# EOF\n")
        assert len(list(read_openmetrics(text))) > 10  # type: ignore[no-untyped-call]  # theirs has no types
        assert lint(scrape(status)) == ""
    assert values(scrape(new))["postern_agent_state", ("enrolling",)] == 1


def test_nothing_of_where_and_who_is_told() -> None:
    """Neither the relay's address nor the stores', neither ids nor the text of the last error."""
    text = scrape(STATUS)
    for part in ("relay.test", "shop.lan", "192.", "agt_a", "ins_a", "Lyon", "stopped answering"):
        assert part not in text


@pytest.mark.parametrize("address", ["127.0.0.1:9465", "[::1]:9465", "localhost:0", "127.8.8.8:1"])
def test_loopback_addresses_are_taken(address: str) -> None:
    """And written as they were read."""
    settings = Settings.load({"relay": "https://r.test", "stores": ["http://s.lan"], "metrics_http": address}, None)
    assert isinstance(settings.metrics_http, Loopback)
    assert str(settings.metrics_http) == address


@pytest.mark.parametrize("address", ["0.0.0.0:9465", "192.168.1.5:9465", "[::]:1", "shop.lan:1", "9465", "127.1:x", 7])
def test_the_agent_opens_no_port_to_others(address: object) -> None:
    """Whatever is not plainly this machine alone is a configuration that is refused, in words."""
    with pytest.raises(ConfigurationError, match=r"metrics_http: .* loopback addresses only"):
        Settings.load({"relay": "https://r.test", "stores": ["http://s.lan"], "metrics_http": address}, None)


async def test_pages_by_http(client: httpx.AsyncClient, status: dict[str, Any]) -> None:
    """/metrics in either format and /readyz (503 without a tunnel) for GET and HEAD, and plain refusals."""
    text = await client.get("/metrics")
    assert text.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert list(read_text(text.text))
    accept = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
    openmetrics = await client.get("/metrics", headers=accept)
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert openmetrics.text.endswith("# EOF\n")
    head = await client.head("/metrics")
    assert (head.status_code, head.content) == (200, b"")
    ready = await client.get("/readyz?x=1")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "state": "degraded"})
    status["tunnels"] = []
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()) == (503, {"status": "not_ready", "state": "enrolling"})
    refused = await client.post("/metrics")
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
    assert (await client.get("/")).text == "there are /metrics, /readyz\n"


async def test_a_page_that_cannot_be_made_is_an_error_not_silence(
    client: httpx.AsyncClient, status: dict[str, Any]
) -> None:
    """500, and the next request is answered again."""
    stores = status.pop("stores")
    assert (await client.get("/metrics")).status_code == 500
    status["stores"] = stores
    assert (await client.get("/metrics")).status_code == 200


@pytest.mark.parametrize("sent", [b"GET /metrics\r\n\r\n", b"x" * 20_000, b"\x16\x03\x01\r\n\r\n"])
async def test_what_is_no_request_is_told_so(address: tuple[str, int], sent: bytes) -> None:
    """400 and the end, whatever its length."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(sent)
    assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()


async def test_a_visitor_who_says_nothing_is_not_waited_for(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection ends after the deadline for a head; those who come beyond the limit are hung up on at once."""
    monkeypatch.setattr(pages, "CONNECTIONS", 1)
    monkeypatch.setattr(pages, "HEAD_SECONDS", 2.0)
    silent, its_writer = await asyncio.open_connection(*address)
    its_writer.write(b"GET /me")
    await its_writer.drain()
    beyond, other_writer = await asyncio.open_connection(*address)
    async with asyncio.timeout(1.5):
        assert await beyond.read() == b""
    async with asyncio.timeout(5):
        assert await silent.read() == b""
    for writer in (its_writer, other_writer):
        writer.close()


async def test_the_real_agent_is_scraped_where_it_was_told(
    agent: Agent, relay: FakeRelay, token_file: Path, tmp_path: Path
) -> None:
    """`--metrics-http` opens that one port, on loopback; its figures are of the tunnel that stands."""
    running = await agent.start(
        *("run", "--relay", relay.url, "--token-file", token_file, "--state-dir", tmp_path / "state"),
        *("--store", "http://shop.lan=127.0.0.1:9", "--metrics-http", "127.0.0.1:0"),
    )
    told = await running.says("metrics served")
    await running.says("tunnel stands")
    async with httpx.AsyncClient(base_url=f"http://{told['metrics_http']}", trust_env=False) as client:
        assert values((await client.get("/metrics")).text)["postern_agent_tunnels", ("tcp",)] == 1
        assert (await client.get("/readyz")).json() == {"status": "ready", "state": "online"}


async def test_an_agent_whose_port_is_taken_works_without(
    agent: Agent, relay: FakeRelay, token_file: Path, tmp_path: Path
) -> None:
    """It says so in its log, and the tunnel stands all the same."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        running = await agent.start(
            *("run", "--relay", relay.url, "--token-file", token_file, "--state-dir", tmp_path / "state"),
            *("--store", "http://shop.lan=127.0.0.1:9", "--metrics-http", f"127.0.0.1:{taken.getsockname()[1]}"),
        )
        assert (await running.says("no metrics here"))["error"] == "Address already in use"
        await running.says("tunnel stands")


@pytest.fixture
def status() -> dict[str, Any]:
    return dict(STATUS)


@pytest.fixture
async def address(status: dict[str, Any]) -> AsyncIterator[tuple[str, int]]:
    server = await pages.serve_pages(Loopback("127.0.0.1", 0).bind(), metrics.pages(lambda: status))
    async with server:
        yield server.sockets[0].getsockname()


@pytest.fixture
async def client(address: tuple[str, int]) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{address[1]}", trust_env=False) as client:
        yield client
