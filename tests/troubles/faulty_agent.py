"""`postern-agent` with a fault in it: each dial of a store fails as nobody foresaw."""

from __future__ import annotations

import errno
import os
import sys

from agent import cli, forwarder


async def fail(*_: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


if __name__ == "__main__":
    vars(forwarder)["connect"] = fail
    sys.exit(cli.main())
