"""Which of the relay's host CAs are believed: the pinned one, and those that a believed one introduced."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from contextlib import suppress

from agent.wire.enrolment import HostCa, ca_fingerprint, raw_key, succession_bytes, verify


def believed(offered: Sequence[HostCa], fingerprint: bytes | None, known: Iterable[str]) -> tuple[str, ...]:
    """The offered host CAs (OpenSSH lines) that may sign the relay's host keys; empty if none may.

    A CA is believed if the token names its fingerprint, if it is among those `known` from the last enrolment, or if
    its succession is signed by one of these or by one believed before it.
    """
    keys = {ca.public_key: key for ca in offered if (key := _line(ca.public_key))}
    known_keys = {key for line in known if (key := _line(line))}
    trusted = {key for key in keys.values() if key in known_keys or ca_fingerprint(key) == fingerprint}
    signers = trusted | known_keys
    waiting = [ca for ca in offered if ca.succession and ca.public_key in keys]
    while introduced := [ca for ca in waiting if _introduced(ca, signers)]:
        fresh = {keys[ca.public_key] for ca in introduced}
        trusted |= fresh
        signers |= fresh
        waiting = [ca for ca in waiting if ca not in introduced]
    return tuple(sorted(trusted))


def _line(text: str) -> str | None:
    """`ssh-ed25519 AAAA…` without its comment, or None if it is no Ed25519 key."""
    with suppress(ValueError, IndexError):
        raw_key(text)
        return " ".join(text.split()[:2])
    return None


def _introduced(ca: HostCa, signers: Iterable[str]) -> bool:
    try:
        signature = base64.b64decode(ca.succession or "", validate=True)
    except binascii.Error:
        return False
    message = succession_bytes(ca.public_key)
    return any(verify(raw_key(signer), signature, message) for signer in signers)
