"""How the agent ends: the exit statuses, and the two kinds of failure that end it with a plain sentence."""

from __future__ import annotations

DONE, FAILED, USAGE, CONFIGURATION = 0, 1, 2, 78


class AgentError(Exception):
    """Ends the process; its text says in one sentence what is wrong and what to do. A later try may succeed."""

    status = FAILED


class ConfigurationError(AgentError):
    """No retry can mend it: a service manager must not try again (EX_CONFIG of sysexits.h)."""

    status = CONFIGURATION
