"""The judge: signs that the stand-in store does not show, and texts that nobody should send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.gateway.call import Answer
from relay.gateway.errors import FAILURES, GatewayError
from relay.prestashop.diagnosis import Accepted, Again, Step, Trouble, judge
from relay.prestashop.hops import GATEWAY_CODES, TLS_CODES, proven, trouble_of
from relay.prestashop.remedies import REMEDIES, UNVERIFIED, remedy

FIELD_NAMES = ["Location", "WWW-Authenticate", "PSWS-Version", "X-Powered-By", "Content-Type", "Retry-After",
               "cf-mitigated", "sg-captcha", "Content-Encoding"]  # fmt: skip
LOCATIONS = ["http://a.example/api", "//x?url=", "http://[", "http://a:9x/?url="]
BODIES = [b"<p><errors/></p>", b"<p><api/></p>", b"<p><errors><error/></errors></p>", b"<html>"]
TEXTS = st.text(st.characters(max_codepoint=255), max_size=60)


def answer(status: int, body: bytes = b"", **fields: str) -> Answer:
    pairs = tuple((name.replace("_", "-"), value) for name, value in fields.items())
    return Answer(status, "Reason", pairs, body, 0.1)


@given(
    st.integers(200, 599),
    st.dictionaries(st.sampled_from(FIELD_NAMES), TEXTS | st.sampled_from(LOCATIONS)),
    st.binary(max_size=300) | st.sampled_from(BODIES),
)
def test_every_answer_has_a_meaning(status: int, fields: dict[str, str], body: bytes) -> None:
    """Whatever a store answers, the judge says something of it, with a sentence to it, and never fails."""
    found = judge(Answer(status, "x", tuple(fields.items()), body, 0.1))
    if isinstance(found, Accepted):
        assert status == 200
        return
    trouble = found.trouble if isinstance(found, Again) else found
    assert remedy(trouble.code, trouble.detail).en
    assert trouble.step in {Step.WEBSERVICE, Step.KEY, Step.PERMISSIONS}


@pytest.mark.parametrize(
    ("given", "code"),
    [
        (answer(202, b"<html>Robot Challenge Screen</html>"), "challenge_page"),
        (answer(202, sg_captcha="challenge"), "challenge_page"),
        (answer(401, b"<title>Just a moment...</title>"), "challenge_page"),
        (answer(401, PSWS_Version="1.7.0.6"), "key_refused"),
        (answer(304), "store_error"),
        (answer(300, Location=""), "store_error"),
        (answer(503, b"busy", Retry_After="10", Content_Type="text/plain"), "store_proxy_failed"),
        (answer(500, b"<br /><b>Fatal error</b>: Allowed memory size exhausted"), "php_fatal"),
        (answer(200, b"<p><errors></errors></p>"), "store_error"),
        (answer(503, b"<p><errors><error><message>x</message></error></errors></p>"), "webservice_off"),
        (answer(403, b"<p><errors><error><message>x</message></error></errors></p>"), "key_of_no_shop"),
        (answer(401, b"<p><errors><error><code>17</code></error></errors></p>", PSWS_Version="0"), "key_malformed"),
        (answer(400, b"<p><errors><error><code>27</code></error></errors></p>"), "store_error"),
        (answer(200, b"\x1f\x8b\x08"), "store_not_xml"),
        (answer(200), "store_not_xml"),
    ],
)
def test_further_signs(given: Answer, code: str) -> None:
    """Codes hidden, headers dropped by proxies, challenges of other makers."""
    found = judge(given)
    assert isinstance(found, Trouble)
    assert found.code == code


def test_what_follows_the_first_error_is_its_consequence() -> None:
    """20 and 21 together: unknown or off; 21 alone: no permission; 3 before them: PHP."""

    def codes(*numbers: int) -> Trouble:
        errors = "".join(f"<error><code>{number}</code><message>m</message></error>" for number in numbers)
        found = judge(answer(401, f"<p><errors>{errors}</errors></p>".encode(), PSWS_Version="0"))
        assert isinstance(found, Trouble)
        return found

    assert codes(20, 21) == Trouble(Step.KEY, "key_unknown")
    assert codes(21) == Trouble(Step.PERMISSIONS, "key_without_permissions")
    assert codes(3, 20, 21).code == "php_error"


def test_every_failure_of_the_way_has_a_hop_and_a_sentence() -> None:
    """None of the gateway's failures that a test can meet falls back on the sentence for everything else."""
    for code in GATEWAY_CODES | TLS_CODES:
        assert remedy(code) != UNVERIFIED, code
    assert set(FAILURES) >= GATEWAY_CODES
    never = {"malformed", "path_refused", "unauthenticated", "forbidden", "not_found", "navigation_refused",
             "expectation_failed", "uri_too_long", "head_too_large", "coding_unknown", "request_timeout"}  # fmt: skip
    ours = {"relay_unavailable", "connection_changed"}
    assert set(FAILURES) - GATEWAY_CODES <= never | ours | set(REMEDIES)


@pytest.mark.parametrize(
    ("code", "during", "step"),
    [
        ("store_timeout", Step.TCP, Step.TCP),
        ("store_timeout", Step.HTTP, Step.HTTP),
        ("store_refused", Step.HTTP, Step.HTTP),
        ("tunnel_lost", Step.HTTP, Step.ONLINE),
        ("store_not_published", Step.TCP, Step.PUBLISHED),
        ("store_dns", Step.TCP, Step.NAME),
        ("relay_fault", Step.TCP, Step.TCP),
        ("store_closed_early", Step.TLS, Step.HTTP),
    ],
)
def test_where_a_failure_shows(code: str, during: Step, step: Step) -> None:
    """At the hop it names, else at the one that was being tried."""
    assert trouble_of(GatewayError(code), during).step is step


@pytest.mark.parametrize(
    ("detail", "code"),
    [
        ("self-signed certificate", "tls_self_signed"),
        ("self-signed certificate in certificate chain", "tls_authority_unknown"),
        ("unable to get local issuer certificate", "tls_authority_unknown"),
        ("certificate has expired", "tls_expired"),
        ("certificate is not yet valid", "tls_expired"),
        ("Hostname mismatch, certificate is not valid for 'shop.fr'.", "tls_wrong_name"),
        ("TLSV1_UNRECOGNIZED_NAME", "tls_wrong_name"),
        ("the certificate's key is not the pinned one", "tls_other_key"),
        ("WRONG_VERSION_NUMBER", "tls_not_spoken"),
        ("TLSV1_ALERT_PROTOCOL_VERSION", "tls_too_old"),
        ("the store did not finish the TLS handshake", "store_tls"),
    ],
)
def test_tls_in_the_words_of_openssl(detail: str, code: str) -> None:
    """Each reason that somebody can mend has a code of its own."""
    found = trouble_of(GatewayError("store_tls", detail), Step.TLS)
    assert found == Trouble(Step.TLS, code, detail)


def test_what_a_trouble_proves() -> None:
    """A refused port had a name; an unknown key was heard by a webservice; a dead dial proves nothing."""
    assert proven(Trouble(Step.TCP, "store_refused")) == (Step.NAME,)
    assert proven(Trouble(Step.TCP, "store_timeout")) == ()
    assert proven(Trouble(Step.KEY, "key_unknown")) == (Step.HTTP, Step.WEBSERVICE)
    assert proven(Trouble(Step.PERMISSIONS, "x")) == (Step.HTTP, Step.WEBSERVICE, Step.KEY)
    assert proven(Trouble(Step.AGENT, "x")) == ()
