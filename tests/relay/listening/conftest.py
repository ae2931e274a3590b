"""A pair of certificate files, and the scene of the gateway's tests behind the entrance of this one, on both loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import uvloop
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.relay.gateway.certificates import Issued, authority, certificate
from tests.relay.gateway.conftest import scene as scene  # noqa: PLC0414 - a fixture is found by its name here

NAME = "relay.example"


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.SelectorEventLoop}


class Pair:
    """Two files as a certificate's owner keeps them."""

    def __init__(self, directory: Path, ca: Issued) -> None:
        self.ca = ca
        self.chain, self.key = directory / "chain.pem", directory / "key.pem"
        self.held = self.issue()

    @property
    def files(self) -> tuple[Path, Path]:
        return self.chain, self.key

    def issue(self, name: str = NAME) -> Issued:
        """Put a new certificate and its key there, as a renewal does."""
        self.held = certificate(self.ca, name)
        self.chain.write_text(self.held.pem)
        self.key.write_bytes(pem_of(self.held))
        return self.held


def pem_of(issued: Issued, encryption: object = None) -> bytes:
    return issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())  # type: ignore[arg-type]  # an encryption of cryptography's


@pytest.fixture(scope="session")
def ca() -> Issued:
    return authority()


@pytest.fixture
def pair(tmp_path: Path, ca: Issued) -> Pair:
    return Pair(tmp_path, ca)
