"""The relay's settings: names, defaults and forms, from flags, environment (`POSTERN_RELAY_*`) and a TOML file."""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from agent.wire.enrolment import relay_url
from relay.database.engine import Database, open_database, parse_url, sqlite_file
from relay.database.files import make_state_directory
from relay.database.secrets import KeyFile

PREFIX = "POSTERN_RELAY_"
MASTER_KEYS = "master.keys"
"""Name of the file in STATE_DIR/keys/, and of the systemd credential (`LoadCredential=master.keys:…`)."""
CERTIFICATE, PRIVATE_KEY = "tls.cert", "tls.key"
"""Names of the systemd credentials for TLS."""
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})\Z")


class SettingsError(Exception):
    """The settings cannot be used as they are (exit status 78); the message names each and says what it should be."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen or to dial; port 0 lets the system choose."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: Any) -> Address:
        """Read `host:port`, with an IPv6 address in brackets. Raises ValueError."""
        if isinstance(text, Address):
            return text
        match = _ADDRESS.match(str(text).strip())
        if not match or int(match[3]) > 65535:
            raise ValueError(f"{str(text)[:80]!r} should read like 127.0.0.1:8080, [::1]:8080 or relay.example.com:22")
        return cls(match[1] or match[2], int(match[3]))

    @property
    def loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _networks(value: Any) -> Any:
    parts = value.split(",") if isinstance(value, str) else value
    return tuple(ipaddress.ip_network(str(part).strip(), strict=False) for part in parts if str(part).strip())


Listen = Annotated[Address, BeforeValidator(Address.parse)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_networks)]
PublicUrl = Annotated[str, BeforeValidator(lambda text: relay_url(str(text)))]


class Settings(BaseSettings):
    """Each is a flag (`--state-dir`), a variable (`POSTERN_RELAY_STATE_DIR`) and a key in the file (`state_dir`)."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, enable_decoding=False, extra="forbid", frozen=True
    )

    state_dir: Annotated[Path, Field(description="directory of the database and the master keys (made 0700)")] = Path(
        "/var/lib/postern-relay"
    )
    http: Annotated[Listen, Field(description="host:port of the HTTP listener")] = Address("127.0.0.1", 8080)
    ssh: Annotated[Listen, Field(description="host:port of the SSH listener for agents")] = Address("0.0.0.0", 2222)  # noqa: S104 - agents come from anywhere
    ssh_stock: Annotated[Listen | None, Field(description="host:port of the SSH listener for stock OpenSSH")] = None
    metrics_http: Annotated[Listen | None, Field(description="host:port of /metrics without a token")] = None
    public_url: Annotated[PublicUrl | None, Field(description="what connectors and agents call the relay")] = None
    public_ssh: Annotated[Listen | None, Field(description="host:port that agents are told to dial")] = None
    tls_cert_file: Annotated[Path | None, Field(description="PEM: certificate chain; HTTP then speaks TLS")] = None
    tls_key_file: Annotated[Path | None, Field(description="PEM: the certificate's private key, without password")] = (
        None
    )
    trusted_proxies: Annotated[
        Networks,
        Field(
            description="networks, separated by commas, of proxies that are believed: PROXY protocol on any listener, "
            "X-Forwarded-For or Forwarded on HTTP"
        ),
    ] = ()
    database_url: Annotated[SecretStr | None, Field(description="sqlite:////path or postgresql://user@host/db")] = None
    master_key_file: Annotated[Path | None, Field(description="the master keys, if not in STATE_DIR/keys")] = None
    access_log: Annotated[
        Literal["all", "failed", "none"], Field(description="requests that the log has a line for: all, failed or none")
    ] = "all"

    @model_validator(mode="after")
    def _need_public_url(self) -> Self:
        if self.public_url is None and not self.http.loopback:
            raise ValueError(
                "PUBLIC_URL must be given when HTTP is not a loopback address, as https://relay.example.com"
            )
        return self

    @model_validator(mode="after")
    def _need_both_of_the_pair(self) -> Self:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("TLS_CERT_FILE and TLS_KEY_FILE must be given together")
        return self

    def url(self, http_port: int | None = None) -> str:
        """The relay's address: PUBLIC_URL, else where it listens, at the port that was bound for port 0."""
        if self.public_url is not None:
            return self.public_url
        scheme = "https" if self.certificate_files else "http"
        return relay_url(f"{scheme}://{Address(self.http.host, http_port or self.http.port)}")

    def ssh_address(self, ssh_port: int | None = None) -> Address:
        """What agents are told to dial: PUBLIC_SSH, else the host of `url` with the port of SSH, or the bound one."""
        if self.public_ssh is not None:
            return self.public_ssh
        return Address(urlsplit(self.url()).hostname or self.http.host, ssh_port or self.ssh.port)

    def stock_address(self) -> Address | None:
        """What stock clients dial: the host of `ssh_address` with the port of SSH_STOCK; None: there is no listener."""
        return self.ssh_stock and Address(self.ssh_address().host, self.ssh_stock.port)

    @property
    def key_file(self) -> KeyFile:
        """MASTER_KEY_FILE, else systemd's credential, else the relay's own file."""
        if self.master_key_file is not None:
            return KeyFile(self.master_key_file, credential=True)
        credential = _credential(MASTER_KEYS)
        if credential:
            return KeyFile(credential, credential=True)
        return KeyFile(self.state_dir / "keys" / MASTER_KEYS)

    @property
    def certificate_files(self) -> tuple[Path, Path] | None:
        """Chain and key: TLS_CERT_FILE and TLS_KEY_FILE, else systemd's credentials; None: TLS is somebody else's."""
        if self.tls_cert_file and self.tls_key_file:
            return self.tls_cert_file, self.tls_key_file
        chain, key = _credential(CERTIFICATE), _credential(PRIVATE_KEY)
        return (chain, key) if chain and key else None

    @property
    def database_place(self) -> Path | None:
        """SQLite's file, None for PostgreSQL. Raises DatabaseUnusable."""
        return sqlite_file(parse_url(self._database_address))

    async def open_database(self) -> Database:
        """The database with its keys, tables up to date. Raises DatabaseUnusable, DatabaseUnavailable."""
        make_state_directory(self.state_dir)
        return await open_database(self._database_address, keys=self.key_file)

    @property
    def _database_address(self) -> str | Path:
        if self.database_url is None:
            return self.state_dir.absolute() / "relay.db"
        return self.database_url.get_secret_value()


def _credential(name: str) -> Path | None:
    """What systemd brought under this name."""
    path = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nonexistent"), name)
    return path if path.exists() else None


def load(config: Path | None, flags: Mapping[str, Any]) -> Settings:
    """Flags before environment before file before defaults. Raises SettingsError."""
    file = {} if config is None else _read_toml(config)
    beneath = {name: value for name, value in file.items() if not os.environ.get(PREFIX + name.upper())}
    try:
        return Settings(**{**beneath, **flags})
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(part) for part in error.errors(include_input=False))) from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}") from None
    return {name.lower().replace("-", "_"): value for name, value in values.items()}


def _sentence(error: Any) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    if not error["loc"]:
        return message
    name = str(error["loc"][0]).upper()
    if error["type"] == "extra_forbidden":
        return f"{name} is not a setting; these are: {', '.join(Settings.model_fields).upper()}"
    return f"{name}: {message}"
