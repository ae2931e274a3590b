"""A browser's session: an API token sealed in a cookie, and what shows that a request comes from the relay's own pages.

Nothing is kept: whichever node holds the master keys opens the cookie, and the token in it goes through the ordinary
check with every request, so that a session is over as soon as its token is.
"""

from __future__ import annotations

import hmac
import json
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import Request
from pydantic import SecretStr

from relay.api.parts import Parts
from relay.api.problems import ProblemError
from relay.database.secrets import DoesNotOpen, Place, UnknownMasterKey

COOKIE = "__Host-postern"
"""Browsers take a cookie of such a name only with Secure, for the whole host, and from that very host."""
MARK_HEADER = "Postern-Session"
"""Carries the session's mark, which other sites' pages cannot read and cannot send."""
LIFE_SECONDS = 12 * 3600
"""A working day; after that one signs in again."""
_PLACE = Place("sessions", "cookie", "token")
_READS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Session:
    """`ends_at` is unix seconds; `mark` goes with every request that changes something."""

    token: SecretStr
    mark: str
    ends_at: int


def begin(parts: Parts, token: str) -> str:
    """The `Set-Cookie` of a new session with a token that has been checked."""
    session = Session(SecretStr(token), secrets.token_urlsafe(24), int(parts.clock()) + LIFE_SECONDS)
    content = json.dumps({"token": token, "mark": session.mark, "ends_at": session.ends_at})
    return _cookie(parts.database.keys.seal(content.encode(), _PLACE))


def end() -> str:
    """The `Set-Cookie` that makes the browser forget."""
    return _cookie("") + "; Max-Age=0"


def presented(parts: Parts, request: Request) -> Session | None:
    """The request's session; None without one, or with one that is over, altered, or sealed by somebody else."""
    sealed = request.cookies.get(COOKIE)
    if not sealed:
        return None
    try:
        content = json.loads(parts.database.keys.open(sealed, _PLACE).get_secret_value())
    except (UnknownMasterKey, DoesNotOpen):
        return None
    session = Session(SecretStr(content["token"]), content["mark"], content["ends_at"])
    return session if parts.clock() < session.ends_at else None


def check_origin(parts: Parts, request: Request, session: Session) -> None:
    """Raises ProblemError `foreign_page` for a request that another site's page may have caused.

    What only reads is refused if a page of elsewhere asks; what changes something must come from a page of this
    origin, and carry the session's mark.
    """
    if request.method in _READS:
        if request.headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}:
            raise _foreign()
        return
    mark = request.headers.get(MARK_HEADER, "")
    if not from_own_page(parts, request) or not hmac.compare_digest(mark.encode(), session.mark.encode()):
        raise _foreign()


def from_own_page(parts: Parts, request: Request) -> bool:
    """Whether the browser says that a page of this origin caused the request (Fetch Metadata, else `Origin`)."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    own = urlsplit(parts.public_url)
    return request.headers.get("origin", "") == f"{own.scheme}://{own.netloc}"


def _cookie(value: str) -> str:
    """Without `Max-Age` the browser forgets it when it is closed: a shop's computer is shared."""
    return f"{COOKIE}={value}; Path=/; Secure; HttpOnly; SameSite=Strict"


def _foreign() -> ProblemError:
    return ProblemError("foreign_page", "a session's requests come from the relay's own pages, with the session's mark")
