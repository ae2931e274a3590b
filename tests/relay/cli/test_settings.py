"""Settings: where they come from, what they default to, and how mistakes are told."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.cli import main
from relay.settings import Address, Settings, SettingsError, load


def test_defaults() -> None:
    """On a loopback address nothing needs to be given."""
    settings = load(None, {})
    assert (str(settings.http), str(settings.ssh)) == ("127.0.0.1:8080", "0.0.0.0:2222")
    assert settings.url() == "http://127.0.0.1:8080"
    assert str(settings.ssh_address()) == "127.0.0.1:2222"
    assert settings.key_file.path == settings.state_dir / "keys" / "master.keys"
    assert settings.database_place == settings.state_dir / "relay.db"


def test_flag_before_environment_before_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearer word counts; names in the file may be written like flags, variables or fields."""
    file = tmp_path / "relay.toml"
    file.write_text('HTTP = "127.0.0.1:1"\nssh = "127.0.0.1:1"\nstate-dir = "/one"\ntrusted_proxies = ["10.0.0.0/8"]\n')
    monkeypatch.setenv("POSTERN_RELAY_SSH", "127.0.0.1:2")
    monkeypatch.setenv("POSTERN_RELAY_STATE_DIR", "/two")
    monkeypatch.setenv("POSTERN_RELAY_HTTP", "")
    settings = load(file, {"state_dir": "/three"})
    assert (settings.http.port, settings.ssh.port, str(settings.state_dir)) == (1, 2, "/three")
    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.0/8"]


def test_every_setting_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each variable is read in the form in which its flag is written."""
    given = {
        "state_dir": "/state",
        "http": "[::1]:1",
        "ssh": "127.0.0.1:2",
        "metrics_http": "127.0.0.1:3",
        "public_url": "https://relay.example.com",
        "public_ssh": "relay.example.com:22",
        "ssh_stock": "127.0.0.1:4",
        "tls_cert_file": "/tls/cert.pem",
        "tls_key_file": "/tls/key.pem",
        "trusted_proxies": "10.0.0.0/8, fd00::/8",
        "database_url": "postgresql://u@db/x",
        "master_key_file": "/keys",
        "access_log": "failed",
    }
    assert set(given) == set(Settings.model_fields)
    by_flag = load(None, given)
    for name, value in given.items():
        monkeypatch.setenv(f"POSTERN_RELAY_{name.upper()}", value)
    assert load(None, {}) == by_flag
    assert [str(network) for network in by_flag.trusted_proxies] == ["10.0.0.0/8", "fd00::/8"]


def test_what_agents_are_told_to_dial() -> None:
    """PUBLIC_SSH, else the host of PUBLIC_URL with the port of SSH, or the one that was bound for port 0."""
    told = load(None, {"http": "0.0.0.0:80", "public_url": "https://Relay.example.com/", "ssh": "0.0.0.0:0"})
    assert told.url(4711) == "https://relay.example.com"
    assert str(told.ssh_address(2200)) == "relay.example.com:2200"
    other = load(None, {"public_ssh": "ssh.example.com:22"})
    assert str(other.ssh_address(2200)) == "ssh.example.com:22"
    assert load(None, {"http": "[::1]:0"}).url(4711) == "http://[::1]:4711"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"http": "0.0.0.0:8080"}, "PUBLIC_URL must be given"),
        ({"http": "8080"}, "HTTP: '8080' should read like 127.0.0.1:8080"),
        ({"ssh": "host:99999"}, "SSH: "),
        ({"ssh": "::1:22"}, "SSH: "),
        ({"public_url": "relay.example.com"}, "PUBLIC_URL: "),
        ({"public_url": "http://relay.example.com"}, "use https://"),
        ({"trusted_proxies": "10.0.0.0/8,proxy"}, "TRUSTED_PROXIES: "),
        ({"state": "/x"}, "STATE is not a setting; these are: STATE_DIR, HTTP"),
    ],
)
def test_mistakes_are_named(flags: dict[str, Any], words: str) -> None:
    """Each mistake names its setting and what it should be."""
    with pytest.raises(SettingsError) as refused:
        load(None, flags)
    assert words in str(refused.value)


@pytest.mark.parametrize("text", ["http = ", "\udc80", 'colour = "red"'])
def test_mistakes_in_the_file(tmp_path: Path, text: str) -> None:
    """A file that is not TOML, or names what is no setting, is refused."""
    file = tmp_path / "relay.toml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(SettingsError):
        load(file, {})
    with pytest.raises(SettingsError, match="cannot read"):
        load(tmp_path / "none.toml", {})


def test_passwords_do_not_print(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings can be logged: the database's address, which may hold a password, stays hidden."""
    monkeypatch.setenv("POSTERN_RELAY_DATABASE_URL", "postgresql://u:canary@db/x")
    settings = load(None, {})
    assert "canary" not in f"{settings} {settings!r} {settings.model_dump()}"
    assert settings.database_place is None


def test_variables_of_others_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes sets POSTERN_RELAY_PORT and more for a service called postern-relay; they mean nothing here."""
    monkeypatch.setenv("POSTERN_RELAY_PORT", "tcp://10.0.0.1:8080")
    monkeypatch.setenv("POSTERN_RELAY_SERVICE_HOST", "10.0.0.1")
    assert load(None, {}).http.port == 8080


def test_where_master_keys_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MASTER_KEY_FILE, else systemd's credential if there is one, else the relay's own file."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert not load(None, {}).key_file.credential
    (tmp_path / "master.keys").touch()
    key_file = load(None, {}).key_file
    assert (key_file.path, key_file.credential) == (tmp_path / "master.keys", True)
    given = load(None, {"master_key_file": "/run/keys"}).key_file
    assert (str(given.path), given.credential) == ("/run/keys", True)


@given(host=st.sampled_from(["127.0.0.1", "::1", "relay.example.com", "localhost"]), port=st.integers(0, 65535))
def test_addresses_mean_themselves(host: str, port: int) -> None:
    """An address that is printed is read again as the same."""
    assert Address.parse(str(Address(host, port))) == Address(host, port)


def test_every_setting_is_explained() -> None:
    """Each has a sentence for `--help`."""
    assert all(field.description for field in Settings.model_fields.values())


def test_the_pair_for_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files that are named, else systemd's two credentials; the relay's own address is then https."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    (tmp_path / "tls.cert").touch()
    assert load(None, {}).certificate_files is None
    (tmp_path / "tls.key").touch()
    brought = load(None, {})
    assert brought.certificate_files == (tmp_path / "tls.cert", tmp_path / "tls.key")
    assert brought.url() == "https://127.0.0.1:8080"
    named = load(None, {"tls_cert_file": "/c.pem", "tls_key_file": "/k.pem"})
    assert named.certificate_files == (Path("/c.pem"), Path("/k.pem"))
    with pytest.raises(SettingsError, match="TLS_CERT_FILE and TLS_KEY_FILE must be given together"):
        load(None, {"tls_key_file": "/k.pem"})


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """As the agent tells its own."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"postern-relay {version('postern')}\n")
