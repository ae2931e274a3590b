"""The stand-in over TLS."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import ssl
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.store_conformance.asking import basic
from tests.store_conformance.direct import read_response
from tests.store_conformance.test_program import port_of

ROOT = Path(__file__).parents[2]
SECONDS = 30.0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for shop.example, with its key beside it."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shop.example")])
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("shop.example")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(built.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)
    return folder / "cert.pem"


async def test_https(certificate: Path) -> None:
    """--https serves TLS, and the shop then has SSL on: its URL and its hrefs are https."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.store",
        *("--https", "127.0.0.1:0", "--domain", "shop.example"),
        *("--tls-cert", str(certificate), "--tls-key", str(certificate.with_name("key.pem"))),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        told = json.loads(await asyncio.wait_for(process.stdout.readline(), SECONDS))
        assert told["url"].startswith("https://127.0.0.1:")
        context = ssl.create_default_context(cafile=str(certificate))
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port_of(told["url"]), ssl=context, server_hostname="shop.example"
        )
        name, value = basic(told["keys"]["full"])
        for _ in range(2):
            writer.write(f"GET /api/orders HTTP/1.1\r\nHost: shop.example\r\n{name}: {value}\r\n\r\n".encode())
            answer = await read_response(reader)
            assert (answer.status, answer.hrefs[0]) == (200, "https://shop.example/api/orders/1")
        writer.close()
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), SECONDS)
