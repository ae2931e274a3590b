"""The support archive: which parts it has, that it is private and written once, and that no secret gets into it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from agent import evidence
from agent.failure import AgentError, ConfigurationError, said
from agent.identity import FILE_BYTES, KEY
from agent.proxy import Proxies
from agent.redaction import Redaction
from agent.settings import TOKEN_FILE_BYTES, Settings, state_dir
from agent.status import read_status

_README = """\
A support archive of postern-agent, made by 'postern-agent check --bundle'.

  check.json      what the check found, step by step
  settings.json   the agent's settings; of secret ones only whether they are set
  versions.json   postern, Python, OpenSSL, kernel, libraries
  status.json     what the running agent said of itself
  state.json      names, sizes and rights of the files in the state directory, not what is in them
  network.json    routes, name servers, proxy variables without their credentials
  journal.txt     the last lines of the service's log
  parts.json      which of these could not be had, and why

Access tokens, private keys, tickets and passwords are left out; what looks like one was replaced by [removed].
Names and addresses of your network are in it: look through it before you send it.
"""


class Bundle:
    """An archive that is being made; `at` gives one, and keeps it only if it was filled."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self.filled = False

    @classmethod
    @contextmanager
    def at(cls, path: Path) -> Iterator[Bundle]:
        """A new file, readable by its owner alone. Raises AgentError if it exists or cannot be made."""
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileExistsError:
            raise AgentError(f"{path} exists already: name another file for the support archive.") from None
        except OSError as error:
            raise AgentError(f"the support archive {path} cannot be written: {error.strerror}.") from None
        bundle = cls(handle)
        try:
            yield bundle
        except OSError as error:
            raise AgentError(f"the support archive {path} cannot be written: {said(error)}.") from None
        finally:
            os.close(handle)
            if not bundle.filled:
                path.unlink(missing_ok=True)

    def fill(self, flags: Mapping[str, Any], config: Path | None, checks: dict[str, Any]) -> None:
        """Gather all parts and write them. A part that cannot be had is named in parts.json. Raises OSError."""
        try:
            settings = Settings.load(flags, config)
        except ConfigurationError as error:
            settings = None
            wrong = str(error)
        directory = settings.state_dir if settings else _state_dir(flags, config)
        gather: dict[str, Callable[[], Any]] = {
            "check.json": lambda: checks,
            "settings.json": lambda: evidence.about_settings(settings, config) if settings else {"error": wrong},
            "versions.json": evidence.about_versions,
            "status.json": lambda: read_status(directory, chosen=False),
            "state.json": lambda: evidence.about_state(directory),
            "network.json": evidence.about_network,
            "journal.txt": evidence.last_log,
        }
        redaction = Redaction(_secrets(settings, directory))
        parts = {name: _part(name, work, redaction) for name, work in gather.items()}
        missing = {name: reason for name, (content, reason) in parts.items() if content is None}
        files = {name: content for name, (content, _) in parts.items() if content is not None}
        self._write({"README.txt": _README, **files, "parts.json": _dumped(redaction.value(missing))})
        self.filled = True

    def _write(self, files: Mapping[str, str]) -> None:
        with (
            open(os.dup(self._handle), "wb") as out,  # noqa: PTH123 - pathlib opens no descriptors
            tarfile.open(fileobj=out, mode="w:gz") as archive,
        ):
            for name, text in files.items():
                content = text.encode()
                entry = tarfile.TarInfo(f"postern-agent/{name}")
                entry.size, entry.mode, entry.mtime = len(content), 0o600, int(time.time())
                archive.addfile(entry, io.BytesIO(content))


def _part(name: str, work: Callable[[], Any], redaction: Redaction) -> tuple[str | None, str]:
    """A part's text without secrets, or why there is none."""
    try:
        found = work()
    except (AgentError, OSError, ValueError, subprocess.SubprocessError) as error:
        return None, str(error)
    return (redaction.text(found) if name.endswith(".txt") else _dumped(redaction.value(found))), ""


def _dumped(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"


def _state_dir(flags: Mapping[str, Any], config: Path | None) -> Path:
    """Where it would be, if the other settings were right."""
    named = flags.get("state_dir")
    with contextlib.suppress(ConfigurationError):
        return state_dir(Path(named) if named else None, config)[0]
    return state_dir(None, None)[0]


def _secrets(settings: Settings | None, directory: Path) -> Iterator[bytes]:
    """What is known to be secret here, to be looked for in everything."""
    yield from _key_secrets(_content(directory / KEY, FILE_BYTES))
    if settings is None:
        return
    if settings.token_file:
        yield _content(settings.token_file, TOKEN_FILE_BYTES).strip()
    if settings.token:
        yield settings.token.get_secret_value().strip().encode()
    with contextlib.suppress(ConfigurationError):
        if token := settings.read_token():
            yield from (token.reveal().encode(), token.secret)
    with contextlib.suppress(ConfigurationError):
        for proxies in (Proxies.of(settings.proxy), Proxies.of(None)):
            yield from _credentials(proxies)


def _credentials(proxies: Proxies) -> Iterator[bytes]:
    if proxies.proxy and proxies.proxy.credentials:
        text = proxies.proxy.credentials.get_secret_value()
        yield text.encode()
        yield text.partition(":")[2].encode()


def _key_secrets(pem: bytes) -> Iterator[bytes]:
    """The lines of the key's file, and the key itself."""
    yield from (line for line in pem.splitlines() if not line.startswith(b"-----"))
    with contextlib.suppress(ValueError):
        key = load_ssh_private_key(pem, None)
        if isinstance(key, Ed25519PrivateKey):
            yield key.private_bytes_raw()


def _content(path: Path, limit: int) -> bytes:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(limit)
    return b""
