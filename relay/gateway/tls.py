"""TLS to a store, from the relay through whatever stream leads there: the agent sees ciphertext only."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import hmac
import ssl

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from agent.wire.stream import Receiver, Stream
from relay.records import Trust

HANDSHAKE_SECONDS = 10.0
RECORD_BYTES = 256 * 1024
"""Plain bytes taken out of TLS at once."""


class TlsError(Exception):
    """The store's side of TLS cannot be trusted, or does not speak it; the text says why."""


@functools.lru_cache(maxsize=256)
def context_for(trust: Trust) -> ssl.SSLContext:
    """Public roots, the connection's own CA, or a pinned key (checked after the handshake, before any byte is sent).

    There is no setting that turns verification off.
    """
    context = ssl.create_default_context(cadata=trust.ca_pem)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if trust.pinned_spki_sha256:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class TlsStream:
    """A Stream over a Stream. `start` shakes hands and verifies; until then nothing may be written."""

    def __init__(self, inner: Stream, host: str, trust: Trust) -> None:
        self._inner = inner
        self._trust = trust
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context_for(trust).wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._receiver: Receiver | None = None
        self._shaken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ended = False
        self._full = False

    async def start(self) -> None:
        """Raises TlsError."""
        self._inner.attach(self)
        self._shake()
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                await self._shaken
            self._check_pin()
        except TimeoutError:
            raise TlsError("the store did not finish the TLS handshake") from None

    @property
    def ends(self) -> float:
        """When the store's certificate does, once it has been verified: unix seconds."""
        certificate = x509.load_der_x509_certificate(self._tls.getpeercert(binary_form=True) or b"")
        return certificate.not_valid_after_utc.timestamp()

    def attach(self, receiver: Receiver) -> None:
        self._receiver = receiver
        if self._full:
            receiver.pause_writing()
        self._deliver()

    def write(self, data: bytes) -> None:
        try:
            self._tls.write(data)
        except ssl.SSLError:
            self._inner.abort()
        else:
            self._flush()

    def write_eof(self) -> None:
        """TLS has no half-close that HTTP/1.1 servers agree on; the message's own framing ends it."""

    def pause_reading(self) -> None:
        self._inner.pause_reading()

    def resume_reading(self) -> None:
        self._inner.resume_reading()

    def close(self) -> None:
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        self._flush()
        self._inner.close()

    def abort(self) -> None:
        self._inner.abort()

    def is_closing(self) -> bool:
        return self._inner.is_closing()

    def data_received(self, data: bytes) -> None:
        self._incoming.write(data)
        if not self._shaken.done():
            self._shake()
        if self._shaken.done() and self._receiver:
            self._deliver()

    def eof_received(self) -> None:
        """An end without close_notify is an end in the middle (RFC 8446 §6.1)."""
        if not self._shaken.done():
            self._shaken.set_exception(TlsError("the store closed the connection during the TLS handshake"))
        elif not self._ended:
            self._inner.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._shaken.done():
            self._shaken.set_exception(TlsError("the connection was lost during the TLS handshake"))
        if self._receiver:
            self._receiver.connection_lost(exc)

    def pause_writing(self) -> None:
        self._full = True
        if self._receiver:
            self._receiver.pause_writing()

    def resume_writing(self) -> None:
        self._full = False
        if self._receiver:
            self._receiver.resume_writing()

    def _shake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLCertVerificationError as error:
            self._flush()
            self._shaken.set_exception(TlsError(error.verify_message))
        except ssl.SSLError as error:
            self._shaken.set_exception(TlsError(error.reason or "the store does not speak TLS"))
        else:
            self._flush()
            self._shaken.set_result(None)

    def _check_pin(self) -> None:
        pin = self._trust.pinned_spki_sha256
        if not pin:
            return
        try:
            certificate = x509.load_der_x509_certificate(self._tls.getpeercert(binary_form=True) or b"")
            key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        except (ValueError, UnsupportedAlgorithm):
            raise TlsError("the store's certificate cannot be read") from None
        if not hmac.compare_digest(hashlib.sha256(key).hexdigest(), pin.lower()):
            raise TlsError("the certificate's key is not the pinned one")

    def _deliver(self) -> None:
        receiver = self._receiver
        while receiver and not self._ended:
            try:
                data = self._tls.read(RECORD_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLError:
                self._inner.abort()
                break
            if data:
                receiver.data_received(data)
            else:
                self._ended = True
                receiver.eof_received()
        self._flush()

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data:
            self._inner.write(data)
