"""The command `postern-agent`: what may be typed, and with which exit status it ends."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent import __version__
from agent.failure import CONFIGURATION, DONE, FAILED, USAGE, AgentError

_DESCRIPTION = """\
Publishes stores of this network to a Postern relay, through a tunnel dialled from here. It opens no port, and reaches
only the relay and the stores that are named."""

_EPILOG = f"""\
settings: each flag of 'run' can also stand in the environment (POSTERN_AGENT_RELAY, POSTERN_AGENT_STORES with commas,
POSTERN_AGENT_TOKEN_FILE, POSTERN_AGENT_STATE_DIR, POSTERN_AGENT_CA_FILE, POSTERN_AGENT_PROXY,
POSTERN_AGENT_METRICS_HTTP) or in a TOML file (relay, stores, token_file, state_dir, ca_file, proxy, metrics_http). A
flag goes before the environment, the environment before the file.

a proxy that is not named there is taken from HTTPS_PROXY or ALL_PROXY, except for what NO_PROXY lists. Write a proxy's
password in the environment or the file: other users of this machine can read command lines.

the access token comes from --token-file, from systemd's credential 'token', or from POSTERN_AGENT_TOKEN. It is never
written on the command line.

exit status: {DONE} done, {FAILED} failed, {USAGE} wrong usage, {CONFIGURATION} a configuration that no retry can mend.

examples:
  postern-agent check --relay https://relay.example.com --store http://shop.lan --token-file /etc/postern/agent.token
  postern-agent run --relay https://relay.example.com --store http://shop.lan --token-file /etc/postern/agent.token
  postern-agent run --config /etc/postern/agent.toml
  postern-agent status --json
"""

_CHECK = """\
try everything on the way and say what to do; nothing is changed on this machine, nor in what the relay knows of it: at
most it issues a certificate for the check's own login"""

_BUNDLE = """\
write a support archive (tar.gz) there: what the check found, settings, versions, status, log; without secrets. An
existing file is not overwritten"""

_PROXY = """\
the network's HTTP proxy, such as http://proxy.lan:3128, for enrolment and tunnels; with a password
(http://USER:PASSWORD@proxy.lan:3128) better as POSTERN_AGENT_PROXY"""

_METRICS = """\
serve /metrics and /readyz for this machine's Prometheus there, such as 127.0.0.1:9465; loopback addresses only. Without
it the agent listens nowhere"""

_STORE = """\
a shop to publish, such as http://shop.lan or https://shop.lan:8443; repeatable. The name need not be the address:
https://www.shop.fr=192.168.1.20:443 publishes the shop under its own domain and connects to the LAN address"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.command(arguments))
    except AgentError as error:
        print(f"postern-agent: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return FAILED
    except BrokenPipeError:
        sys.stderr.close()
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="postern-agent",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"postern-agent {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, function: Any, summary: str, **more: Any) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False, **more)
        sub.set_defaults(command=function)
        return sub

    keep_lines: dict[str, Any] = {"epilog": _EPILOG, "formatter_class": argparse.RawDescriptionHelpFormatter}
    _add_settings(command("run", _run, "enrol, open the tunnels, and keep them until told to stop", **keep_lines))
    check = command("check", _check, _CHECK, **keep_lines)
    _add_settings(check)
    check.add_argument("--json", action="store_true", help="print one JSON object")
    check.add_argument("--bundle", type=Path, metavar="FILE", help=_BUNDLE)
    status = command("status", _status, "show the agent that runs on this machine; status 1 if no tunnel stands")
    status.add_argument("--state-dir", type=Path, metavar="DIR", help="the directory that it runs with")
    status.add_argument("--config", type=Path, metavar="FILE", help="the TOML file that it runs with")
    status.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--relay", metavar="URL", help="the relay's address, such as https://relay.example.com")
    parser.add_argument("--store", dest="stores", action="append", metavar="ORIGIN[=ADDRESS:PORT]", help=_STORE)
    parser.add_argument("--token-file", metavar="FILE", help="the file that holds the agent's access token")
    parser.add_argument("--state-dir", metavar="DIR", help="where the agent keeps its key (made 0700)")
    parser.add_argument("--ca-file", metavar="FILE", help="CA bundle of a network that inspects TLS (PEM)")
    parser.add_argument("--proxy", metavar="URL", help=_PROXY)
    parser.add_argument("--metrics-http", metavar="HOST:PORT", help=_METRICS)
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file with these settings")


def _flags(arguments: argparse.Namespace) -> dict[str, Any]:
    names = ("relay", "stores", "token_file", "state_dir", "ca_file", "proxy", "metrics_http")
    return {name: value for name in names if (value := getattr(arguments, name, None)) is not None}


def _run(arguments: argparse.Namespace) -> int:
    from agent.process import run  # noqa: PLC0415 - 'status' is asked every few seconds and must not load SSH

    return run(_flags(arguments), arguments.config)


def _check(arguments: argparse.Namespace) -> int:
    from agent.check import run  # noqa: PLC0415 - as above

    return run(_flags(arguments), arguments.config, as_json=arguments.json, archive=arguments.bundle, out=sys.stdout)


def _status(arguments: argparse.Namespace) -> int:
    from agent.condition import as_text, standing, state  # noqa: PLC0415 - as above
    from agent.settings import state_dir  # noqa: PLC0415 - '--help' needs none of it
    from agent.status import read_status  # noqa: PLC0415 - as above

    directory, chosen = state_dir(arguments.state_dir, arguments.config)
    status = read_status(directory, chosen=chosen)
    if arguments.json:
        print(json.dumps({"state": state(status), **status}, indent=2))
    else:
        print(*as_text(status), sep="\n")
    return DONE if standing(status) else FAILED


if __name__ == "__main__":
    sys.exit(main())
