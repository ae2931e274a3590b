"""On which hop a failure of the way to the store shows, and which of them its failing proves to work."""

from __future__ import annotations

from relay.gateway.errors import GatewayError
from relay.prestashop.diagnosis import Step, Trouble

_STEPS = {
    "agent_offline": Step.ONLINE,
    "agent_busy": Step.ONLINE,
    "agent_fault": Step.ONLINE,
    "tunnel_lost": Step.ONLINE,
    "store_not_published": Step.PUBLISHED,
    "store_dns": Step.NAME,
    "store_forbidden": Step.NAME,
    "store_refused": Step.TCP,
    "store_unreachable": Step.TCP,
    "store_timeout": Step.TCP,
    "store_tls": Step.TLS,
    "store_closed_early": Step.HTTP,
    "store_bad_answer": Step.HTTP,
    "store_busy": Step.HTTP,
    "account_busy": Step.HTTP,
    "relay_overloaded": Step.HTTP,
}
_TLS_SIGNS = (
    ("self-signed certificate in certificate chain", "tls_authority_unknown"),
    ("unable to get", "tls_authority_unknown"),
    ("self-signed", "tls_self_signed"),
    ("has expired", "tls_expired"),
    ("not yet valid", "tls_expired"),
    ("ostname mismatch", "tls_wrong_name"),
    ("UNRECOGNIZED_NAME", "tls_wrong_name"),
    ("the pinned one", "tls_other_key"),
    ("WRONG_VERSION_NUMBER", "tls_not_spoken"),
    ("RECORD_LAYER_FAILURE", "tls_not_spoken"),
    ("PACKET_LENGTH_TOO_LONG", "tls_not_spoken"),
    ("UNSUPPORTED_PROTOCOL", "tls_too_old"),
    ("PROTOCOL_VERSION", "tls_too_old"),
)
"""Words of OpenSSL (3.0 and later) and of `relay.gateway.tls`."""
TLS_CODES = frozenset(code for _, code in _TLS_SIGNS)
GATEWAY_CODES = frozenset(_STEPS)
_ANSWERED = frozenset({"store_refused", "store_unreachable"})
"""Failures of the dial that had an address to dial."""


def trouble_of(error: GatewayError, during: Step) -> Trouble:
    """The trouble behind a failure that came during a step; one that could come anywhere belongs to that step."""
    code = error.failure.code
    step = _STEPS.get(code, during)
    if step is Step.TCP and during in {Step.TLS, Step.HTTP}:
        step = during
    if code == "store_tls":
        code = next((sharper for sign, sharper in _TLS_SIGNS if sign in error.detail), code)
    return Trouble(step, code, error.detail)


def proven(trouble: Trouble) -> tuple[Step, ...]:
    """The hops that the trouble itself shows to work, though none of them was looked at alone."""
    if trouble.code in _ANSWERED:
        return (Step.NAME,)
    asked = (Step.HTTP, Step.WEBSERVICE, Step.KEY, Step.PERMISSIONS)
    return asked[: asked.index(trouble.step)] if trouble.step in asked else ()
