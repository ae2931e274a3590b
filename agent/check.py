"""`postern-agent check`: which probes are made, in which order, and how their outcome is told. It changes nothing."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent import probes
from agent.failure import DONE, FAILED, ConfigurationError
from agent.https import Link
from agent.identity import KEY, Memory, check_directory, read_memory
from agent.probes import Chain, Line
from agent.resolver import DaemonThreads, Resolver
from agent.settings import Settings


def run(flags: Mapping[str, Any], config: Path | None, *, as_json: bool) -> tuple[int, str]:
    """Probe everything; the exit status (DONE if nothing failed, else FAILED) and what to print."""
    lines = asyncio.run(_probe(flags, config))
    ok = all(line.status != "FAIL" for line in lines)
    text = json.dumps(_as_json(lines, ok=ok), indent=2) if as_json else "\n".join(_as_text(lines))
    return (DONE if ok else FAILED), text


async def _probe(flags: Mapping[str, Any], config: Path | None) -> list[Line]:
    asyncio.get_running_loop().set_default_executor(DaemonThreads())
    try:
        settings = Settings.load(flags, config)
        link = Link(settings.relay, settings.ca_file)
    except ConfigurationError as error:
        return [Line("settings", "FAIL", str(error), "mend this first; nothing else was tried")]
    memory = read_memory(settings.state_dir)
    if memory and memory.relay != settings.relay:
        memory = None
    resolver = Resolver()
    chains = [
        _local(settings, memory),
        probes.relay(settings.relay, link, resolver),
        probes.ssh(memory.endpoints if memory else (), resolver),
        *(probes.store(store, resolver) for store in settings.stores),
    ]
    return [line for chain in await asyncio.gather(*chains) for line in chain.lines]


async def _local(settings: Settings, memory: Memory | None) -> Chain:
    chain = Chain()
    chain.lines.append(Line("settings", "PASS", f"{len(settings.stores)} store(s), relay {settings.relay}"))
    for name, look in (("state directory", _state_directory), ("token", _token)):
        try:
            chain.lines.append(Line(name, "PASS", look(settings, memory)))
        except ConfigurationError as error:
            chain.lines.append(Line(name, "FAIL", str(error), "mend this, then check again"))
    return chain


def _state_directory(settings: Settings, _memory: Memory | None) -> str:
    directory = settings.state_dir.absolute()
    try:
        if not directory.exists():
            return _place_for(directory)
        owner = directory.stat().st_uid
        if os.geteuid() == 0 and owner != 0:
            return f"{directory} belongs to user {owner}, who must be the agent's"
        check_directory(directory)
        return f"{directory} holds {'this instance' if (directory / KEY).exists() else 'no key yet'}"
    except OSError as error:
        raise ConfigurationError(f"the state directory {directory} cannot be looked into: {error.strerror}.") from None


def _place_for(directory: Path) -> str:
    parent = next(parent for parent in directory.parents if parent.exists())
    if not os.access(parent, os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"{directory} does not exist and cannot be made in {parent}: choose one with --state-dir."
        )
    return f"{directory} will be made"


def _token(settings: Settings, memory: Memory | None) -> str:
    token = settings.read_token()
    if token:
        return f"well formed ({token.id})"
    if memory:
        return f"not needed: enrolled as {memory.agent_name}"
    raise ConfigurationError("no access token is given: name its file with --token-file.")


def _as_text(lines: Sequence[Line]) -> Iterator[str]:
    width = max(len(line.name) for line in lines)
    for line in lines:
        yield f"{line.status}  {line.name:<{width}}  {line.detail}"
        if line.remedy:
            yield f"      {'':<{width}}  -> {line.remedy}"


def _as_json(lines: Sequence[Line], *, ok: bool) -> dict[str, Any]:
    checks = [
        {"name": line.name, "status": line.status, "ms": line.ms, "detail": line.detail, "remedy": line.remedy or None}
        for line in lines
    ]
    return {"ok": ok, "checks": checks}
