"""The signature of the Standard Webhooks: what is signed, how, and the three headers that carry it.

https://github.com/standard-webhooks/standard-webhooks, `spec/standard-webhooks.md`, version 1.0.0.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence

from pydantic import SecretStr

PREFIX = "whsec_"


def headers(event: str, timestamp: int, body: bytes, secrets: Sequence[SecretStr]) -> dict[str, str]:
    """`timestamp` is the unix seconds of this attempt. Every secret signs: receivers take any signature they know."""
    signatures = " ".join(sign(event, timestamp, body, secret) for secret in secrets)
    return {"webhook-id": event, "webhook-timestamp": str(timestamp), "webhook-signature": signatures}


def sign(event: str, timestamp: int, body: bytes, secret: SecretStr) -> str:
    """`v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`, with the bytes that stand in base64 after `whsec_`."""
    key = base64.b64decode(secret.get_secret_value().removeprefix(PREFIX))
    digest = hmac.new(key, f"{event}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"
