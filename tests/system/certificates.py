"""TLS for a shop on a test's LAN: a CA of its own, and a certificate for one name."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files in PEM form; `pin` is the SHA-256 of the server's public key (SPKI)."""

    ca: Path
    chain: Path
    key: Path
    pin: str

    @classmethod
    def make(cls, directory: Path, name: str) -> Certificates:
        ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        ca_name = _named("Test CA")
        ca = _signed(ca_name, ca_name, ca_key.public_key(), ca_key, x509.BasicConstraints(ca=True, path_length=0))
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        leaf = _signed(_named(name), ca_name, key.public_key(), ca_key, names)
        made = cls(directory / "ca.pem", directory / "chain.pem", directory / "key.pem", _pin(key.public_key()))
        made.ca.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
        made.chain.write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
        made.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return made


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _signed(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    by: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key)
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key())
    builder = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(), now - DAY, now + DAY)
    critical = isinstance(extension, x509.BasicConstraints)
    for each, weighty in ((extension, critical), (identifier, False), (authority, False)):
        builder = builder.add_extension(each, critical=weighty)
    return builder.sign(by, hashes.SHA256())


def _pin(key: ec.EllipticCurvePublicKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(serialization.Encoding.DER, form)).hexdigest()
