"""`postern-relay`: runs one command and turns whatever goes wrong into a plain sentence and an exit status."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from relay.cli.arguments import parse
from relay.cli.desk import Desk, RelayAwayError, UsageError
from relay.database.errors import DatabaseError, DatabaseUnusable, Invalid
from relay.database.secrets import DoesNotOpen, UnknownMasterKey
from relay.settings import SettingsError, load

DONE, FAILED, USAGE, CONFIGURATION = 0, 1, 2, 78
"""78 is EX_CONFIG of sysexits.h: systemd is told not to restart after it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `postern-relay` with these arguments; the exit status."""
    arguments = parse(argv)
    try:
        return _run(arguments)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read us has gone: nobody to complain to
        return FAILED
    except KeyboardInterrupt:
        return FAILED
    except (DatabaseError, SettingsError, UsageError, RelayAwayError) as error:
        print(f"postern-relay: {error}", file=sys.stderr)
        return _status(error)


def _run(arguments: argparse.Namespace) -> int:
    settings = load(arguments.config, arguments.settings)
    if arguments.plain:
        return int(arguments.run(settings, arguments))
    status = asyncio.run(Desk.work(settings, arguments))
    sys.stdout.flush()
    return status


def _status(error: Exception) -> int:
    match error:
        case SettingsError() | DatabaseUnusable() | UnknownMasterKey() | DoesNotOpen():
            return CONFIGURATION
        case Invalid() | UsageError():
            return USAGE
        case _:
            return FAILED
