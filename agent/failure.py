"""How failures are told: the exit statuses, the two kinds that end the agent with a sentence, the system's errors."""

from __future__ import annotations

import os
import ssl

from agent.logs import printable

DONE, FAILED, USAGE, CONFIGURATION = 0, 1, 2, 78


def said(error: OSError) -> str:
    """What the system says of an error, such as `Connection refused`, without what a library wraps around it."""
    if isinstance(error, ssl.SSLError):  # its numbers are OpenSSL's own
        return f"no TLS ({printable((getattr(error, 'reason', None) or 'unknown reason').lower().replace('_', ' '))})"
    if error.errno is None or error.errno <= 0:  # the resolver's own numbers are negative
        return printable(error.strerror or str(error) or type(error).__name__)
    return os.strerror(error.errno)


class AgentError(Exception):
    """Ends the process; its text says in one sentence what is wrong and what to do. A later try may succeed."""

    status = FAILED


class ConfigurationError(AgentError):
    """No retry can mend it: a service manager must not try again (EX_CONFIG of sysexits.h)."""

    status = CONFIGURATION
