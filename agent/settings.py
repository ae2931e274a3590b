"""What the agent is told: flags, `POSTERN_AGENT_*` in the environment, a TOML file; and where its token comes from."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from agent.failure import ConfigurationError
from agent.loopback import Loopback
from agent.proxy import Proxies
from agent.wire.destination import CONTROL, Store
from agent.wire.enrolment import relay_url
from agent.wire.limits import STORES_PER_TUNNEL
from agent.wire.token import AccessToken, TokenMistypedError

PREFIX = "POSTERN_AGENT_"
DEFAULT_STATE_DIR = Path("/var/lib/postern-agent")
TOKEN_FILE_BYTES = 4096
"""A token has 107 characters; whatever is larger is another file."""


def _stores(value: Any) -> tuple[Store, ...]:
    """Read a list of stores, or one text with commas between them."""
    texts = value.split(",") if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise ValueError('stores are written as a list: ["http://shop.lan"]')
    stores = tuple(Store.parse(text) for text in texts if text.strip())
    if not stores:
        raise ValueError("no store is given: name one with --store http://shop.lan")
    if len(stores) > STORES_PER_TUNNEL:
        raise ValueError(f"{len(stores)} stores are given, and an agent publishes {STORES_PER_TUNNEL} at most")
    names = [store.destination for store in stores]
    if CONTROL in names:
        raise ValueError(f"the name {CONTROL} is reserved")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ValueError(f"{twice} is given twice, and a name can stand for one store only")
    return stores


def _proxy(value: SecretStr | None) -> SecretStr | None:
    try:
        Proxies.of(value, {})
    except ConfigurationError as error:
        raise ValueError(str(error)) from None
    return value


def _loopback(value: Any) -> Loopback | None:
    return None if value is None else Loopback.parse(value)


def _default_state_dir() -> Path:
    """What systemd made for the service (`StateDirectory=`), else the place where it would."""
    return Path(os.environ.get("STATE_DIRECTORY", "").partition(":")[0] or DEFAULT_STATE_DIR)


class TokenMissingError(ConfigurationError):
    """A place for the token is named, and nothing can be read there."""


class Settings(BaseSettings):
    """The agent's settings, checked. `load` reads them and says in one sentence what is wrong."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    relay: Annotated[str, AfterValidator(relay_url)]
    stores: Annotated[tuple[Store, ...], NoDecode, BeforeValidator(_stores)]
    token_file: Path | None = None
    token: SecretStr | None = None
    state_dir: Path = Field(default_factory=_default_state_dir)
    ca_file: Path | None = None
    proxy: Annotated[SecretStr | None, AfterValidator(_proxy)] = None
    """The network's proxy, perhaps with credentials; without it, the environment may name one."""
    metrics_http: Annotated[Loopback | None, BeforeValidator(_loopback)] = None
    """Where this machine's Prometheus may ask; None: nowhere, for the agent opens no port unasked."""

    @classmethod
    def load(cls, flags: Mapping[str, Any], config: Path | None) -> Settings:
        """Read flags before the environment before the file. Raises ConfigurationError."""
        from_file = _read_toml(config) if config else {}

        class Layered(cls):  # type: ignore[misc, valid-type]  # the file is known only now
            @classmethod
            def settings_customise_sources(
                cls,
                settings_cls: type[BaseSettings],
                init_settings: PydanticBaseSettingsSource,
                env_settings: PydanticBaseSettingsSource,
                **_others: PydanticBaseSettingsSource,
            ) -> tuple[PydanticBaseSettingsSource, ...]:
                return init_settings, env_settings, InitSettingsSource(settings_cls, from_file)

        try:
            return Layered(**flags)
        except ValidationError as error:
            raise ConfigurationError(_sentence(error, config)) from None

    def proxies(self) -> Proxies:
        """Which proxy is asked for which host. Raises ConfigurationError for an environment that cannot be used."""
        return Proxies.of(self.proxy)

    def read_token(self) -> AccessToken | None:
        """The access token as it stands now: from the file, systemd's credential, or the environment; None if nowhere.

        Raises ConfigurationError if a place is named and has no good token in it (TokenMissingError: no token at all).
        """
        if self.token_file:
            return _parse_token(_read_token_file(self.token_file), str(self.token_file))
        credential = Path(os.environ.get("CREDENTIALS_DIRECTORY", "")) / "token"
        if credential.is_absolute() and credential.exists():
            return _parse_token(_read_token_file(credential), "systemd's credential 'token'")
        if self.token:
            return _parse_token(self.token.get_secret_value(), f"{PREFIX}TOKEN")
        return None


def state_dir(flag: Path | None, config: Path | None) -> tuple[Path, bool]:
    """The state directory alone, for who asks nothing else; and whether somebody chose it."""
    chosen = flag or os.environ.get(f"{PREFIX}STATE_DIR") or (_read_toml(config).get("state_dir") if config else None)
    return (Path(chosen), True) if chosen else (_default_state_dir(), False)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigurationError(f"the configuration file {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the configuration file {path} is not TOML: {error}.") from None
    if "token" in values:
        raise ConfigurationError(
            f"{path} holds a token: put it in a file of its own (0600) and name that as token_file."
        )
    return values


def _read_token_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(TOKEN_FILE_BYTES).decode("ascii", "replace")
    except OSError as error:
        raise TokenMissingError(
            f"the token file {path} cannot be read: {error.strerror}. Put the agent's access token there, "
            "readable for the agent's user."
        ) from None


def _parse_token(text: str, place: str) -> AccessToken:
    if not text.strip():
        raise TokenMissingError(f"{place} is empty: put the agent's access token there.")
    if not text.isascii():
        raise ConfigurationError(f"{place} holds no good access token: a token is plain ASCII.")
    try:
        return AccessToken.parse(text)
    except TokenMistypedError as error:
        raise ConfigurationError(f"{place} holds no good access token: {error}.") from None


_ASKED = {
    "relay": "no relay is given: name it with --relay https://relay.example.com",
    "stores": "no store is given: name one with --store http://shop.lan",
}


def _sentence(error: ValidationError, config: Path | None) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "missing" and name in _ASKED:
        return f"{_ASKED[name]} (or {PREFIX}{name.upper()})."
    if first["type"] == "extra_forbidden":
        known = ", ".join(field for field in Settings.model_fields if field != "token")
        return f"{config or 'the configuration'} has an unknown setting {name!r}; there are {known}."
    return f"{name}: {first['msg'].removeprefix('Value error, ').rstrip('.')}."
