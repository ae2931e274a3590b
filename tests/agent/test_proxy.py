"""Proxies: which is asked for which host, what it is asked, and what its answers are made of."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from agent.failure import ConfigurationError
from agent.proxy import Proxies, Proxy, ProxyError

PROXY = {"HTTPS_PROXY": "http://proxy.lan:3128"}


def used(environment: dict[str, str], host: str = "relay.example.com", port: int = 443) -> str | None:
    proxy = Proxies.of(None, environment).to(host, port)
    return str(proxy) if proxy else None


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://a:1"}, "a:1"),
        ({"https_proxy": "http://a:1"}, "a:1"),
        ({"https_proxy": "http://a:1", "HTTPS_PROXY": "http://b:2"}, "a:1"),
        ({"ALL_PROXY": "http://c:3"}, "c:3"),
        ({"all_proxy": "http://c:3", "HTTPS_PROXY": "http://b:2"}, "b:2"),
        ({"HTTPS_PROXY": "", "ALL_PROXY": "http://c:3"}, "c:3"),
        ({"HTTPS_PROXY": "a:1"}, "a:1"),
        ({"HTTPS_PROXY": "https://a"}, "a:443"),
        ({"HTTPS_PROXY": "http://a"}, "a:80"),
        ({"HTTPS_PROXY": "http://[2001:db8::1]:3128"}, "[2001:db8::1]:3128"),
        ({"HTTP_PROXY": "http://a:1"}, None),
        ({"HTTPS_PROXY": "http://a:1", "NO_PROXY": "*"}, None),
        ({"HTTPS_PROXY": "socks5://a:1", "NO_PROXY": "*"}, None),
    ],
)
def test_the_environment_says_it_as_for_curl(environment: dict[str, str], expected: str | None) -> None:
    """The scheme's variable before the general one, lower case before upper case, empty ones as if not there."""
    assert used(environment) == expected


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "exempt"),
    [
        ("example.com", "example.com", 443, True),
        ("example.com", "relay.example.com", 443, True),
        (".example.com", "relay.example.com", 443, True),
        (".example.com", "example.com", 443, True),
        ("EXAMPLE.com.", "relay.Example.COM.", 443, True),
        ("example.com", "badexample.com", 443, False),
        ("example.com", "example.com.evil.test", 443, False),
        ("a.test, b.test c.test", "c.test", 443, True),
        ("example.com:443", "relay.example.com", 443, True),
        ("example.com:443", "relay.example.com", 2222, False),
        ("*", "anything", 1, True),
        ("192.0.2.7", "192.0.2.7", 443, True),
        ("192.0.2.0/24", "192.0.2.7", 443, True),
        ("192.0.2.0/24", "192.0.3.7", 443, False),
        ("192.0.2.0/24", "a192.0.2.7", 443, False),
        ("192.0.2.7:443", "192.0.2.7", 2222, False),
        ("2001:db8::/32", "2001:db8::1", 443, True),
        ("[2001:db8::1]", "2001:db8::1", 443, True),
        ("[2001:db8::1]:443", "[2001:db8::1]", 2222, False),
        ("2001:db8:0:0::1", "2001:db8::1", 443, True),
        (",, ,", "relay.example.com", 443, False),
        (".", "relay.example.com", 443, False),
        ("0.2.7", "192.0.2.7", 443, False),
    ],
)
def test_no_proxy(no_proxy: str, host: str, port: int, exempt: bool) -> None:
    """Domains with all below them, addresses, networks, each with a port where one is given."""
    assert (used(PROXY | {"NO_PROXY": no_proxy}, host, port) is None) == exempt


def test_no_proxy_in_lower_case_goes_first() -> None:
    """As for curl."""
    both = {"no_proxy": "other.test", "NO_PROXY": "relay.example.com"}
    assert used(PROXY | both) == "proxy.lan:3128"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost", "x.localhost"])
def test_this_very_machine_is_reached_without_a_proxy(host: str) -> None:
    """Whoever named the proxy: it would dial its own loopback."""
    assert Proxies.of(SecretStr("http://a:1"), {}).to(host, 443) is None


def test_the_setting_wins_over_the_environment() -> None:
    """NO_PROXY included: it was written for another proxy."""
    proxies = Proxies.of(SecretStr("http://mine:1"), PROXY | {"NO_PROXY": "*"})
    assert str(proxies.to("relay.example.com", 443)) == "mine:1"


@pytest.mark.parametrize(
    ("text", "credentials"),
    [
        ("http://user:pass@a:1", "user:pass"),
        ("http://user@a:1", "user:"),
        ("http://us%40er:p%3Aa%2Fs%25s@a:1", "us@er:p:a/s%s"),
        ("http://user:p@ss@a:1", "user:p@ss"),
        ("http://a:1", None),
    ],
)
def test_credentials_come_from_the_address(text: str, credentials: str | None) -> None:
    """Percent-encoding undone."""
    proxy = Proxy.parse(text, "PROXY")
    assert (proxy.credentials.get_secret_value() if proxy.credentials else None) == credentials
    assert (proxy.host, proxy.port) == ("a", 1)


@pytest.mark.parametrize(
    "text",
    [
        "http://user:secret@",
        "http://user:sec#ret@a:1",
        "http://user:12/ret@a:1",
        "http://user:12?ret@a:1",
        "http://user:secret@a:99999",
        "http://user:secret@a:port",
        "http://user:secret@a b:1",
        "socks5://user:secret@a:1",
        "socks5h://user:secret@a:1",
        "http://user:secret@[::1:1",
        "http://user:secrét@a:1",
        "http://user:secret@a:1/path",
        "ftp://user:secret@a",
    ],
)
def test_what_is_no_proxy_is_told_without_its_password(text: str) -> None:
    """In one sentence that names the setting."""
    with pytest.raises(ConfigurationError) as caught:
        Proxies.of(None, {"HTTPS_PROXY": text})
    said = str(caught.value)
    assert said.startswith("HTTPS_PROXY ")
    assert "ret@" not in said
    assert "secret" not in said


def test_what_is_asked() -> None:
    """CONNECT with the name, never an address found here, and Basic credentials (RFC 7617)."""
    proxy = Proxy.parse("http://user:secret@a:1", "PROXY")
    lines = proxy.request("relay.example.com", 443).split(b"\r\n")
    assert lines[:2] == [b"CONNECT relay.example.com:443 HTTP/1.1", b"Host: relay.example.com:443"]
    assert b"Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=" in lines
    assert lines[-2:] == [b"", b""]
    assert proxy.request("2001:db8::1", 22).startswith(b"CONNECT [2001:db8::1]:22 HTTP/1.1\r\n")
    assert b"Authorization" not in Proxy.parse("http://a:1", "PROXY").request("relay.example.com", 443)


def test_credentials_are_shown_nowhere() -> None:
    """Neither by the proxy nor by the choice of it."""
    proxies = Proxies.of(SecretStr("http://user:secret@a:1"), {})
    for text in (str(proxies), repr(proxies), str(proxies.proxy), repr(proxies.proxy)):
        assert "secret" not in text
        assert "user" not in text


ANSWERS = [
    (b"HTTP/1.1 200 Connection established\r\n\r\n", None, False),
    (b"HTTP/1.0 200\r\n\r\n", None, False),
    (b"HTTP/1.1 204 Fine\r\n\r\n", None, False),
    (b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\n\r\n", "wants a user name and password", True),
    (b"HTTP/1.1 407 No\r\n\r\n", "wants a user name and password", True),
    (b"HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\nproxy-authenticate: Negotiate\r\n\r\n", "negotiate, ntlm", True),
    (b"HTTP/1.1 403 Forbidden\r\n\r\n", r"does not allow relay.test:443 \(403\)", True),
    (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", r"cannot reach relay.test:443 \(502 Bad Gateway\)", False),
    (b"HTTP/1.1 504 \x1b[31mred\r\n\r\n", r"\(504 \\x1b\[31mred\)", False),
    (b"HTTP/1.1 302 Found\r\nLocation: http://portal\r\n\r\n", "answers 302 Found, and no connection", False),
    (b"SSH-2.0-relay\r\n", "is no HTTP proxy", False),
    (b"HTTP/2 200\r\n\r\n", "is no HTTP proxy", False),
    (b"", "is no HTTP proxy", False),
]


@pytest.mark.parametrize(("head", "told", "refused"), ANSWERS)
def test_what_its_answer_means(head: bytes, told: str | None, refused: bool) -> None:
    """A connection, or a sentence; where asking again would lock an account or is of no use, that is said too."""
    proxy = Proxy.parse("http://a:1", "PROXY")
    if told is None:
        proxy.judge(head, "relay.test", 443)
        return
    with pytest.raises(ProxyError, match=told) as caught:
        proxy.judge(head, "relay.test", 443)
    assert caught.value.refused == refused


def test_credentials_that_are_not_taken() -> None:
    """The sentence does not ask for what was given."""
    proxy = Proxy.parse("http://user:secret@a:1", "PROXY")
    with pytest.raises(ProxyError, match="does not take the user name and password that it was given"):
        proxy.judge(b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n", "relay.test", 443)
