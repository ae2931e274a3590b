"""One delivery: to public addresses only, by TLS, in the name of the endpoint, and what its answer means."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import time

import pytest

from relay.gateway.targets import Address, UnknownNameError
from relay.webhooks import sending
from relay.webhooks.sending import EndpointError, Guard, Outcome, Post, judge
from relay.webhooks.signing import sign
from tests.relay.gateway.certificates import authority, certificate
from tests.relay.webhooks.scene import HERE, LOOPBACK, SECRET, endpoint, parcel

POST = Post(HERE, time.time)
NOW = 1_800_000_000.0


@pytest.mark.parametrize("status", [200, 201, 204, 299])
async def test_any_2xx_is_done(status: int) -> None:
    """The body arrives to the byte, with the three headers that prove where it is from."""
    async with endpoint() as there:
        there.status = status
        sent = parcel(there.url)
        assert (await POST.send(sent)).outcome is Outcome.DONE
        (got,) = there.got
        assert (got.line, got.body) == ("POST /in?a=b HTTP/1.1", sent.body)
        assert got.headers["host"] == f"hooks.example.com:{there.port}"
        assert got.headers["content-type"] == "application/json"
        timestamp = int(got.headers["webhook-timestamp"])
        assert abs(timestamp - time.time()) < 5
        assert got.headers["webhook-signature"] == sign(got.event, timestamp, got.body, SECRET)


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 429, 500, 503])
async def test_anything_else_is_tried_again(status: int) -> None:
    """Redirects too, which are not followed: one request came."""
    async with endpoint() as there:
        there.status, there.more = status, [f"Location: {there.url}/else"]
        verdict = await POST.send(parcel(there.url))
        assert verdict.outcome is Outcome.AGAIN
        assert str(status) in verdict.why
        assert len(there.got) == 1


async def test_410_wants_nothing_more() -> None:
    """The specification's way to unsubscribe."""
    async with endpoint() as there:
        there.status = 410
        assert (await POST.send(parcel(there.url))).outcome is Outcome.GONE


def test_retry_after_in_both_forms() -> None:
    """Seconds, or a date; what is neither is not there."""
    assert judge(429, "120", NOW).retry_after == 120
    assert judge(503, "Fri, 15 Jan 2027 08:01:40 GMT", NOW).retry_after == 100
    assert judge(503, "Thu, 01 Jan 1970 00:00:00 GMT", NOW).retry_after == 0
    assert judge(503, "soon", NOW).retry_after is None
    assert judge(503, "Fri, 15 Jan 2027 08:01:40 +999999999999999999", NOW).retry_after is None
    assert judge(200, "120", NOW).retry_after is None


async def test_what_nobody_has_thought_of_is_a_failure_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again, and given up in the end, as any other: its queue does not stand still for ever."""

    def stumble(*_: object) -> None:
        raise KeyError("an odd header")

    monkeypatch.setattr(sending, "judge", stumble)
    async with endpoint() as there:
        verdict = await POST.send(parcel(there.url))
    assert (verdict.outcome, verdict.why) == (Outcome.AGAIN, "in the relay: KeyError")


async def test_an_endpoint_that_says_nothing_has_failed() -> None:
    """Within its deadline, whatever it does."""
    async with endpoint() as there:
        there.delay = 5
        post = Post(HERE, time.time, seconds=0.2)
        began = time.monotonic()
        verdict = await post.send(parcel(there.url))
        assert (verdict.outcome, verdict.why) == (Outcome.AGAIN, "no answer within 0 s")
        assert time.monotonic() - began < 3


async def test_nobody_there_has_failed() -> None:
    """A refused connection is a verdict, not an error."""
    async with endpoint() as there:
        url = there.url
    verdict = await POST.send(parcel(url))
    assert verdict.outcome is Outcome.AGAIN


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/", "https://[::1]/", "https://[::ffff:10.0.0.1]/", "https://192.168.1.20/hook",
        "https://169.254.169.254/latest/meta-data", "https://localhost/", "https://2130706433/", "https://0x7f.1/",
        "https://shop.lan/", "https://relay.example.com/to/x", "http://hooks.example.com/", "ftp://hooks.example.com/",
        "https://user:secret@hooks.example.com/", "https://hooks.example.com:99999/", "https://hooks.example.com:0/",
        "https:///path", "hooks.example.com", "", "https://hooks.example.com/a b", "https://hooks.exämple.com/",
        "https://hooks.example.com/\r\nX: y", "https://[::1", "https://100.64.0.1/", "https://[64:ff9b::7f00:1]/",
    ],
)  # fmt: skip
async def test_what_may_be_no_endpoint(url: str) -> None:
    """Neither when a trigger is made, nor, should it stand in the database, when it is sent to."""
    guard = Guard(own_names=frozenset({"relay.example.com"}))
    with pytest.raises(EndpointError):
        await guard.check(url)
    verdict = await Post(guard, time.time).send(parcel(url))
    assert verdict.outcome is Outcome.AGAIN


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.5", "::1", "169.254.169.254", "::ffff:127.0.0.1"])
async def test_a_name_that_leads_inside_is_not_dialled(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bad address beside a good one spoils all; nobody is connected to."""

    async def look_up(_host: str, _port: int) -> list[Address]:
        return [ipaddress.ip_address("1.1.1.1"), ipaddress.ip_address(address)]

    monkeypatch.setattr("relay.gateway.targets.look_up", look_up)
    verdict = await Post(Guard(), time.time).send(parcel("https://hooks.example.com/"))
    assert (verdict.outcome, verdict.why) == (Outcome.AGAIN, "the address is not a public one")


async def test_what_was_looked_up_is_what_is_dialled() -> None:
    """The name is looked up once, so that a second look cannot lead elsewhere."""
    looked = 0

    async def look_up(_host: str, _port: int) -> list[Address]:
        nonlocal looked
        looked += 1
        return [LOOPBACK] if looked == 1 else [ipaddress.ip_address("203.0.113.1")]

    async with endpoint() as there:
        post = Post(Guard(look_up=look_up, schemes=frozenset({"http"})), time.time)
        assert (await post.send(parcel(there.url))).outcome is Outcome.DONE
        assert looked == 1


async def test_a_dead_address_is_passed_over() -> None:
    """The next of the name's addresses is tried."""

    async def look_up(_host: str, _port: int) -> list[Address]:
        return [ipaddress.ip_address("127.0.0.2"), LOOPBACK]

    async with endpoint() as there:
        post = Post(Guard(look_up=look_up, schemes=frozenset({"http"})), time.time)
        assert (await post.send(parcel(there.url))).outcome is Outcome.DONE
        assert len(there.got) == 1


async def test_an_unknown_name_has_failed() -> None:
    """It may be known tomorrow."""

    async def look_up(_host: str, _port: int) -> list[Address]:
        raise UnknownNameError

    verdict = await Post(Guard(look_up=look_up), time.time).send(parcel("https://hooks.example.com/"))
    assert (verdict.outcome, verdict.why) == (Outcome.AGAIN, "the endpoint's name is not known")


@pytest.mark.parametrize(("name", "outcome"), [("hooks.example.com", Outcome.DONE), ("127.0.0.1", Outcome.AGAIN)])
async def test_the_certificate_is_verified_for_the_endpoints_name(name: str, outcome: Outcome) -> None:
    """Though an address is dialled: one made out to the address, or to nobody known, is refused."""
    issuer = authority()
    trusting = ssl.create_default_context(cadata=issuer.pem)
    async with endpoint(certificate(issuer, name).server()) as there:
        url = there.url.replace("http://", "https://")
        assert (await Post(HERE, time.time, tls=trusting).send(parcel(url))).outcome is outcome
        assert (await Post(HERE, time.time).send(parcel(url))).outcome is Outcome.AGAIN


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would dial what nobody has judged."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with endpoint() as there:
        assert (await POST.send(parcel(there.url))).outcome is Outcome.DONE


async def test_an_answer_without_end_is_not_read() -> None:
    """The status is all that counts; the body may be as long as it likes."""

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"4\r\nabcd\r\n" * 1000)
                await writer.drain()
        except OSError:
            writer.close()

    server = await asyncio.start_server(pour, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with asyncio.timeout(5):
        assert (await POST.send(parcel(f"http://hooks.example.com:{port}/"))).outcome is Outcome.DONE
    server.close()


def test_secrets_are_in_no_repr() -> None:
    """A parcel may be printed."""
    assert SECRET.get_secret_value() not in repr(parcel("https://hooks.example.com/"))
