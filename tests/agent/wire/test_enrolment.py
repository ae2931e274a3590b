"""What an enrolment signs, and what that protects."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from agent.wire.enrolment import (
    EnrolmentRequest,
    SignedRequest,
    instance_id,
    raw_key,
    relay_url,
    signed_bytes,
    verify,
)
from agent.wire.token import AccessToken

RELAY = "https://relay.example.com"


def line(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def signed(key: Ed25519PrivateKey, token: AccessToken | None) -> SignedRequest:
    request = EnrolmentRequest(public_key=line(key), host_name="till", version="1", stores=["http://shop.lan"])
    return SignedRequest.sign(request, relay=RELAY, time=1_800_000_000, key=key, token=token)


def test_the_token_is_never_sent() -> None:
    """Neither token nor secret is in the headers or the body."""
    token = AccessToken.generate(bytes(16))
    request = signed(Ed25519PrivateKey.generate(), token)
    sent = request.body + repr(request.headers).encode()
    assert token.reveal().encode() not in sent
    assert token.secret not in sent
    assert token.secret.hex().encode() not in sent


@pytest.mark.parametrize("change", ["relay", "time", "nonce", "body"])
def test_the_signature_covers_everything(change: str) -> None:
    """Another relay, time, nonce or body does not fit the signatures."""
    key, token = Ed25519PrivateKey.generate(), AccessToken.generate(bytes(16))
    request = signed(key, token)
    parts = {"relay": RELAY, "time": request.time, "nonce": request.nonce, "body": request.body}
    genuine = signed_bytes(**parts)  # type: ignore[arg-type]
    forged = signed_bytes(**(parts | {change: {"time": 1, "body": b"{}"}.get(change, "other")}))  # type: ignore[arg-type]
    assert request.token_signature
    assert verify(token.public_key, request.token_signature, genuine)
    assert verify(raw_key(line(key)), request.instance_signature, genuine)
    assert not verify(token.public_key, request.token_signature, forged)
    assert not verify(raw_key(line(key)), request.instance_signature, forged)


def test_nonces_do_not_repeat() -> None:
    """Every signed request has a nonce of its own."""
    key = Ed25519PrivateKey.generate()
    assert len({signed(key, None).nonce for _ in range(200)}) == 200


def test_a_renewal_shows_no_token() -> None:
    """Signed with the instance's key alone."""
    assert "Postern-Token" not in signed(Ed25519PrivateKey.generate(), None).headers


def test_an_instance_is_its_key() -> None:
    """The same key has the same id, with or without comment; another key has another."""
    key = Ed25519PrivateKey.generate()
    assert instance_id(line(key)) == instance_id(line(key) + " till@shop")
    assert instance_id(line(key)) != instance_id(line(Ed25519PrivateKey.generate()))


@pytest.mark.parametrize(
    ("written", "understood"),
    [
        ("https://Relay.Example.com/", "https://relay.example.com"),
        ("https://relay.example.com:443", "https://relay.example.com"),
        ("https://relay.example.com:8443/postern/", "https://relay.example.com:8443/postern"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost:8080/", "http://localhost:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_relay_addresses_have_one_spelling(written: str, understood: str) -> None:
    """Both ends sign and check the same text."""
    assert relay_url(written) == understood
    assert relay_url(understood) == understood


@pytest.mark.parametrize(
    "written",
    ["http://relay.example.com", "http://10.0.0.1", "relay.example.com", "ftp://x", "https://u@x", "https://x?y", ""],
)
def test_other_relay_addresses_are_refused(written: str) -> None:
    """Plain http is for loopback; the rest is no address of a relay."""
    with pytest.raises(ValueError, match=r"\w"):
        relay_url(written)


@given(st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=40))
def test_verify_never_raises(key: bytes, signature: bytes, message: bytes) -> None:
    """Garbage is a wrong signature, not an error."""
    assert not verify(key, signature, message)


@pytest.mark.parametrize("text", ["", "ssh-rsa AAAA", "ssh-ed25519 AAAA", "ssh-of-tomorrow AAAA"])
def test_what_is_no_ed25519_key_is_a_value_error(text: str) -> None:
    """Of whatever kind it is, known to the library or not: callers handle one kind of bad text."""
    with pytest.raises(ValueError, match=r"\w"):
        raw_key(text)
