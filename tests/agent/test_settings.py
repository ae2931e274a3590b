"""Where settings come from, and which goes before which."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.failure import ConfigurationError
from agent.settings import Settings, TokenMissingError, state_dir
from agent.wire.token import AccessToken

TOKEN = AccessToken.generate(bytes(16))


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RELAY", "STORES", "TOKEN", "TOKEN_FILE", "STATE_DIR", "CA_FILE"):
        monkeypatch.delenv(f"POSTERN_AGENT_{name}", raising=False)
    for name in ("CREDENTIALS_DIRECTORY", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


def origins(settings: Settings) -> list[str]:
    return [store.origin for store in settings.stores]


def test_flags_go_before_the_environment_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each place fills what the places before it left open."""
    config = tmp_path / "agent.toml"
    config.write_text('relay = "https://file.test"\nstores = ["http://file.lan"]\nstate_dir = "/file"\n')
    monkeypatch.setenv("POSTERN_AGENT_STORES", "http://env.lan, https://two.lan=10.0.0.1:443")
    monkeypatch.setenv("POSTERN_AGENT_RELAY", "https://env.test")
    settings = Settings.load({"relay": "https://FLAG.test:443/"}, config)
    assert settings.relay == "https://flag.test"
    assert origins(settings) == ["http://env.lan", "https://two.lan"]
    assert settings.state_dir == Path("/file")


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Container files often set variables to nothing."""
    monkeypatch.setenv("POSTERN_AGENT_TOKEN_FILE", "")
    settings = Settings.load({"relay": "https://relay.test", "stores": ["http://shop.lan"]}, None)
    assert settings.token_file is None


@pytest.mark.parametrize("stores", ['"http://shop.lan,http://two.lan"', '["http://shop.lan", "http://two.lan"]'])
def test_stores_in_the_file_are_a_list_or_a_text(tmp_path: Path, stores: str) -> None:
    """Whoever moves the variable's text into the file is understood."""
    config = tmp_path / "agent.toml"
    config.write_text(f'relay = "https://relay.test"\nstores = {stores}\n')
    assert origins(Settings.load({}, config)) == ["http://shop.lan", "http://two.lan"]


@pytest.mark.parametrize("stores", ["7", "[1, 2]", "true"])
def test_stores_that_are_no_texts_are_refused_in_words(tmp_path: Path, stores: str) -> None:
    """Not with a trace out of the parser."""
    config = tmp_path / "agent.toml"
    config.write_text(f'relay = "https://relay.test"\nstores = {stores}\n')
    with pytest.raises(ConfigurationError, match="stores are written as a list"):
        Settings.load({}, config)


def test_the_state_directory_is_where_systemd_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """`STATE_DIRECTORY` before the fixed place; what somebody chose before both."""
    assert state_dir(None, None) == (Path("/var/lib/postern-agent"), False)
    monkeypatch.setenv("STATE_DIRECTORY", "/run/state:/run/other")
    assert state_dir(None, None) == (Path("/run/state"), False)
    monkeypatch.setenv("POSTERN_AGENT_STATE_DIR", "/chosen")
    assert state_dir(None, None) == (Path("/chosen"), True)
    assert state_dir(Path("/flag"), None) == (Path("/flag"), True)


def settings(**more: object) -> Settings:
    return Settings.load({"relay": "https://relay.test", "stores": ["http://shop.lan"], **more}, None)


def test_the_token_comes_from_file_credential_or_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this order; and it is read anew each time."""
    assert settings().read_token() is None
    monkeypatch.setenv("POSTERN_AGENT_TOKEN", AccessToken.generate(bytes(16)).reveal())
    from_environment = settings().read_token()
    assert from_environment is not None
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert settings().read_token() == from_environment  # systemd made an empty directory
    (tmp_path / "token").write_text(TOKEN.reveal())
    (tmp_path / "token").chmod(0o440)
    assert settings().read_token() == TOKEN
    other = AccessToken.generate(bytes(16))
    (tmp_path / "mine").write_text(f"\n  {other.reveal()} \n")
    chosen = settings(token_file=tmp_path / "mine")
    assert chosen.read_token() == other
    (tmp_path / "mine").write_text(TOKEN.reveal())
    assert chosen.read_token() == TOKEN


def test_a_missing_token_is_told_apart_from_a_bad_one(tmp_path: Path) -> None:
    """An enrolled agent can go on without, but not with a wrong one."""
    with pytest.raises(TokenMissingError):
        settings(token_file=tmp_path / "none").read_token()
    (tmp_path / "empty").write_text(" \n")
    with pytest.raises(TokenMissingError, match="is empty"):
        settings(token_file=tmp_path / "empty").read_token()
    (tmp_path / "bad").write_bytes(b"postern_\xff\xfe")
    with pytest.raises(ConfigurationError, match="holds no good access token") as caught:
        settings(token_file=tmp_path / "bad").read_token()
    assert not isinstance(caught.value, TokenMissingError)


def test_no_setting_prints_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the settings nor the token itself show the secret."""
    monkeypatch.setenv("POSTERN_AGENT_TOKEN", TOKEN.reveal())
    for shown in (repr(settings()), str(settings()), repr(settings().read_token())):
        assert TOKEN.reveal()[8:40] not in shown
        assert TOKEN.secret.hex() not in shown
        assert repr(TOKEN.secret) not in shown
