"""How failures are told."""

from __future__ import annotations

import errno
import ssl

import pytest

from agent.failure import said


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('10.0.0.1', 1)"), "Connection refused"),
        (OSError(-2, "Name or service not known"), "Name or service not known"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:992)"), "no TLS"),
    ],
)
def test_what_the_system_says(error: OSError, sentence: str) -> None:
    """Without what libraries wrap around it; OpenSSL's numbers are not the system's (1 is not EPERM)."""
    assert said(error).startswith(sentence)


def test_why_there_is_no_tls() -> None:
    """As OpenSSL calls it, in small letters."""
    client = ssl.create_default_context().wrap_bio(incoming := ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="x")
    incoming.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(ssl.SSLError) as caught:
        client.do_handshake()
    assert said(caught.value) == "no TLS (wrong version number)"
