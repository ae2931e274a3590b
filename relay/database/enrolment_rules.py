"""Who may enrol: the rules alone, over facts that others have gathered and signatures that others have checked."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agent.wire.limits import CLOCK_SKEW_SECONDS
from agent.wire.refusal import EnrolmentRefusal
from relay.database.errors import EnrolmentRefused

TAKE_OVER_SECONDS = 3600
"""For so long after its creation a token also takes the place of an instance that is offline: a machine set up anew."""

INSTANCE_UNKNOWN = "the relay does not know this installation: enrol with the access token"


class Kind(StrEnum):
    FIRST = "first"
    """A key that was not known: an event, for whoever holds a place receives the store's key."""
    RENEWAL = "renewal"
    TAKE_OVER = "take_over"
    """A key that was not known, on the place of an instance that is offline."""


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """The token that was shown, or the one that a known instance showed last."""

    id: str
    agent: str
    created_at: int
    expires_at: int | None = None
    revoked: bool = False


@dataclass(frozen=True, slots=True)
class InstanceFacts:
    """What is known of the key that signed."""

    agent: str
    revoked: bool
    token: TokenFacts


@dataclass(frozen=True, slots=True)
class Holder:
    """An instance that holds a place of the agent."""

    id: str
    online: bool
    last_seen_at: int


@dataclass(frozen=True, slots=True)
class Facts:
    now: int
    nonce_seen: bool
    shown: TokenFacts | None
    """None: signed with the instance's key alone."""
    instance: InstanceFacts | None
    agent_revoked: bool
    """Of the shown token's agent; without one, of the instance's."""
    places: int
    holders: tuple[Holder, ...]
    """Of that agent, revoked ones left out, the instance itself left out."""


@dataclass(frozen=True, slots=True)
class Admitted:
    kind: Kind
    agent: str
    token: str
    """The token that the instance belongs to from now on."""
    displaced: str | None = None
    """The instance whose place it takes."""


def check_clock(sent_at: int, now: int) -> None:
    """Raises EnrolmentRefused `clock_skew`; `skew_seconds` is positive for a clock that is ahead."""
    skew = sent_at - now
    if abs(skew) > CLOCK_SKEW_SECONDS:
        side = "ahead of" if skew > 0 else "behind"
        raise EnrolmentRefused(
            EnrolmentRefusal.CLOCK_SKEW,
            f"the machine's clock is {abs(skew)} s {side} the relay's: set it right (time synchronisation)",
            skew_seconds=skew,
        )


def decide(facts: Facts) -> Admitted:
    """Admit, or raise EnrolmentRefused. A known key renews, with or without a token; another key needs a place."""
    known = facts.instance
    if facts.nonce_seen:
        raise EnrolmentRefused(EnrolmentRefusal.NONCE_REUSED, "this request was made before: sign a new one")
    if facts.agent_revoked:
        raise EnrolmentRefused(EnrolmentRefusal.AGENT_REVOKED, "the agent was revoked: make a new one at the relay")
    if known is not None and known.revoked:
        raise EnrolmentRefused(
            EnrolmentRefusal.INSTANCE_REVOKED, "this installation was shut out: set it up anew, with a new token"
        )
    if facts.shown is None:
        return _renew(known, known.token if known else None)
    _check_not_revoked(facts.shown)
    if known is not None and known.agent == facts.shown.agent:
        # an expired token admits nobody new, and neither does it turn away whom the key alone would let in
        return _renew(known, known.token if _expired(facts.shown, facts.now) else facts.shown)
    if _expired(facts.shown, facts.now):
        raise EnrolmentRefused(EnrolmentRefusal.TOKEN_EXPIRED, "the access token has expired: make a new one")
    return _take_place(facts, facts.shown)


def _renew(known: InstanceFacts | None, token: TokenFacts | None) -> Admitted:
    if known is None or token is None:
        raise EnrolmentRefused(EnrolmentRefusal.INSTANCE_UNKNOWN, INSTANCE_UNKNOWN)
    _check_not_revoked(token)
    return Admitted(Kind.RENEWAL, known.agent, token.id)


def _take_place(facts: Facts, token: TokenFacts) -> Admitted:
    if len(facts.holders) < facts.places:
        return Admitted(Kind.FIRST, token.agent, token.id)
    offline = [holder for holder in facts.holders if not holder.online]
    if offline and facts.now - token.created_at < TAKE_OVER_SECONDS:
        longest = min(offline, key=lambda holder: (holder.last_seen_at, holder.id))
        return Admitted(Kind.TAKE_OVER, token.agent, token.id, displaced=longest.id)
    raise EnrolmentRefused(
        EnrolmentRefusal.INSTANCE_LIMIT,
        "every place of the agent is taken by another installation: release one at the relay "
        "(postern-relay agents release), or make a new token for a machine that was set up anew",
    )


def _check_not_revoked(token: TokenFacts) -> None:
    if token.revoked:
        raise EnrolmentRefused(EnrolmentRefusal.TOKEN_REVOKED, "the access token was revoked: make a new one")


def _expired(token: TokenFacts, now: int) -> bool:
    return token.expires_at is not None and token.expires_at <= now
