"""What a look at a store tells, by the signs of PrestaShop, of web servers around it, and of the way there."""

from __future__ import annotations

import pytest

from relay.gateway.call import Answer, OutOfTimeError
from relay.gateway.errors import GatewayError
from relay.health.store_answers import Finding, read_bare, read_failure

REALM = ("WWW-Authenticate", 'Basic realm="Welcome to PrestaShop Webservice, please enter the authentication key"')
PSWS = ("PSWS-Version", "9.1.4")


def answer(status: int, *fields: tuple[str, str], body: bytes = b"") -> Answer:
    return Answer(status, "Reason", fields, body, 0.1)


@pytest.mark.parametrize(
    ("told", "finding"),
    [
        (answer(401, REALM, PSWS), Finding(reachable=True, answering=True)),
        (answer(401, REALM), Finding(reachable=True, answering=True)),
        (answer(200, PSWS), Finding(reachable=True, answering=True)),
        (answer(503, PSWS), Finding(reachable=True, answering=False, code="webservice_off")),
        (answer(500, PSWS), Finding(reachable=True, answering=False, code="store_error")),
        (
            answer(401, ("WWW-Authenticate", 'Basic realm="Staging"')),
            Finding(reachable=True, answering=False, code="site_password"),
        ),
        (answer(404), Finding(reachable=True, answering=False, code="api_not_found")),
        (answer(502), Finding(reachable=True, answering=False, code="store_proxy_failed")),
        (
            answer(302, ("Location", "https://www.shop.fr/?url=")),
            Finding(reachable=True, answering=False, code="host_not_owned"),
        ),
    ],
)
def test_without_a_key(told: Answer, finding: Finding) -> None:
    """Answering is what PrestaShop alone answers; anything else has the code of a connection test."""
    assert read_bare(told, known=True) == finding


def test_where_nobody_says_that_there_is_a_shop() -> None:
    """An answer proves the machine, and says nothing of a webservice that may be elsewhere on it."""
    assert read_bare(answer(404), known=False) == Finding(reachable=True)
    assert read_failure(GatewayError("store_tls", "self-signed certificate"), known=False) == Finding(reachable=True)


@pytest.mark.parametrize(
    ("error", "finding"),
    [
        (GatewayError("store_refused"), Finding(reachable=False, answering=False, code="store_refused")),
        (GatewayError("store_dns"), Finding(reachable=False, answering=False, code="store_dns")),
        (GatewayError("store_timeout"), Finding(reachable=False, answering=False, code="store_timeout")),
        (
            GatewayError("store_tls", "certificate has expired"),
            Finding(reachable=True, answering=False, code="tls_expired"),
        ),
        (GatewayError("store_closed_early"), Finding(reachable=True, answering=False, code="store_closed_early")),
        (OutOfTimeError(20, sent=True), Finding(reachable=False, answering=False, code="store_timeout")),
        (OutOfTimeError(20, sent=False), Finding()),
        (GatewayError("agent_offline"), Finding()),
        (GatewayError("tunnel_lost"), Finding()),
        (GatewayError("store_busy"), Finding()),
        (GatewayError("account_busy"), Finding()),
        (GatewayError("store_not_published"), Finding()),
        (GatewayError("relay_fault"), Finding()),
    ],
)
def test_no_answer(error: GatewayError, finding: Finding) -> None:
    """Failures of the store count; those of the way there, and of waiting for a turn, say nothing of it."""
    found = read_failure(error, known=True)
    assert found == finding
    assert found.silent is (finding.reachable is None)
