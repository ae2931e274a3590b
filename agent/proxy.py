"""The proxies of the merchant's network: which is asked for which host, what it is asked, and what its answer means."""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from agent import __version__
from agent.dialling import PathError
from agent.failure import ConfigurationError
from agent.logs import printable
from agent.wire.loopback import means_loopback

HEAD_BYTES = 16 * 1024
"""Longest head of a proxy's answer."""

_SETTING = "POSTERN_AGENT_PROXY"
_VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
"""As curl asks for them: the scheme's before the general one, lower case first."""
_SCHEMES: dict[str, Literal["http", "https"]] = {"http": "http", "https": "https"}
_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: ([^\r\n]*))?\r?\n")
_CHALLENGE = re.compile(rb"(?im)^proxy-authenticate:[ \t]*([A-Za-z0-9_-]+)")


class ProxyError(PathError):
    """The proxy does not let us through."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy. `credentials` are `user:password`; they are in no text that this class gives but `request`'s."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    credentials: SecretStr | None = None

    @classmethod
    def parse(cls, text: str, where: str) -> Self:
        """Read `http://user:password@proxy.lan:3128`; `where` names the setting. Raises ConfigurationError."""
        try:
            url = urlsplit(text.strip() if "://" in text else f"http://{text.strip()}")
            host, port = url.hostname, url.port
        except ValueError:
            host = port = None
        if not host or not _PRINTABLE.fullmatch(text.strip()) or url.path.strip("/") or url.query or url.fragment:
            raise ConfigurationError(
                f"{where} should read like http://proxy.lan:3128, or http://USER:PASSWORD@proxy.lan:3128 with special "
                "characters as %XX."
            )
        scheme = _SCHEMES.get(url.scheme)
        if scheme is None:
            raise ConfigurationError(
                f"{where} names a {printable(url.scheme, 20)}:// proxy, and the agent uses http:// and https:// ones "
                f"only: name one with {_SETTING}."
            )
        given = url.username is not None
        credentials = SecretStr(f"{unquote(url.username or '')}:{unquote(url.password or '')}") if given else None
        return cls(scheme, host, port or {"http": 80, "https": 443}[scheme], credentials)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def request(self, host: str, port: int) -> bytes:
        """What asks for a connection through (RFC 9110 §9.3.6)."""
        to = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        head = f"CONNECT {to} HTTP/1.1\r\nHost: {to}\r\nUser-Agent: postern-agent/{__version__}\r\n"
        if self.credentials:
            text = base64.b64encode(self.credentials.get_secret_value().encode()).decode()
            head += f"Proxy-Authorization: Basic {text}\r\n"
        return head.encode() + b"\r\n"

    def judge(self, head: bytes, host: str, port: int) -> None:
        """Whether the head of its answer lets us through. Raises ProxyError."""
        status = _STATUS.match(head)
        if not status:
            raise ProxyError(f"what answers at {self} is no HTTP proxy")
        challenges = {found.decode().lower() for found in _CHALLENGE.findall(head)}
        self.judge_status(int(status[1]), (status[2] or b"").decode("latin-1"), f"{host}:{port}", challenges)

    def judge_status(self, status: int, reason: str, to: str, challenges: set[str] | None = None) -> None:
        """The same for an answer that somebody else has read. Raises ProxyError."""
        if 200 <= status < 300:
            return
        if status == 407:
            raise ProxyError(self._wants_credentials(challenges or set()), refused=True)
        if status in {401, 403, 405}:
            raise ProxyError(
                f"the proxy {self} does not allow {to} ({status}): let this machine out there", refused=True
            )
        said = f"{status} {printable(reason.strip(), 60)}".strip()
        if status in {500, 502, 503, 504}:
            raise ProxyError(f"the proxy {self} cannot reach {to} ({said})")
        raise ProxyError(f"the proxy {self} answers {said}, and no connection to {to}")

    def _wants_credentials(self, challenges: set[str]) -> str:
        if challenges and "basic" not in challenges:
            kinds = ", ".join(sorted(printable(each, 20) for each in challenges))
            return (
                f"the proxy {self} wants a login by {kinds} (407), and the agent knows Basic alone: let this machine "
                "through without one, or put a local proxy between that can"
            )
        if self.credentials:
            return f"the proxy {self} does not take the user name and password that it was given (407)"
        return (
            f"the proxy {self} wants a user name and password (407): give its address as http://USER:PASSWORD@{self} "
            f"in {_SETTING} or in the configuration file"
        )


def variable(environment: Mapping[str, str]) -> str | None:
    """The name of the variable that names the proxy, if there is one."""
    return next((name for name in _VARIABLES if environment.get(name, "").strip()), None)


@dataclass(frozen=True, slots=True)
class Proxies:
    """Which proxy is asked for which host. Loopback addresses are reached without any."""

    proxy: Proxy | None = None
    exempt: tuple[str, ...] = ()
    """What NO_PROXY lists."""

    @classmethod
    def of(cls, setting: SecretStr | None, environment: Mapping[str, str] | None = None) -> Self:
        """The setting wins; else the environment says it, as it does for curl. Raises ConfigurationError."""
        environment = os.environ if environment is None else environment
        if setting is not None:
            return cls(Proxy.parse(setting.get_secret_value(), f"the proxy (--proxy, {_SETTING})"))
        name = variable(environment)
        if name is None:
            return cls()
        listed = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
        exempt = tuple(entry for entry in re.split(r"[,\s]+", listed.lower()) if entry)
        return cls(None if exempt == ("*",) else Proxy.parse(environment[name], name), exempt)

    def to(self, host: str, port: int) -> Proxy | None:
        """The proxy that a connection to the host goes through, if any."""
        host = host.strip("[]").rstrip(".").lower()
        if self.proxy is None or means_loopback(host) or any(_covers(entry, host, port) for entry in self.exempt):
            return None
        return self.proxy


def _covers(entry: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY (in lower case) is about the host: `*`, a domain, an address, a network; a port."""
    if entry == "*":
        return True
    name, only = _split_port(entry)
    if only is not None and only != port:
        return False
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        with contextlib.suppress(ValueError):
            return address in ipaddress.ip_network(name, strict=False)
        return False
    name = name.strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _split_port(entry: str) -> tuple[str, int | None]:
    if match := re.fullmatch(r"\[([0-9a-f:.]+)\](/\d+)?(?::(\d{1,5}))?", entry):
        return match[1] + (match[2] or ""), int(match[3]) if match[3] else None
    if match := re.fullmatch(r"([^:]+):(\d{1,5})", entry):
        return match[1], int(match[2])
    return entry, None
