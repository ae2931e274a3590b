"""The agent's side of the enrolment: what is asked of the relay, and what is made of its answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import asyncssh
import structlog
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from agent import __version__, https
from agent.failure import ConfigurationError
from agent.identity import Identity, Memory
from agent.logs import printable
from agent.settings import TokenMissingError
from agent.trust import believed
from agent.wire.destination import Store
from agent.wire.enrolment import PATH, Endpoint, EnrolmentAnswer, EnrolmentRequest, SignedRequest
from agent.wire.refusal import EnrolmentRefusal
from agent.wire.token import AccessToken

SKEW_TOLD_SECONDS = 60
"""A clock that is further off than this is worth a warning, though it hinders nothing yet."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Admission:
    """What one enrolment gave: with whom, what to show, where to dial, whom to believe, and until when."""

    agent_id: str
    agent_name: str
    instance_id: str
    credentials: tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]
    host_cas: tuple[asyncssh.SSHKey, ...]
    host_principal: str
    endpoints: tuple[Endpoint, ...]
    tunnels: int
    taken_at: float
    renew_at: float
    expires_at: float
    """Monotonic seconds, counted from before the request was sent."""
    stores: tuple[Store, ...]
    """What the tunnels of this admission publish."""
    ticket: SecretStr
    """What opens the WebSocket, for as long as the certificate is valid."""


class EnrolmentError(Exception):
    """The enrolment did not succeed, and a later one may. `refused`: the relay was there and said no."""

    def __init__(self, sentence: str, *, refused: bool = False, retry_after: float | None = None) -> None:
        super().__init__(sentence)
        self.refused = refused
        self.retry_after = retry_after


class Enrolment:
    """Enrols an instance: with the token the first time and whenever another token lies there, else with its key."""

    def __init__(
        self,
        relay: str,
        identity: Identity,
        read_token: Callable[[], AccessToken | None],
        link: https.Link,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._relay = relay
        self._identity = identity
        self._read_token = read_token
        self._link = link
        self._clock = clock
        self._forgotten = False

    def check_token(self) -> None:
        """Whether there is a way in: a token, or an earlier enrolment. Raises ConfigurationError if there is none."""
        try:
            token = self._read_token()
        except TokenMissingError as error:
            if not self._enrolled():
                raise
            log.warning("going on without the token: this instance is enrolled", reason=str(error))
            return
        if token is None and not self._enrolled():
            raise ConfigurationError(
                "no access token is given: write it to a file and name that with --token-file, "
                "or pass it as a systemd credential 'token' or as POSTERN_AGENT_TOKEN."
            )

    async def enrol(self, stores: tuple[Store, ...]) -> Admission:
        """Ask for a certificate. Raises EnrolmentError, or ConfigurationError where no retry can help."""
        token = self._token_to_show()
        began = time.monotonic()
        reply = await self._send(self._request(stores), token)
        if reply.status != 200:
            raise self._refused(reply)
        try:
            answer = EnrolmentAnswer.model_validate_json(reply.body)
            admission = self._admit(answer, token, began, stores)
        except (ValidationError, asyncssh.KeyImportError, ValueError) as error:
            why = printable(str(error).splitlines()[0])
            raise EnrolmentError(f"what answers at {self._relay} is not a relay of this version: {why}.") from None
        self._forgotten = False
        self._tell_skew(answer.server_time)
        return admission

    def _enrolled(self) -> bool:
        memory = self._identity.memory
        return memory is not None and memory.relay == self._relay and not self._forgotten

    def _token_to_show(self) -> AccessToken | None:
        """The token, if the relay has not seen it from this instance yet."""
        memory = self._identity.memory if self._enrolled() else None
        try:
            token = self._read_token()
        except ConfigurationError as error:
            if memory is None:
                raise
            log.warning("renewing without the token", reason=str(error))
            return None
        if memory is None and token is None:
            raise ConfigurationError("the relay does not know this instance any more: give it an access token.")
        return token if memory is None or (token and token.id != memory.token_id) else None

    def _request(self, stores: tuple[Store, ...]) -> EnrolmentRequest:
        return EnrolmentRequest(
            public_key=self._identity.public_key,
            host_name=https.host_name(),
            version=__version__,
            stores=[store.origin for store in stores],
        )

    async def _send(self, request: EnrolmentRequest, token: AccessToken | None) -> https.Reply:
        signed = SignedRequest.sign(
            request, relay=self._relay, time=int(self._clock()), key=self._identity.key, token=token
        )
        try:
            return await self._link.request("POST", self._relay + PATH, content=signed.body, headers=signed.headers)
        except https.LinkError as error:
            raise EnrolmentError(str(error)) from None

    def _admit(
        self, answer: EnrolmentAnswer, token: AccessToken | None, began: float, stores: tuple[Store, ...]
    ) -> Admission:
        memory = self._identity.memory if self._enrolled() else None
        host_cas = believed(answer.host_cas, token.ca_fingerprint if token else None, memory.host_cas if memory else ())
        if not host_cas:
            raise EnrolmentError(
                "the relay shows a host CA that the access token does not name: something between here and the relay "
                "pretends to be it, or the token is of another relay. Nothing was dialled.",
                refused=True,
            )
        admission = Admission(
            agent_id=answer.agent_id,
            agent_name=printable(answer.agent_name),
            instance_id=answer.instance_id,
            credentials=self._credentials(answer.certificate),
            host_cas=tuple(asyncssh.import_public_key(line) for line in host_cas),
            host_principal=answer.host_principal,
            endpoints=tuple(answer.endpoints),
            tunnels=answer.tunnels,
            taken_at=began,
            renew_at=began + min(answer.renew_seconds, answer.certificate_seconds),
            expires_at=began + answer.certificate_seconds,
            stores=stores,
            ticket=answer.ticket,
        )
        token_id = token.id if token else memory.token_id if memory else None
        self._identity.remember(
            Memory(
                relay=self._relay,
                agent_id=answer.agent_id,
                agent_name=admission.agent_name,
                token_id=token_id,
                host_cas=host_cas,
                endpoints=tuple(answer.endpoints),
            )
        )
        return admission

    def _credentials(self, text: str) -> tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]:
        key = asyncssh.import_private_key(self._identity.private_key)
        certificate = asyncssh.import_certificate(text)
        if certificate.key.public_data != key.public_data:
            raise ValueError("the certificate is for another key")
        return key, certificate

    def _tell_skew(self, server_time: int) -> None:
        skew = round(self._clock() - server_time)
        if abs(skew) > SKEW_TOLD_SECONDS:
            log.warning("this machine's clock is off: set it", clock=https.skewed(skew))

    def _refused(self, reply: https.Reply) -> Exception:
        problem = _Problem.read(reply.body)
        try:
            refusal = EnrolmentRefusal(problem.code)
        except ValueError:
            return EnrolmentError(_unexpected(self._relay, reply, problem), refused=True, retry_after=reply.retry_after)
        sentence = _sentence(refusal, problem)
        if refusal is EnrolmentRefusal.INSTANCE_UNKNOWN:
            self._forgotten = True
        if refusal.final:
            return ConfigurationError(sentence)
        return EnrolmentError(sentence, refused=True, retry_after=reply.retry_after)


class _Problem(BaseModel):
    """What of a problem (RFC 9457) is read here."""

    model_config = ConfigDict(extra="ignore")

    code: str = ""
    detail: str = ""
    skew_seconds: float | None = None
    relay: str | None = None

    @classmethod
    def read(cls, body: bytes) -> _Problem:
        try:
            return cls.model_validate_json(body)
        except ValidationError:
            return cls()


_REFUSALS: dict[EnrolmentRefusal, str] = {
    EnrolmentRefusal.TOKEN_UNKNOWN: "the relay does not know this access token: make a new one with "
    "'postern-relay agents tokens create' and put it in the token's place",
    EnrolmentRefusal.TOKEN_REVOKED: "this access token was revoked: put a new one in its place",
    EnrolmentRefusal.TOKEN_EXPIRED: "this access token has expired: put a new one in its place",
    EnrolmentRefusal.AGENT_REVOKED: "this agent was revoked at the relay: create a new one there, or stop this one",
    EnrolmentRefusal.INSTANCE_REVOKED: "this instance was revoked at the relay: to let the machine in again, delete "
    "its state directory and enrol with a new token",
    EnrolmentRefusal.INSTANCE_UNKNOWN: "the relay does not know this instance any more: enrolling with the token again",
    EnrolmentRefusal.INSTANCE_LIMIT: "all places of this agent are taken by other machines: release one with "
    "'postern-relay agents release', or allow more instances; trying again until then",
    EnrolmentRefusal.NONCE_REUSED: "the relay saw this request before: trying again with a new one",
    EnrolmentRefusal.SIGNATURE_INVALID: "the relay could not verify the signature: the token or the instance's key is "
    "not what the relay has; enrol with a new token",
    EnrolmentRefusal.REQUEST_INVALID: "the relay does not take what this agent sends: is one of the two too old?",
    EnrolmentRefusal.RELAY_OVERLOADED: "the relay has too much to do just now: trying again later",
}


def _sentence(refusal: EnrolmentRefusal, problem: _Problem) -> str:
    if refusal is EnrolmentRefusal.CLOCK_SKEW:
        by = https.skewed(problem.skew_seconds) if problem.skew_seconds is not None else "off by more than an hour"
        return f"this machine's clock is {by}: set it (for example with NTP), then the relay lets the agent in."
    if refusal is EnrolmentRefusal.RELAY_MISMATCH:
        name = f": its address is {printable(problem.relay)}" if problem.relay else ""
        return f"the relay goes by another address than --relay says{name}."
    return f"{_REFUSALS[refusal]}."


def _unexpected(relay: str, reply: https.Reply, problem: _Problem) -> str:
    if 300 <= reply.status < 400:
        return (
            f"{relay} redirects to {printable(reply.location or 'nowhere')}: name the relay's own address with --relay."
        )
    if reply.status == 404:
        return f"what answers at {relay} knows no enrolment: is that the relay's address?"
    said = f": {printable(problem.detail, 300)}" if problem.detail else ""
    return f"the relay answered {reply.status}{said}."
