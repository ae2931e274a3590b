"""How an instance enrols over HTTP: the certificate it gets, and every way of being turned away."""

from __future__ import annotations

import json
import secrets
import time
from contextlib import ExitStack
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any, cast

import asyncssh
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.wire.enrolment import PATH, EnrolmentAnswer, EnrolmentRequest, SignedRequest, ca_fingerprint, instance_id
from agent.wire.limits import CERTIFICATE_BACKDATE_SECONDS, CERTIFICATE_SECONDS, ENROLMENT_BYTES
from agent.wire.refusal import EnrolmentRefusal
from agent.wire.token import AccessToken
from relay.api.pace import Pace
from relay.tunnels.authority import HOST_PRINCIPAL, Identity
from tests.relay.api.scene import URL, Relay


class Machine:
    """An agent's machine: its own key, and the token that it was given."""

    def __init__(self, token: str | None) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.public = self.key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        self.token = AccessToken.parse(token) if token else None

    def signed(self, *, relay: str = URL, ahead: int = 0, token: bool = True) -> SignedRequest:
        request = EnrolmentRequest(
            public_key=self.public, host_name="shop-server", version="0.1.0", stores=["http://shop.lan"]
        )
        shown = self.token if token else None
        return SignedRequest.sign(request, relay=relay, time=int(time.time()) + ahead, key=self.key, token=shown)


async def send(relay: Relay, signed: SignedRequest, **changed: str) -> httpx.Response:
    return await relay.client.post(PATH, content=signed.body, headers={**signed.headers, **changed})


async def enrolled(relay: Relay) -> tuple[dict[str, Any], Machine]:
    agent = await relay.agent()
    machine = Machine(agent["token"])
    answer = await send(relay, machine.signed())
    assert answer.status_code == 200, answer.text
    return agent, machine


def refused(answer: httpx.Response, refusal: EnrolmentRefusal, status: int) -> dict[str, Any]:
    """The problem, checked for what all refusals have in common."""
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert (problem["code"], answer.status_code) == (refusal, status), problem
    assert (problem["status"], problem["origin"]) == (status, "agent")
    assert problem["retryable"] is not refusal.final
    assert problem["detail"]
    return problem


async def test_the_answer_holds_all_that_an_agent_needs(relay: Relay) -> None:
    """Ids, name, endpoints, the pinned host CA, durations, a ticket and the relay's time."""
    agent = await relay.agent("Lyon")
    machine = Machine(agent["token"])
    response = await send(relay, machine.signed())
    answer = EnrolmentAnswer.model_validate_json(response.content)
    assert (answer.agent_id, answer.agent_name) == (agent["id"], "Lyon")
    assert answer.instance_id == instance_id(machine.public)
    assert answer.endpoints == relay.parts.endpoints
    assert (answer.tunnels, answer.host_principal) == (2, HOST_PRINCIPAL)
    assert machine.token
    assert ca_fingerprint(answer.host_cas[0].public_key) == machine.token.ca_fingerprint
    assert answer.certificate_seconds == CERTIFICATE_SECONDS
    assert answer.renew_seconds == CERTIFICATE_SECONDS / 2
    assert abs(answer.server_time - time.time()) < 5
    assert len(answer.ticket.get_secret_value()) >= 43


async def test_the_certificate_says_who_may_log_in(relay: Relay) -> None:
    """Its only principal is the agent, its force-command the identity, its key the machine's; it is back-dated."""
    agent, machine = await enrolled(relay)
    answer = (await send(relay, machine.signed())).json()
    certificate: Any = asyncssh.import_certificate(answer["certificate"])
    assert certificate.principals == [agent["id"]]
    identity = Identity.read(agent["id"], certificate.options["force-command"])
    assert identity is not None
    assert (identity.instance, identity.token) == (instance_id(machine.public), agent["token_id"])
    assert certificate._serial == identity.serial
    assert certificate._valid_before == identity.not_after
    life = certificate._valid_before - certificate._valid_after
    assert life == CERTIFICATE_SECONDS + CERTIFICATE_BACKDATE_SECONDS
    assert abs(identity.not_after - time.time() - CERTIFICATE_SECONDS) < 5
    shown = certificate.key.export_public_key().split()[1]
    assert shown.decode() == machine.public.split()[1]
    assert certificate.signing_key.export_public_key() != certificate.key.export_public_key()


async def test_every_answer_is_dated_once(relay: Relay) -> None:
    """Agents compare their clocks with `Date`: it is on refusals too, and never doubled."""
    for answer in (await relay.client.post(PATH), await relay.call("GET", "/livez", as_=None)):
        (date,) = answer.headers.get_list("Date")
        assert abs(parsedate_to_datetime(date).timestamp() - time.time()) < 5


async def test_renewal_needs_no_token(relay: Relay) -> None:
    """A known key renews with its own signature alone, with a higher serial and a fresh ticket."""
    agent, machine = await enrolled(relay)
    first = (await send(relay, machine.signed(token=False))).json()
    second = (await send(relay, machine.signed(token=False))).json()
    old, new = (cast("Any", asyncssh.import_certificate(each["certificate"])) for each in (first, second))
    assert old._serial < new._serial
    assert first["ticket"] != second["ticket"]
    assert second["agent_id"] == agent["id"]


async def test_an_enrolled_agent_is_offline_until_it_dials(relay: Relay) -> None:
    """The agent's page shows the instance as it described itself."""
    agent, machine = await enrolled(relay)
    shown = (await relay.call("GET", f"/v1/agents/{agent['id']}")).json()
    assert shown["state"] == "offline"
    (instance,) = shown["instances"]
    assert instance["id"] == instance_id(machine.public)
    assert (instance["host_name"], instance["version"], instance["stores"]) == (
        "shop-server",
        "0.1.0",
        ["http://shop.lan"],
    )
    assert instance["online"] is False


async def test_a_replay_is_refused(relay: Relay) -> None:
    """The same signed bytes work once."""
    agent = await relay.agent()
    signed = Machine(agent["token"]).signed()
    assert (await send(relay, signed)).status_code == 200
    assert refused(await send(relay, signed), EnrolmentRefusal.NONCE_REUSED, 409)


async def test_a_changed_body_is_refused(relay: Relay) -> None:
    """The signature covers the body's bytes, blanks included."""
    agent = await relay.agent()
    signed = Machine(agent["token"]).signed()
    assert refused(await send(relay, replace(signed, body=signed.body + b" ")), EnrolmentRefusal.SIGNATURE_INVALID, 403)
    request = json.loads(signed.body) | {"host_name": "elsewhere"}
    changed = replace(signed, body=json.dumps(request).encode())
    assert refused(await send(relay, changed), EnrolmentRefusal.SIGNATURE_INVALID, 403)


@pytest.mark.parametrize("header", ["Postern-Time", "Postern-Nonce"])
async def test_a_changed_header_is_refused(relay: Relay, header: str) -> None:
    """The signature covers time and nonce."""
    agent = await relay.agent()
    signed = Machine(agent["token"]).signed()
    other = str(signed.time + 1) if header == "Postern-Time" else secrets.token_hex(16)
    assert refused(await send(relay, signed, **{header: other}), EnrolmentRefusal.SIGNATURE_INVALID, 403)


async def test_another_tokens_signature_is_refused(relay: Relay) -> None:
    """Knowing a token's id is not having the token."""
    agent, other = await relay.agent("Lyon"), await relay.agent("Paris")
    signed = Machine(other["token"]).signed()
    stolen = replace(signed, token_id=agent["token_id"])
    assert refused(await send(relay, stolen), EnrolmentRefusal.SIGNATURE_INVALID, 403)


@pytest.mark.parametrize("ahead", [7200, -7200])
async def test_a_wrong_clock_is_told_by_how_much(relay: Relay, ahead: int) -> None:
    """`skew_seconds` is positive for an agent that is ahead."""
    agent = await relay.agent()
    answer = await send(relay, Machine(agent["token"]).signed(ahead=ahead))
    problem = refused(answer, EnrolmentRefusal.CLOCK_SKEW, 400)
    assert abs(problem["skew_seconds"] - ahead) <= 5


async def test_another_relays_address_is_named(relay: Relay) -> None:
    """An agent that was given the wrong name of this relay is told the right one."""
    agent = await relay.agent()
    signed = Machine(agent["token"]).signed(relay="https://alias.example.net")
    problem = refused(await send(relay, signed, Host="alias.example.net"), EnrolmentRefusal.RELAY_MISMATCH, 400)
    assert problem["relay"] == URL


async def test_an_unknown_token_is_refused(relay: Relay) -> None:
    """A token of another relay, or of an agent that was deleted."""
    stranger = Machine(AccessToken.generate(b"\0" * 16).reveal())
    assert refused(await send(relay, stranger.signed()), EnrolmentRefusal.TOKEN_UNKNOWN, 403)


async def test_an_unknown_key_needs_a_token(relay: Relay) -> None:
    """A renewal by a key that no instance has."""
    assert refused(await send(relay, Machine(None).signed()), EnrolmentRefusal.INSTANCE_UNKNOWN, 403)


async def test_a_revoked_token_is_refused(relay: Relay) -> None:
    """For new instances as for those that showed it last."""
    agent, machine = await enrolled(relay)
    await relay.call("POST", f"/v1/agents/{agent['id']}/tokens/{agent['token_id']}/revoke")
    assert refused(await send(relay, Machine(agent["token"]).signed()), EnrolmentRefusal.TOKEN_REVOKED, 403)
    assert refused(await send(relay, machine.signed(token=False)), EnrolmentRefusal.TOKEN_REVOKED, 403)


async def test_an_expired_token_is_refused(relay: Relay) -> None:
    """An expiry is kept."""
    form = {"name": "Lyon", "token_expires_at": int(relay.clock()) + 60}
    agent = await relay.made("/v1/agents", form)
    relay.clock.ahead = 61
    assert refused(await send(relay, Machine(agent["token"]).signed()), EnrolmentRefusal.TOKEN_EXPIRED, 403)


async def test_a_revoked_agent_is_refused(relay: Relay) -> None:
    """Revoking the agent ends its tokens' use and its instances' renewals."""
    agent, machine = await enrolled(relay)
    await relay.call("POST", f"/v1/agents/{agent['id']}/revoke")
    assert refused(await send(relay, machine.signed()), EnrolmentRefusal.AGENT_REVOKED, 403)
    assert refused(await send(relay, machine.signed(token=False)), EnrolmentRefusal.AGENT_REVOKED, 403)


async def test_a_revoked_instance_is_refused(relay: Relay) -> None:
    """Its key never enrols again, whatever token it shows."""
    agent, machine = await enrolled(relay)
    path = f"/v1/agents/{agent['id']}/instances/{instance_id(machine.public)}/revoke"
    assert (await relay.call("POST", path)).status_code == 200
    assert refused(await send(relay, machine.signed()), EnrolmentRefusal.INSTANCE_REVOKED, 403)


async def test_another_key_finds_no_place_while_the_first_is_online(relay: Relay) -> None:
    """A possible clone waits until an operator releases the place, and gets in then."""
    agent, machine = await enrolled(relay)
    instance = instance_id(machine.public)
    tunnel = relay.tunnel(agent["id"], instance)
    clone = Machine(agent["token"])
    answer = await send(relay, clone.signed())
    assert refused(answer, EnrolmentRefusal.INSTANCE_LIMIT, 409)
    assert answer.headers["Retry-After"] == "60"
    relay.parts.registry.remove(tunnel)
    released = await relay.call("POST", f"/v1/agents/{agent['id']}/instances/{instance}/release")
    assert released.status_code == 204
    assert (await send(relay, clone.signed())).status_code == 200


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Postern-Time", "soon"),
        ("Postern-Nonce", "short"),
        ("Postern-Instance-Signature", "!!"),
        ("Postern-Token-Signature", "QUJD"),
    ],
)
async def test_unreadable_headers_are_refused(relay: Relay, header: str, value: str) -> None:
    """Each header's form is checked before anything is believed."""
    agent = await relay.agent()
    signed = Machine(agent["token"]).signed()
    assert refused(await send(relay, signed, **{header: value}), EnrolmentRefusal.REQUEST_INVALID, 400)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"null", b'{"public_key": "ssh-ed25519 AAAA"}'])
@pytest.mark.one_database
async def test_unreadable_bodies_are_refused(relay: Relay, body: bytes) -> None:
    """A body that is not an enrolment is the sender's fault, never the relay's."""
    signed = replace(Machine(None).signed(), body=body)
    assert refused(await send(relay, signed), EnrolmentRefusal.REQUEST_INVALID, 400)


async def test_a_large_body_is_refused(relay: Relay) -> None:
    """64 KiB are enough for 64 stores."""
    answer = await send(relay, replace(Machine(None).signed(), body=b" " * (ENROLMENT_BYTES + 1)))
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_too_many_at_once_are_put_off(relay: Relay) -> None:
    """A source that has all its places taken is told to come back, and is served once there is room."""
    agent = await relay.agent()
    machine = Machine(agent["token"])
    with relay.parts.enrolments.one("198.51.100.9"):
        relay.parts.enrolments._each = 1
        answer = await send(relay, machine.signed())
        assert refused(answer, EnrolmentRefusal.RELAY_OVERLOADED, 503)
        assert answer.headers["Retry-After"] == "2"
    assert (await send(relay, machine.signed())).status_code == 200


async def test_a_fleet_that_comes_at_once_is_spread(relay: Relay) -> None:
    """Beyond the relay's pace, each is told another time to come back, and none of their nonces or places is spent."""
    agent = await relay.agent()
    machine, stands = Machine(agent["token"]), 0.0
    object.__setattr__(relay.parts, "enrolment_pace", Pace(lambda: stands, a_second=0.5, at_once=1))
    assert (await send(relay, machine.signed())).status_code == 200
    signed, told = machine.signed(), []
    for _ in range(3):
        answer = await send(relay, signed)
        assert refused(answer, EnrolmentRefusal.RELAY_OVERLOADED, 503)
        assert answer.json()["retryable"] is True
        told.append(answer.headers["Retry-After"])
    assert told == ["2", "4", "6"]
    stands = 2.0
    assert (await send(relay, signed)).status_code == 200


async def test_one_account_cannot_take_all_places(relay: Relay) -> None:
    """Its share is counted once signatures have proved whose enrolment it is; the others' agents enrol meanwhile."""
    mine, theirs = await relay.agent(), await relay.agent("theirs", as_="other")
    with ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(relay.parts.proved_enrolments.one(relay.account))
        assert refused(await send(relay, Machine(mine["token"]).signed()), EnrolmentRefusal.RELAY_OVERLOADED, 503)
        assert (await send(relay, Machine(theirs["token"]).signed())).status_code == 200
    assert (await send(relay, Machine(mine["token"]).signed())).status_code == 200


async def test_strangers_cannot_crowd_out_who_is_known(relay: Relay) -> None:
    """With all places for strangers taken, a source from which an agent came lately is served, another is not."""
    agent = await relay.agent()
    machine = Machine(agent["token"])
    with ExitStack() as stack:
        for number in range(64):
            stack.enter_context(relay.parts.enrolments.one(f"203.0.113.{number}"))
        assert refused(await send(relay, machine.signed()), EnrolmentRefusal.RELAY_OVERLOADED, 503)
        relay.parts.admission.welcome("198.51.100.9")
        assert (await send(relay, machine.signed())).status_code == 200


async def test_who_has_enrolled_is_known_at_the_door(relay: Relay) -> None:
    """Its first tunnel comes next, and goes before strangers."""
    agent = await relay.agent()
    assert not relay.parts.admission.knows("198.51.100.9")
    await send(relay, Machine(None).signed())
    assert not relay.parts.admission.knows("198.51.100.9")
    await send(relay, Machine(agent["token"]).signed())
    assert relay.parts.admission.knows("198.51.100.9")


async def test_a_database_that_is_away_is_no_refusal(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 `database_unavailable`, so that the agent tries again instead of stopping."""
    agent = await relay.agent()
    relay.break_database(monkeypatch)
    answer = await send(relay, Machine(agent["token"]).signed())
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert answer.json()["retryable"] is True
    assert answer.headers["Retry-After"] == "5"
