"""What the relay says of this installation and of its token, asked so that no place is taken and no token is spent."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import asyncssh
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr, ValidationError

from agent import __version__
from agent.condition import span
from agent.https import Link, LinkError, Reply, host_name, skewed
from agent.logs import printable
from agent.probes.here import Here, openssh_line, openssh_pem
from agent.probes.step import Chain, StepError, StepSkipped
from agent.trust import believed
from agent.wire.enrolment import PATH, Endpoint, EnrolmentAnswer, EnrolmentRequest, SignedRequest
from agent.wire.refusal import EnrolmentRefusal
from agent.wire.token import AccessToken

ASK_SECONDS = 8.0
"""A relay that is busy lets enrolments wait in line."""
_NEW_TOKEN = "make a new one with 'postern-relay agents tokens create' and put it in the token's place"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Membership:
    """What a login needs, and where the relay says that one may dial."""

    agent_id: str
    credentials: tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]
    host_cas: tuple[asyncssh.SSHKey, ...]
    host_principal: str
    endpoints: tuple[Endpoint, ...]
    ticket: SecretStr


class Registrar:
    """The relay's enrolment, as a visitor asks it. `clock` gives unix seconds."""

    def __init__(self, relay: str, link: Link, stores: tuple[str, ...], clock: Callable[[], float]) -> None:
        self._relay = relay
        self._link = link
        self._stores = stores
        self._clock = clock

    async def renew(self, key: Ed25519PrivateKey) -> EnrolmentAnswer:
        """A certificate for an installation that is enrolled, taken as a visitor. Raises StepError."""
        reply = await self._send(self._sign(key, self._stores, visit=True))
        if reply.status != 200:
            raise _refused(reply)
        try:
            return EnrolmentAnswer.model_validate_json(reply.body)
        except ValidationError:
            raise StepError("what answers is not a relay of this version", "update the agent or the relay") from None

    async def knows(self, token: AccessToken) -> bool:
        """Whether the relay knows the token. The request bears a void signature, so that it can have no effect.

        Raises StepError.
        """
        signed = self._sign(Ed25519PrivateKey.generate(), ())
        reply = await self._send(dataclasses.replace(signed, token_id=token.id, token_signature=bytes(64)))
        code = _problem(reply).get("code")
        if code == EnrolmentRefusal.SIGNATURE_INVALID:
            return True
        raise _refused(reply)

    def _sign(self, key: Ed25519PrivateKey, stores: tuple[str, ...], *, visit: bool = False) -> SignedRequest:
        request = EnrolmentRequest(
            public_key=openssh_line(key), host_name=host_name(), version=__version__, stores=list(stores), visit=visit
        )
        return SignedRequest.sign(request, relay=self._relay, time=int(self._clock()), key=key, token=None)

    async def _send(self, signed: SignedRequest) -> Reply:
        try:
            return await self._link.request("POST", self._relay + PATH, content=signed.body, headers=signed.headers)
        except LinkError as error:
            raise StepError(str(error).rstrip("."), "see the lines about the way to the relay") from None


async def join(chain: Chain, registrar: Registrar, here: Here) -> Membership | None:
    """The steps `enrolment` and `token`. None: not enrolled, refused, or not asked, since the running agent stands."""
    before = chain.broken
    membership = await chain.step("enrolment", lambda: _renewed(registrar, here), "", seconds=ASK_SECONDS)
    refused = bool(chain.broken)
    chain.broken = before  # what the relay says of another token is worth hearing all the same
    await chain.step("token", lambda: _judge_token(registrar, here, refused=refused), "", seconds=ASK_SECONDS)
    return membership


async def _renewed(registrar: Registrar, here: Here) -> tuple[Membership | None, str]:
    if here.memory is None or here.key is None:
        raise StepSkipped("this installation has not enrolled yet; 'postern-agent run' does it")
    if here.agent.stands_whole:
        return None, f"proved by the running agent; its certificate lasts {span(here.agent.certificate_seconds)} more"
    answer = await registrar.renew(here.key)
    lines = believed(answer.host_cas, here.token.ca_fingerprint if here.token else None, here.memory.host_cas)
    if not lines:
        raise StepError(
            "the relay shows a host CA that neither the token nor the last enrolment names",
            "something pretends to be the relay, or it was set up anew: compare, and enrol with a new token",
        )
    try:
        membership = _membership(answer, here.key, lines)
    except (asyncssh.KeyImportError, ValueError):
        raise StepError("what answers is not a relay of this version", "update the agent or the relay") from None
    name = printable(answer.agent_name)
    return membership, f"the relay knows this installation ({answer.instance_id}) as one of {name!r}"


def _membership(answer: EnrolmentAnswer, key: Ed25519PrivateKey, host_cas: tuple[str, ...]) -> Membership:
    return Membership(
        agent_id=answer.agent_id,
        credentials=(
            asyncssh.import_private_key(openssh_pem(key)),
            asyncssh.import_certificate(answer.certificate),
        ),
        host_cas=tuple(asyncssh.import_public_key(line) for line in host_cas),
        host_principal=answer.host_principal,
        endpoints=tuple(answer.endpoints),
        ticket=answer.ticket,
    )


async def _judge_token(registrar: Registrar, here: Here, *, refused: bool) -> tuple[None, str]:
    if here.token is None:
        raise StepSkipped("none is given")
    if here.memory and here.memory.token_id == here.token.id:
        if refused:
            raise StepSkipped("see the line about the enrolment")
        return None, f"the relay takes it: this installation is enrolled with {here.token.id}"
    await registrar.knows(here.token)
    when = "at its next start or reload" if here.memory else "when it enrols"
    return None, f"the relay knows {here.token.id}; whether it is still good shows when the agent uses it, {when}"


_SENTENCES: dict[EnrolmentRefusal, tuple[str, str]] = {
    EnrolmentRefusal.TOKEN_UNKNOWN: ("the relay does not know this access token", _NEW_TOKEN),
    EnrolmentRefusal.TOKEN_REVOKED: ("the access token of this installation was revoked", _NEW_TOKEN),
    EnrolmentRefusal.TOKEN_EXPIRED: ("the access token has expired", _NEW_TOKEN),
    EnrolmentRefusal.AGENT_REVOKED: (
        "this agent was revoked at the relay",
        "create a new one there, or take this installation away",
    ),
    EnrolmentRefusal.INSTANCE_REVOKED: (
        "this installation was revoked at the relay",
        "to let the machine in again, delete its state directory and enrol with a new token",
    ),
    EnrolmentRefusal.INSTANCE_UNKNOWN: (
        "the relay does not know this installation any more",
        "restart the agent with an access token: it then enrols again",
    ),
    EnrolmentRefusal.SIGNATURE_INVALID: (
        "the relay does not take this installation's signature",
        "delete the state directory and enrol with a new token",
    ),
    EnrolmentRefusal.REQUEST_INVALID: (
        "the relay does not take what this version sends",
        "update the older of the two",
    ),
    EnrolmentRefusal.RELAY_OVERLOADED: ("the relay has too much to do just now", "check again in a minute"),
}


def _refused(reply: Reply) -> StepError:
    problem = _problem(reply)
    try:
        refusal = EnrolmentRefusal(problem.get("code", ""))
    except ValueError:
        return StepError(
            f"the relay answers {reply.status} to an enrolment", "is that the relay's address, and is the relay well?"
        )
    if refusal is EnrolmentRefusal.CLOCK_SKEW:
        skew = problem.get("skew_seconds")
        by = skewed(skew) if isinstance(skew, int | float) else "off by more than an hour"
        return StepError(f"this machine's clock is {by}", "set the clock, for example with 'timedatectl set-ntp true'")
    if refusal is EnrolmentRefusal.RELAY_MISMATCH:
        name = printable(str(problem.get("relay") or "another one"))
        return StepError("the relay goes by another address", f"name it as it calls itself: --relay {name}", final=True)
    seen, remedy = _SENTENCES.get(refusal, (f"the relay refuses ({refusal.value})", "check again"))
    return StepError(seen, remedy, final=refusal.final)


def _problem(reply: Reply) -> dict[str, Any]:
    try:
        problem = json.loads(reply.body)
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}
