"""A private CA and a certificate from it, for the proxy in front of the lab's relay."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

LIFE = dt.timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM texts: who signed, what was signed, and its private key."""

    ca: str
    chain: str
    key: str


def issue(host: str) -> Certificate:
    """A CA made for this one certificate, which is valid for `host`."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("Postern lab CA")
    ca = _builder(ca_name, ca_name, ca_key, authority=True).sign(ca_key, hashes.SHA256())
    names = x509.SubjectAlternativeName([x509.DNSName(host)])
    leaf = _builder(_name(host), ca_name, key, authority=False).add_extension(names, critical=False)
    signed = leaf.sign(ca_key, hashes.SHA256())
    return Certificate(
        ca=ca.public_bytes(Encoding.PEM).decode(),
        chain=signed.public_bytes(Encoding.PEM).decode(),
        key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, authority: bool
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - LIFE)
        .not_valid_after(now + LIFE)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
