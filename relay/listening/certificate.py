"""The relay's own certificate: a pair of PEM files, taken in again when they are renewed."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from relay.settings import SettingsError

log = structlog.get_logger()

LOOK_SECONDS = 5.0
"""How often the files are looked at."""
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and AEAD only. Those of TLS 1.3 are all such."""
PEM_BYTES = 1024 * 1024

Stamps = tuple[tuple[int, int, int] | None, ...]


class CertificateError(SettingsError):
    """The pair cannot be used; the sentence says which file, and why."""


class Certificate:
    """`context` is made of what the files held when they last were a pair; who has begun with one stays with it."""

    ends: float
    """Unix seconds."""

    def __init__(self, chain: Path, key: Path) -> None:
        """Raises CertificateError."""
        self._chain, self._key = chain, key
        self._stamps = self._look_at_files()
        self._held = self._read()
        self.context = self._take(self._held)

    def look(self) -> None:
        """Take the files in if they have changed since they were last looked at."""
        stamps = self._look_at_files()
        if stamps != self._stamps:
            self._stamps = stamps
            self.reload()

    def reload(self) -> None:
        """Take the files in; if they are no pair the old one goes on, and the log says what is wrong."""
        try:
            held = self._read()
            if held != self._held:
                self.context = self._take(held)
                self._held = held
        except CertificateError as error:
            log.error("the certificate was not renewed: the old one goes on", reason=str(error))

    def _take(self, held: tuple[bytes, bytes]) -> ssl.SSLContext:
        leaf = self._judge(*held)
        context = _context()
        try:
            context.load_cert_chain(self._chain, self._key, password="")
        except (OSError, ssl.SSLError) as error:
            raise CertificateError(f"{self._chain} and {self._key} cannot be used: {error}") from None
        if self._read() != held:
            raise CertificateError(f"{self._chain} or {self._key} changed while it was read")
        self.ends = leaf.not_valid_after_utc.timestamp()
        expired = leaf.not_valid_after_utc < dt.datetime.now(dt.UTC)
        tell = log.warning if expired else log.info
        until = leaf.not_valid_after_utc.isoformat()
        tell(
            "certificate expired" if expired else "certificate", file=str(self._chain), names=_names(leaf), until=until
        )
        return context

    def _judge(self, chain: bytes, key: bytes) -> x509.Certificate:
        """The server's own certificate, which comes first (RFC 8446 §4.4.2)."""
        try:
            leaf = x509.load_pem_x509_certificates(chain)[0]
        except ValueError:
            raise CertificateError(f"{self._chain} holds no certificate in PEM form") from None
        try:
            private = load_pem_private_key(key, None)
        except TypeError:
            raise CertificateError(f"the key in {self._key} needs a password: store it without") from None
        except ValueError:
            raise CertificateError(f"{self._key} holds no private key in PEM form") from None
        if private.public_key() != leaf.public_key():
            raise CertificateError(f"the key in {self._key} does not belong to the certificate in {self._chain}")
        return leaf

    def _read(self) -> tuple[bytes, bytes]:
        return _read(self._chain), _read(self._key)

    def _look_at_files(self) -> Stamps:
        return tuple(_stamp(path) for path in (self._chain, self._key))


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(PEM_BYTES)
    except OSError as error:
        raise CertificateError(f"cannot read {path}: {error.strerror}") from None


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_mtime_ns, about.st_ino, about.st_size


def _names(leaf: x509.Certificate) -> list[str]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [str(name.value) for name in names]
