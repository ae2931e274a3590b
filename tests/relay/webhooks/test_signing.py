"""Signatures: the specification's own example, and what a rotation sends."""

from __future__ import annotations

import base64
import hashlib
import hmac

from pydantic import SecretStr

from relay.webhooks.signing import headers, sign

SECRET = SecretStr("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")


def test_the_specifications_example() -> None:
    """The vector that the reference libraries are tested with."""
    body = b'{"test": 2432232314}'
    assert sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body, SECRET) == (
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


def test_every_valid_secret_signs() -> None:
    """While a secret is changed, the receiver finds a signature by the one it knows."""
    key = base64.b64encode(b"k" * 32).decode()
    sent = headers("evt_a", 17, b"{}", [SECRET, SecretStr(f"whsec_{key}")])
    first, second = sent["webhook-signature"].split(" ")
    assert first == sign("evt_a", 17, b"{}", SECRET)
    expected = hmac.new(b"k" * 32, b"evt_a.17.{}", hashlib.sha256).digest()
    assert second == "v1," + base64.b64encode(expected).decode()
    assert (sent["webhook-id"], sent["webhook-timestamp"]) == ("evt_a", "17")
