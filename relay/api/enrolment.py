"""`/v1/agent/enrolment`: an instance proves itself by signatures and gets its certificate."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request

from agent.wire.enrolment import (
    INSTANCE_SIGNATURE,
    NONCE,
    PATH,
    TIME,
    TOKEN,
    TOKEN_SIGNATURE,
    EnrolmentAnswer,
    EnrolmentRequest,
    HostCa,
)
from agent.wire.limits import CERTIFICATE_SECONDS, ENROLMENT_BYTES
from agent.wire.refusal import EnrolmentRefusal
from relay.api.answers import Answer
from relay.api.authentication import source_of
from relay.api.bodies import read_body
from relay.api.openapi import refusals
from relay.api.parts import Parts, Serving
from relay.api.problems import ProblemError
from relay.api.shares import ShareExceededError
from relay.database.enrolments import Enrolled, EnrolmentAttempt, enrol
from relay.database.errors import DatabaseError, EnrolmentRefused
from relay.metrics.node import AWAY, ENROLLED
from relay.tunnels.authority import HOST_PRINCIPAL, Identity

RENEW_AT = 0.5
"""At which part of a certificate's life it is renewed: two tries a day, and hours of grace for an outage."""
_REFUSALS = frozenset(refusal.value for refusal in EnrolmentRefusal)

router = APIRouter(tags=["agent"])


@router.post(
    PATH,
    summary="Enrol an instance, or renew its certificate",
    response_model=EnrolmentAnswer,
    responses=refusals(*EnrolmentRefusal, "body_too_large", "database_unavailable"),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": EnrolmentRequest.model_json_schema()}},
        }
    },
)
async def enrol_instance(
    *,
    parts: Serving,
    request: Request,
    time: Annotated[str, Header(alias=TIME, description="Unix seconds of the agent's clock.")] = "",
    nonce: Annotated[str, Header(alias=NONCE, description="32 hexadecimal digits, never used twice.")] = "",
    instance_signature: Annotated[
        str, Header(alias=INSTANCE_SIGNATURE, description="Base64: by the instance's own key.")
    ] = "",
    token: Annotated[
        str | None, Header(alias=TOKEN, description="The id of the access token, if one is shown.")
    ] = None,
    token_signature: Annotated[
        str | None, Header(alias=TOKEN_SIGNATURE, description="Base64: the same bytes, by the token's key.")
    ] = None,
) -> Answer:
    """Signed over relay address, time, nonce and body, with the instance's key and, when first seen, the token's.

    The token itself never travels. A refusal's `code` says why; `skew_seconds` and `relay` come with those about them.
    """
    with _counted(parts.enrolled):
        attempt = EnrolmentAttempt.of(
            body=await read_body(request, ENROLMENT_BYTES),
            time=time,
            nonce=nonce,
            instance_signature=instance_signature,
            token_id=token,
            token_signature=token_signature,
        )
        try:
            with _share_of(parts, source_of(request)):
                enrolled = await _enrol(parts, request, attempt)
        except ShareExceededError:
            raise _overloaded(None) from None
    parts.admission.welcome(source_of(request))
    parts.directory.wake()
    return Answer(_revealed(_answer(parts, attempt, enrolled)))


async def _enrol(parts: Parts, request: Request, attempt: EnrolmentAttempt) -> Enrolled:
    return await enrol(
        parts.database,
        attempt,
        relay=parts.public_url,
        also_known_as=_addresses(request),
        is_online=_online(parts),
        source=source_of(request),
        admit=functools.partial(_admit, parts),
    )


@contextmanager
def _counted(results: Counter[str]) -> Iterator[None]:
    """What comes of the block, by the name that metrics have for it."""
    try:
        yield
    except EnrolmentRefused as error:
        results[error.refusal.value] += 1
        raise
    except ProblemError as problem:
        results[problem.kind.code if problem.kind.code in _REFUSALS else EnrolmentRefusal.REQUEST_INVALID.value] += 1
        raise
    except DatabaseError:
        results[AWAY] += 1
        raise
    results[ENROLLED] += 1


def _share_of(parts: Parts, source: str) -> AbstractContextManager[None]:
    shares = parts.known_enrolments if parts.admission.knows(source) else parts.enrolments
    return shares.one(source)


@contextmanager
def _admit(parts: Parts, account: str) -> Iterator[None]:
    """A place of the account's share, at the relay's pace. Raises ProblemError, ShareExceededError."""
    with parts.proved_enrolments.one(account):
        if seconds := parts.enrolment_pace.come():
            raise _overloaded(seconds)
        yield


def _overloaded(seconds: int | None) -> ProblemError:
    """`seconds`: when to come back, if that is known better than for everybody."""
    headers = {"Retry-After": str(seconds)} if seconds else None
    code = EnrolmentRefusal.RELAY_OVERLOADED.value
    return ProblemError(code, "too many agents enrol at the same time", headers=headers)


def _online(parts: Parts) -> Callable[[str], bool]:
    """Whether an instance has a tunnel; the node's tunnels are gone through once, and only if that is asked."""

    @functools.cache
    def here() -> frozenset[str]:
        return frozenset(tunnel.identity.instance for tunnel in parts.registry if not tunnel.lost)

    return lambda instance: instance in here()


def _addresses(request: Request) -> tuple[str, ...]:
    """Where the agent believes this relay to be, only to tell it so when that is why the signature does not fit."""
    host = request.headers.get("host", "")[:255]
    return (f"https://{host}", f"http://{host}") if host else ()


def _answer(parts: Parts, attempt: EnrolmentAttempt, enrolled: Enrolled) -> EnrolmentAnswer:
    now = int(parts.clock())
    identity = Identity(enrolled.agent, enrolled.instance, enrolled.token, enrolled.serial, now + CERTIFICATE_SECONDS)
    return EnrolmentAnswer(
        agent_id=enrolled.agent,
        agent_name=enrolled.agent_name,
        instance_id=enrolled.instance,
        certificate=parts.authority.certify_instance(_key_line(attempt.request.public_key), identity),
        certificate_seconds=CERTIFICATE_SECONDS,
        renew_seconds=CERTIFICATE_SECONDS * RENEW_AT,
        host_cas=[HostCa(public_key=parts.authority.host_ca_line)],
        host_principal=HOST_PRINCIPAL,
        endpoints=parts.endpoints,
        tunnels=parts.tunnels,
        ticket=enrolled.ticket.text,
        server_time=now,
    )


def _key_line(public_key: str) -> str:
    """Type and key, without the comment that may follow."""
    return " ".join(public_key.split()[:2])


def _revealed(answer: EnrolmentAnswer) -> dict[str, Any]:
    members: dict[str, Any] = json.loads(answer.model_dump_json())
    return {**members, "ticket": answer.ticket.get_secret_value()}
