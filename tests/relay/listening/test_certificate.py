"""The pair of PEM files: what is refused at the start, and how a renewal comes in."""

from __future__ import annotations

import datetime as dt
import os
import ssl
from pathlib import Path

import pytest
import structlog
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption

from relay.listening.certificate import Certificate, CertificateError
from relay.settings import SettingsError
from tests.relay.gateway.certificates import NOW, certificate
from tests.relay.listening.conftest import NAME, Pair, pem_of


def shown(certificate_: Certificate, pair: Pair) -> bytes:
    """The certificate that a client sees now."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    trusting = ssl.create_default_context(cadata=pair.ca.pem)
    client = trusting.wrap_bio(to_client, to_server, server_hostname=NAME)
    server = certificate_.context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(2):
        for end in (client, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return client.getpeercert(binary_form=True) or b""


def der(pair: Pair) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair.held.pem)


def test_a_good_pair_serves_sane_tls(pair: Pair) -> None:
    """TLS 1.2 with forward secrecy and AEAD at least, no renegotiation, HTTP/1.1."""
    context = Certificate(*pair.files).context
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    old = [cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] != "TLSv1.3"]
    assert old
    assert all(name.startswith("ECDHE-") and ("GCM" in name or "POLY1305" in name) for name in old), old


def spoil(pair: Pair, how: str) -> str:
    """Make the pair useless; what the sentence must name."""
    chain, key = pair.files
    match how:
        case "no certificate":
            chain.unlink()
            said = f"cannot read {chain}: No such file"
        case "no key":
            key.unlink()
            said = f"cannot read {key}: No such file"
        case "a key of another":
            key.write_bytes(pem_of(certificate(pair.ca)))
            said = f"the key in {key} does not belong to the certificate in {chain}"
        case "half a certificate":
            chain.write_text(chain.read_text()[:200])
            said = f"{chain} holds no certificate"
        case "half a key":
            key.write_bytes(key.read_bytes()[:100])
            said = f"{key} holds no private key"
        case "a key with a password":
            key.write_bytes(pem_of(pair.held, BestAvailableEncryption(b"x")))
            said = f"the key in {key} needs a password"
        case _:
            chain.write_text(chain.read_text() + pair.ca.pem[:200])
            said = f"{chain}"
    return said


SPOILT = [
    "no certificate", "no key", "a key of another", "half a certificate", "half a key", "a key with a password",
    "half a chain",
]  # fmt: skip


@pytest.mark.parametrize("how", SPOILT)
def test_a_pair_that_is_none_is_refused_in_a_sentence(pair: Pair, how: str) -> None:
    """As a mistake in the settings, naming the file."""
    said = spoil(pair, how)
    with pytest.raises(CertificateError) as caught:
        Certificate(*pair.files)
    assert isinstance(caught.value, SettingsError)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_renewal_is_seen(pair: Pair) -> None:
    """Both files new: the next look takes them in; without a change nothing is made anew."""
    ours = Certificate(*pair.files)
    first, context = der(pair), ours.context
    assert shown(ours, pair) == first
    ours.look()
    assert ours.context is context
    pair.issue()
    ours.look()
    assert shown(ours, pair) == der(pair) != first


@pytest.mark.parametrize("how", SPOILT)
def test_a_broken_renewal_keeps_the_old_one(pair: Pair, how: str) -> None:
    """It is said once, not at every look; and when the files are a pair again they are taken in."""
    ours = Certificate(*pair.files)
    first = der(pair)
    with structlog.testing.capture_logs() as logs:
        pair.issue()
        said = spoil(pair, how)
        for _ in range(3):
            ours.look()
    assert [line["log_level"] for line in logs] == ["error"]
    assert said in logs[0]["reason"]
    assert shown(ours, pair) == first
    pair.issue()
    ours.look()
    assert shown(ours, pair) == der(pair)


def test_a_renewal_in_two_steps_is_taken_in_with_the_second(pair: Pair) -> None:
    """As certbot writes them: for a moment the certificate is new and the key is old."""
    ours = Certificate(*pair.files)
    first, old_key = der(pair), pair.key.read_bytes()
    pair.issue()
    new_key = pair.key.read_bytes()
    pair.key.write_bytes(old_key)
    ours.look()
    assert shown(ours, pair) == first
    pair.key.write_bytes(new_key)
    ours.look()
    assert shown(ours, pair) == der(pair)


def test_a_touched_file_is_no_renewal(pair: Pair) -> None:
    """What counts is what is in the files."""
    ours = Certificate(*pair.files)
    context = ours.context
    os.utime(pair.chain, (1, 1))
    ours.look()
    assert ours.context is context


def test_a_link_that_is_turned_is_seen(pair: Pair, tmp_path: Path) -> None:
    """Where the two names are links, as below /etc/letsencrypt/live."""
    live = tmp_path / "live"
    live.symlink_to(tmp_path)
    ours = Certificate(live / "chain.pem", live / "key.pem")
    (tmp_path / "new").mkdir()
    new = Pair(tmp_path / "new", pair.ca)
    (tmp_path / "next").symlink_to(tmp_path / "new")
    (tmp_path / "next").replace(live)
    ours.look()
    assert shown(ours, new) == der(new)


def test_an_expired_certificate_serves_and_is_complained_of(pair: Pair) -> None:
    """Refusing to start would not help anybody."""
    expired = certificate(pair.ca, NAME, begins=NOW - dt.timedelta(days=9), ends=NOW - dt.timedelta(days=1))
    pair.chain.write_text(expired.pem)
    pair.key.write_bytes(pem_of(expired))
    with structlog.testing.capture_logs() as logs:
        Certificate(*pair.files)
    assert [(line["log_level"], line["event"]) for line in logs] == [("warning", "certificate expired")]
