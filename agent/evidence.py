"""What a support archive says of a machine: settings, versions, state, network, log; of a secret whether it is set."""

from __future__ import annotations

import ipaddress
import os
import platform
import shutil
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from agent import __version__
from agent.failure import ConfigurationError
from agent.proxy import Proxies
from agent.settings import PREFIX, Settings

UNIT = "postern-agent"
LOG_LINES = 500
LOG_BYTES = 512 * 1024
LOG_SECONDS = 5.0
FILES, ROUTES = 100, 200
"""So many files of the state directory, and routes, are listed."""

_LIBRARIES = ("asyncssh", "cryptography", "httpx", "pydantic", "structlog", "websockets")
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def about_settings(
    settings: Settings, config: Path | None, environment: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """Every setting as it stands; where a value is secret, whether there is one."""
    return {
        "relay": settings.relay,
        "stores": [str(store) for store in settings.stores],
        "token_file": _path(settings.token_file),
        "token": "set" if settings.token else "not set",
        "state_dir": str(settings.state_dir),
        "ca_file": _path(settings.ca_file),
        "proxy": _proxy(Proxies.of(settings.proxy, {})) if settings.proxy else "not set",
        "metrics_http": str(settings.metrics_http) if settings.metrics_http else "not set",
        "configuration_file": _path(config),
        "environment": sorted(name for name in environment if name.startswith(PREFIX)),
        "systemd_credentials": "set" if "CREDENTIALS_DIRECTORY" in environment else "not set",
    }


def about_versions() -> dict[str, Any]:
    system = os.uname()
    return {
        "postern": __version__,
        "python": sys.version,
        "executable": sys.executable,
        "openssl": ssl.OPENSSL_VERSION,
        "kernel": f"{system.sysname} {system.release} {system.machine}",
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", "unknown"),
        "user": os.geteuid(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
    }


def about_state(directory: Path) -> dict[str, Any]:
    """Names, sizes and rights of what lies in the state directory; no contents. Raises OSError."""
    entries = sorted(directory.iterdir())[:FILES]
    return {"directory": str(directory), **_entry(directory), "entries": {each.name: _entry(each) for each in entries}}


def about_network(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> dict[str, Any]:
    return {
        "host_name": socket.gethostname(),
        "interfaces": [name for _, name in socket.if_nameindex()],
        "resolver": _lines(root / "etc/resolv.conf"),
        "routes": [*_routes4(root / "proc/net/route"), *_routes6(root / "proc/net/ipv6_route")][:ROUTES],
        "proxy_variables": {
            name: _variable(name, environment[name]) for name in sorted(environment) if name.lower() in _PROXY_VARIABLES
        },
    }


def last_log() -> str:
    """The end of the service's journal. Raises OSError, subprocess.SubprocessError."""
    program = shutil.which("journalctl")
    if program is None:
        raise FileNotFoundError("there is no journalctl on this machine")
    done = subprocess.run(  # noqa: S603 - a fixed command line
        [program, "--unit", UNIT, "--lines", str(LOG_LINES), "--no-pager", "--quiet", "--output", "short-iso"],
        capture_output=True,
        timeout=LOG_SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    text = (done.stdout or done.stderr)[-LOG_BYTES:].decode("utf-8", "replace")
    return text or f"the journal has no line of {UNIT}, or none that this user may read\n"


def _path(path: Path | None) -> str:
    return str(path) if path else "not set"


def _proxy(proxies: Proxies) -> str:
    proxy = proxies.proxy
    if proxy is None:
        return "not set"
    return f"{proxy.scheme}://{proxy}{' (with credentials)' if proxy.credentials else ''}"


def _variable(name: str, value: str) -> str:
    if name.lower() == "no_proxy":
        return value
    try:
        return _proxy(Proxies.of(None, {"https_proxy": value}))
    except ConfigurationError:
        return "set, but it names no proxy"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not found"


def _entry(path: Path) -> dict[str, Any]:
    about = path.lstat()
    return {"mode": stat.filemode(about.st_mode), "owner": about.st_uid, "bytes": about.st_size}


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(errors="replace")[:16_384]
    except OSError as error:
        return [f"not readable: {error.strerror}"]
    return [line.strip() for line in text.splitlines() if line.strip() and line.strip()[0] not in "#;"]


def _routes4(path: Path) -> Iterator[str]:
    """As Linux tells them: interface, destination, gateway, flags, …, mask; addresses with their last byte first."""
    for line in _lines(path)[1:]:
        words = line.split()
        if len(words) > 7:
            target, gateway, mask = (ipaddress.IPv4Address(bytes.fromhex(words[i])[::-1]) for i in (1, 2, 7))
            via = f" via {gateway}" if int(gateway) else ""
            yield f"{ipaddress.IPv4Network((int(target), str(mask)), strict=False)}{via} on {words[0]}"


def _routes6(path: Path) -> Iterator[str]:
    for line in _lines(path):
        words = line.split()
        if len(words) > 9 and words[9] != "lo":
            gateway = ipaddress.IPv6Address(bytes.fromhex(words[4]))
            via = f" via {gateway}" if int(gateway) else ""
            network = ipaddress.IPv6Network((int(words[0], 16), int(words[1], 16)), strict=False)
            yield f"{network}{via} on {words[9]}"
