"""What a TLS certificate tells a person: who signed it, for whom, for how long; and whether a network inspects TLS."""

from __future__ import annotations

import datetime as dt
import ssl
from dataclasses import dataclass

import httpx
from cryptography import x509
from cryptography.x509.oid import NameOID

from agent.https import no_trust
from agent.logs import printable
from agent.probes.road import Road, Wire
from agent.probes.step import StepError

SOON_DAYS = 14
"""A certificate that ends sooner than that is worth a word: those of Let's Encrypt are renewed 30 days before."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A certificate as the other end showed it."""

    version: str
    issuer: str
    subject: str
    ends: dt.datetime

    def __str__(self) -> str:
        return f"{self.version}, certificate for {self.subject}, signed by {self.issuer}, valid until {self.until}"

    @property
    def until(self) -> str:
        days = (self.ends - dt.datetime.now(dt.UTC)).days
        left = f"{days} days left" if days >= 0 else f"expired {-days} days ago"
        return f"{self.ends:%Y-%m-%d} ({left}{', renew it' if 0 <= days < SOON_DAYS else ''})"

    @property
    def expired(self) -> bool:
        return self.ends <= dt.datetime.now(dt.UTC)

    @classmethod
    def on(cls, wire: Wire) -> Shown:
        """Raises StepError if there is none that can be read."""
        tls = wire.writer.get_extra_info("ssl_object")
        try:
            certificate = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"")
            return cls(
                version=str(tls.version()).replace("v", " "),
                issuer=_name(certificate.issuer),
                subject=_subject(certificate),
                ends=certificate.not_valid_after_utc,
            )
        except ValueError:
            raise StepError("the certificate cannot be read", "install another one there") from None


async def look(road: Road, name: str | None = None) -> Shown:
    """Who is at the other end, without believing it. Raises OSError, ssl.SSLError, StepError."""
    async with road.open(no_trust(), name) as wire:
        return Shown.on(wire)


async def publicly_trusted(road: Road, name: str | None = None) -> bool:
    """Whether the public authorities alone vouch for it: if not, this network's own do, or nobody."""
    try:
        async with road.open(httpx.create_ssl_context(trust_env=False), name):
            return True
    except ssl.SSLCertVerificationError:
        return False


def no_tls(error: ssl.SSLError) -> str:
    return f"no TLS ({printable((error.reason or str(error)).lower().replace('_', ' '), 80)})"


def _name(name: x509.Name) -> str:
    parts = [
        str(attribute.value)
        for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME)
        for attribute in name.get_attributes_for_oid(oid)[:1]
    ]
    return printable(", ".join(dict.fromkeys(parts)) or name.rfc4514_string() or "nobody by name")


def _subject(certificate: x509.Certificate) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return _name(certificate.subject)
    hosts = [str(host) for host in names.get_values_for_type(x509.DNSName)]
    hosts += [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    more = f" and {len(hosts) - 3} more" if len(hosts) > 3 else ""
    return printable(", ".join(hosts[:3]) + more) if hosts else _name(certificate.subject)
