"""Why a channel or an enrolment is refused: one number or word per reason, the same on both ends."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class ChannelRefusal(IntEnum):
    """Reasons in a channel's open failure, from the range left to private use (RFC 4250 §4.3)."""

    STORE_DNS = 0xFE000001
    STORE_REFUSED = 0xFE000002
    STORE_TIMEOUT = 0xFE000003
    STORE_UNREACHABLE = 0xFE000004
    AGENT_BUSY = 0xFE000005
    """The agent has as many channels open as it allows."""
    AGENT_LEAVING = 0xFE000006
    """The agent is shutting down or reloading; another tunnel may serve."""
    AGENT_FAULT = 0xFE000007
    """Something went wrong in the agent itself; its log says what."""


class EnrolmentRefusal(StrEnum):
    """The `code` of a problem that answers an enrolment."""

    TOKEN_UNKNOWN = "token_unknown"  # noqa: S105 - a word, not a secret
    TOKEN_REVOKED = "token_revoked"  # noqa: S105
    TOKEN_EXPIRED = "token_expired"  # noqa: S105
    AGENT_REVOKED = "agent_revoked"
    INSTANCE_REVOKED = "instance_revoked"
    INSTANCE_UNKNOWN = "instance_unknown"
    """Signed with the instance's key alone, and no instance has it: enrol with the token again."""
    INSTANCE_LIMIT = "instance_limit"
    CLOCK_SKEW = "clock_skew"
    """The problem's member `skew_seconds` says by how much the agent's clock is ahead (negative: behind)."""
    NONCE_REUSED = "nonce_reused"
    SIGNATURE_INVALID = "signature_invalid"
    RELAY_MISMATCH = "relay_mismatch"
    """Signed for another relay's address; the member `relay` names this one's."""
    REQUEST_INVALID = "request_invalid"
    RELAY_OVERLOADED = "relay_overloaded"

    @property
    def final(self) -> bool:
        """Whether no retry can mend it, so that the agent stops (exit status 78)."""
        return self in _FINAL


_FINAL = frozenset(
    {
        EnrolmentRefusal.TOKEN_UNKNOWN,
        EnrolmentRefusal.TOKEN_REVOKED,
        EnrolmentRefusal.TOKEN_EXPIRED,
        EnrolmentRefusal.AGENT_REVOKED,
        EnrolmentRefusal.INSTANCE_REVOKED,
        EnrolmentRefusal.SIGNATURE_INVALID,
        EnrolmentRefusal.RELAY_MISMATCH,
        EnrolmentRefusal.REQUEST_INVALID,
    }
)
