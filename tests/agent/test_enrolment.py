"""The enrolment: what is shown to the relay, and what is made of each answer."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from agent import __version__
from agent.enrolment import Admission, Enrolment, EnrolmentError
from agent.failure import ConfigurationError
from agent.https import Link, Reply
from agent.identity import Identity
from agent.settings import Settings, TokenMissingError
from agent.wire.destination import Store
from agent.wire.enrolment import ca_fingerprint
from agent.wire.refusal import EnrolmentRefusal
from agent.wire.token import AccessToken
from tests.agent.fake_relay import Answer, FakeRelay, line, succession

STORES = (Store.parse("http://shop.lan"), Store.parse("https://www.shop.fr=192.168.1.20:443"))


class Client:
    """An enrolment whose token the test can change."""

    def __init__(self, relay: FakeRelay, identity: Identity) -> None:
        self.relay = relay
        self.token: AccessToken | None = relay.token
        self.skew = 0.0
        self.enrolment = Enrolment(
            relay.url, identity, lambda: self.token, Link(relay.url, None), lambda: time.time() + self.skew
        )

    async def enrol(self) -> Admission:
        return await self.enrolment.enrol(STORES)

    async def fails(self) -> EnrolmentError:
        with pytest.raises(EnrolmentError) as caught:
            await self.enrol()
        return caught.value


@pytest.fixture
def client(relay: FakeRelay, identity: Identity) -> Client:
    return Client(relay, identity)


async def test_the_first_enrolment_shows_the_token_and_later_ones_the_key_alone(
    client: Client, relay: FakeRelay, identity: Identity
) -> None:
    """And the token itself never leaves the machine."""
    first = await client.enrol()
    await client.enrol()
    assert [asked.token_id for asked in relay.asked] == [relay.token.id, None]
    asked = relay.asked[0]
    assert asked.request.stores == ["http://shop.lan", "https://www.shop.fr"]
    assert (asked.request.public_key, asked.request.version) == (identity.public_key, __version__)
    assert relay.token.reveal() not in str(asked)
    assert (first.agent_id, first.agent_name, first.tunnels) == (relay.agent_id, "Backoffice", 1)
    assert first.renew_at - first.taken_at == pytest.approx(1800)
    assert first.expires_at - first.taken_at == pytest.approx(3600)


async def test_another_token_in_the_file_is_shown_once(client: Client, relay: FakeRelay) -> None:
    """So that tokens can be rotated without stopping the agent."""
    await client.enrol()
    second = AccessToken.generate(relay.token.ca_fingerprint)
    relay.tokens[second.id] = second
    client.token = second
    await client.enrol()
    await client.enrol()
    assert [asked.token_id for asked in relay.asked] == [relay.token.id, second.id, None]


async def test_a_restart_needs_no_token(client: Client, relay: FakeRelay, identity: Identity) -> None:
    """The memory in the state directory is enough."""
    await client.enrol()
    identity.unlock()
    again = Client(relay, Identity.open(identity.directory))
    again.token = None
    await again.enrol()
    assert relay.asked[-1].token_id is None


async def test_a_token_file_that_is_gone_does_not_stop_an_enrolled_agent(client: Client, identity: Identity) -> None:
    """Deleting it after the first enrolment is good practice; before it, it is a mistake."""

    def missing() -> AccessToken | None:
        raise TokenMissingError("the token file cannot be read.")

    fresh = Enrolment(client.relay.url, identity, missing, Link(client.relay.url, None))
    with pytest.raises(ConfigurationError):
        fresh.check_token()
    await client.enrol()
    fresh.check_token()
    await fresh.enrol(STORES)


async def test_an_empty_credential_does_not_stop_an_enrolled_agent(
    client: Client, identity: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`LoadCredential=` of a file that was emptied after the first enrolment; before it, it is a mistake."""
    (tmp_path / "token").write_text("")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    settings = Settings.load({"relay": client.relay.url, "stores": ["http://shop.lan"]}, None)
    fresh = Enrolment(client.relay.url, identity, settings.read_token, Link(client.relay.url, None))
    with pytest.raises(ConfigurationError, match="is empty"):
        fresh.check_token()
    await client.enrol()
    fresh.check_token()
    await fresh.enrol(STORES)


async def test_another_relay_is_enrolled_with_afresh(client: Client, identity: Identity) -> None:
    """What one relay left in memory vouches for no other."""
    await client.enrol()
    elsewhere = Enrolment("http://127.0.0.1:9", identity, lambda: None, Link("http://127.0.0.1:9", None))
    with pytest.raises(ConfigurationError, match="no access token is given"):
        elsewhere.check_token()


@pytest.mark.parametrize("refusal", list(EnrolmentRefusal))
async def test_each_refusal_is_told_in_a_sentence_and_only_final_ones_end_the_agent(
    client: Client, relay: FakeRelay, refusal: EnrolmentRefusal
) -> None:
    """A code never reaches a person naked."""
    relay.answers.append(Answer.problem(refusal, skew_seconds=4000, relay="https://other.test"))
    with pytest.raises((EnrolmentError, ConfigurationError)) as caught:
        await client.enrol()
    assert isinstance(caught.value, ConfigurationError) == refusal.final
    assert str(caught.value).endswith(".")
    assert refusal.value not in str(caught.value)
    assert len(str(caught.value)) > 40


async def test_a_wrong_clock_is_told_in_seconds(client: Client, relay: FakeRelay) -> None:
    """Ahead or behind, never as a denied access."""
    relay.answers.append(Answer.problem(EnrolmentRefusal.CLOCK_SKEW, skew_seconds=4000))
    relay.answers.append(Answer.problem(EnrolmentRefusal.CLOCK_SKEW, skew_seconds=-86400.4))
    assert "clock is 4000 s ahead" in str(await client.fails())
    assert "clock is 86400 s behind" in str(await client.fails())


async def test_an_instance_that_the_relay_forgot_enrols_with_the_token_again(client: Client, relay: FakeRelay) -> None:
    """Whether or not the same token was shown before."""
    await client.enrol()
    relay.answers.append(Answer.problem(EnrolmentRefusal.INSTANCE_UNKNOWN))
    await client.fails()
    await client.enrol()
    assert [asked.token_id for asked in relay.asked] == [relay.token.id, None, relay.token.id]


async def test_without_a_token_a_forgotten_instance_ends(client: Client, relay: FakeRelay) -> None:
    """Nothing but a person can help it."""
    await client.enrol()
    client.token = None
    relay.answers.append(Answer.problem(EnrolmentRefusal.INSTANCE_UNKNOWN))
    await client.fails()
    with pytest.raises(ConfigurationError, match="give it an access token"):
        await client.enrol()


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_retry_after_is_read_in_both_forms(client: Client, relay: FakeRelay, form: str) -> None:
    """RFC 9110 §10.2.3."""
    value = "37" if form == "seconds" else formatdate(time.time() + 37, usegmt=True)
    relay.answers.append(Answer.problem(EnrolmentRefusal.RELAY_OVERLOADED, 503, {"Retry-After": value}))
    error = await client.fails()
    assert error.refused
    assert error.retry_after == pytest.approx(37, abs=2)


async def test_a_host_ca_that_the_token_does_not_name_is_not_believed(
    client: Client, relay: FakeRelay, identity: Identity
) -> None:
    """Whoever sits in the middle of TLS cannot pass off his own; nothing of that answer is kept."""
    stranger = asyncssh.generate_private_key("ssh-ed25519")
    relay.answer_changes["host_cas"] = [{"public_key": line(stranger)}]
    error = await client.fails()
    assert error.refused
    assert "a host CA that the access token does not name" in str(error)
    assert identity.memory is None


async def test_a_new_host_ca_is_followed_with_the_old_ones_signature_alone(
    client: Client, relay: FakeRelay, identity: Identity
) -> None:
    """First both are listed, later only the new one, with its introduction; the agent was there only once between."""
    await client.enrol()
    new = asyncssh.generate_private_key("ssh-ed25519")
    relay.answer_changes["host_cas"] = [succession(relay.host_ca, new)]
    admission = await client.enrol()
    assert [key.public_data for key in admission.host_cas] == [new.public_data]
    relay.answer_changes["host_cas"] = [{"public_key": line(new)}]
    await client.enrol()
    relay.answer_changes["host_cas"] = [{"public_key": line(relay.host_ca)}]
    assert "host CA" in str(await client.fails())
    assert identity.memory
    assert identity.memory.host_cas == (line(new),)


async def test_a_forged_succession_is_not_followed(client: Client, relay: FakeRelay) -> None:
    """Signed by the new key itself instead of the old one."""
    new = asyncssh.generate_private_key("ssh-ed25519")
    relay.answer_changes["host_cas"] = [succession(new, new)]
    assert "host CA" in str(await client.fails())


async def test_a_certificate_for_another_key_is_refused(client: Client, relay: FakeRelay) -> None:
    """It could not be used anyway; the sentence comes now and not at the login."""
    other = asyncssh.generate_private_key("ssh-ed25519")
    foreign = relay.user_ca.generate_user_certificate(other, "x", principals=["x"]).export_certificate().decode()
    relay.answer_changes["certificate"] = foreign
    assert "for another key" in str(await client.fails())


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(200, b"<html>welcome</html>"), "is not a relay of this version"),
        (Answer(200, b"{}"), "is not a relay of this version"),
        (Answer(200, b"\xff" * 100), "is not a relay of this version"),
        (Answer(200, b"x" * 200_000), "sends more than a relay would"),
        (Answer(302, b"", {"Location": "https://login.hotel.test/"}), "redirects to https://login.hotel.test/"),
        (Answer(302, b"", {"Location": "https://login.hotel.test/\x1b[2J"}), "cannot be reached: Invalid URL"),
        (Answer(404, b"nothing here"), "knows no enrolment"),
        (Answer(500, b"oops"), "answered 500"),
        (
            Answer(418, b'{"code": "of_the_future", "detail": "I am a teapot\\nreally"}'),
            "answered 418: I am a teapot\\x0a",
        ),
        (Answer(403, b'{"code": 7}'), "answered 403"),
    ],
)
async def test_whatever_else_answers_is_told_and_tried_again(
    client: Client, relay: FakeRelay, answer: Answer, said: str
) -> None:
    """A login page, a redirect, an enormous body: a sentence each, no redirect followed, no end of the agent."""
    relay.answers.append(answer)
    error = await client.fails()
    assert said in str(error)
    assert str(error).isprintable()
    assert len(relay.asked) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"tunnels": 0},
        {"tunnels": 999},
        {"endpoints": []},
        {"certificate": "ssh-ed25519-cert-v01@openssh.com AAAA"},
        {"certificate_seconds": -1},
        {"host_cas": [{"public_key": "ssh-ed25519 AAAA"}]},
        {"agent_name": "x\n"},
    ],
)
async def test_an_answer_out_of_bounds_is_refused(
    client: Client, relay: FakeRelay, identity: Identity, change: dict[str, Any]
) -> None:
    """What comes from outside is checked before it is used."""
    relay.answer_changes.update(change)
    error = await client.fails()
    said = "shows a host CA that the access token does not name" if "host_cas" in change else "is not a relay of this"
    assert said in str(error)
    assert identity.memory is None


async def test_nobody_there_is_told(client: Client, relay: FakeRelay, identity: Identity) -> None:
    """With the system's own reason; the next try may succeed."""
    enrolment = Enrolment("http://127.0.0.1:9", identity, lambda: relay.token, Link("http://127.0.0.1:9", None))
    with pytest.raises(EnrolmentError, match=r"127.0.0.1:9 cannot be reached: Connection refused\.") as caught:
        await enrolment.enrol(STORES)
    assert not caught.value.refused


async def test_a_relay_that_never_answers_is_given_up(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trickling bytes do not help it: the deadline is for the whole."""
    monkeypatch.setattr("agent.https.REQUEST_SECONDS", 0.3)

    async def trickle(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.05)

    server = await asyncio.start_server(trickle, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    enrolment = Enrolment(url, client.enrolment._identity, lambda: client.relay.token, Link(url, None))
    began = time.monotonic()
    with pytest.raises(EnrolmentError, match="did not answer within"):
        await enrolment.enrol(STORES)
    assert time.monotonic() - began < 3
    server.close()


def certificate(tmp_path: Path, begins: float, ends: float) -> tuple[Path, ssl.SSLContext]:
    """A self-signed certificate for localhost, valid between two times relative to now; and a server's context."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test relay")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now + dt.timedelta(seconds=begins))
        .not_valid_after(now + dt.timedelta(seconds=ends))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "relay.pem"
    path.write_bytes(signed.public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "relay.key").write_bytes(private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, tmp_path / "relay.key")
    return path, context


@asynccontextmanager
async def over_tls(relay: FakeRelay, context: ssl.SSLContext) -> AsyncIterator[str]:
    server = await asyncio.start_server(relay.answer_http, "127.0.0.1", 0, ssl=context)
    yield f"https://localhost:{server.sockets[0].getsockname()[1]}"
    server.close()


async def livez(url: str, ca_file: Path | None) -> Reply:
    return await Link(url, ca_file).request("GET", url + "/livez")


async def test_a_private_ca_is_believed_from_its_file(relay: FakeRelay, tmp_path: Path) -> None:
    """And only from there; the answer says who signed."""
    path, context = certificate(tmp_path, -3600, 3600)
    async with over_tls(relay, context) as url:
        reply = await livez(url, path)
        assert (reply.status, reply.issuer) == (200, "Test relay")
        with pytest.raises(Exception, match=r"is not trusted .*--ca-file"):
            await livez(url, None)


@pytest.mark.parametrize(("begins", "ends"), [(-7200, -3600), (3600, 7200)])
async def test_tls_that_fails_on_dates_is_told_from_a_wrong_clock(
    relay: FakeRelay, tmp_path: Path, begins: float, ends: float
) -> None:
    """The `Date` of an answer that is not believed otherwise says whose clock it is."""
    path, context = certificate(tmp_path, begins, ends)
    async with over_tls(relay, context) as url:
        with pytest.raises(Exception, match="clock seems right: the relay needs a new certificate"):
            await livez(url, path)
        relay.date = lambda: time.time() + 86400
        with pytest.raises(Exception, match=r"clock is 86\d\d\d s behind: set it"):
            await livez(url, path)


async def test_the_networks_proxy_is_asked_with_its_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """CONNECT to the relay's name, Basic credentials from HTTPS_PROXY; its refusal is told."""
    heard: list[str] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(Exception, match=r"the proxy 127\.0\.0\.1:\d+ does not take the user name") as caught:
        await livez("https://relay.test", None)
    assert heard[0].startswith("CONNECT relay.test:443 HTTP/1.1\r\n")
    assert "proxy-authorization: basic dxnlcjpzzwnyzxq=" in heard[0].lower()
    assert "secret" not in str(caught.value)
    server.close()


async def test_a_relay_on_this_machine_is_asked_without_a_proxy(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy elsewhere would send the request to its own loopback."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert (await client.enrol()).agent_name == "Backoffice"
    assert len(client.relay.asked) == 1


def test_the_fake_relays_token_names_its_ca(relay: FakeRelay) -> None:
    """What the tests above rest upon."""
    assert relay.token.ca_fingerprint == ca_fingerprint(line(relay.host_ca))
