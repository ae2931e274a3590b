"""The HTTPS way to the relay: the port, who answers there with which certificate, that it is a relay, and its clock."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from agent.https import EXPIRED, NOT_YET_VALID, WRONG_NAME, Link, LinkError, Reply, skewed, trust_anchors
from agent.logs import printable
from agent.probes.certificates import Shown, look, no_tls, publicly_trusted
from agent.probes.road import Road, WayOut, approach
from agent.probes.step import Chain, StepError
from agent.wire.limits import CLOCK_SKEW_SECONDS

CLOCK_TOLD_SECONDS = 5
"""A clock that is less off than that counts as right: the relay's Date has whole seconds, and the line takes some."""
CLOCK_SET_SECONDS = 60
"""A clock that is more off than that should be set, though it hinders nothing yet."""


async def relay(chain: Chain, url: str, out: WayOut, *, link: Link, clock: Callable[[], float]) -> Road | None:
    """The steps `proxy`, `dns`, `tcp`, `tls`, `http`, `clock`; the way for whoever goes on there, if it is open."""
    road = await approach(chain, *whereabouts(url), out)
    if url.startswith("http://"):
        chain.skip("tls", "plain http, on this machine only")
    else:
        await chain.step("tls", lambda: _tls(road, url, link, out.ca_file), "does a firewall on the way break TLS?")
    reply = await chain.step("http", lambda: _livez(link, url), "let this machine out to the relay's address")
    await chain.step("clock", lambda: _clock(reply, clock), "set this machine's clock, for example with NTP")
    return None if chain.broken and chain.broken != "clock" else road  # the way is open, whatever the time


def whereabouts(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or {"http": 80, "ws": 80}.get(parts.scheme, 443)


async def _tls(road: Road | None, url: str, link: Link, ca_file: Path | None) -> tuple[None, str]:
    assert road is not None  # noqa: S101 - the steps before gave it
    try:
        async with road.open(trust_anchors(ca_file)) as wire:
            shown = Shown.on(wire)
    except ssl.SSLCertVerificationError as error:
        raise await _distrusted(error, road, link) from None
    except ssl.SSLError as error:
        raise StepError(no_tls(error), f"is {url} right, and does nothing on the way break TLS?") from None
    if await publicly_trusted(road):
        return None, str(shown)
    where = f"{ca_file} or this machine's own list" if ca_file else "this machine's own list"
    return None, (
        f"{shown}; this issuer is no public authority, but {where} trusts it: either the network inspects TLS here "
        "or the relay has a CA of its own. The tunnel's SSH inside stays unread"
    )


async def _distrusted(error: ssl.SSLCertVerificationError, road: Road, link: Link) -> StepError:
    shown = await look(road)
    if error.verify_code in {NOT_YET_VALID, EXPIRED}:
        seen, _, remedy = (await link.explain(error)).rpartition(": ")
        return StepError(f"{seen} ({shown})", remedy)
    if error.verify_code == WRONG_NAME:
        return StepError(
            f"the certificate is not for {road.host} ({shown})",
            "is the relay's address right? A guest network's sign-in page looks like this too: sign in first",
        )
    return StepError(
        f"nobody known vouches for the certificate: {error.verify_message} ({shown})",
        f"if your network inspects TLS, that is its CA ({shown.issuer}): save the CA's certificate as PEM and name the "
        "file with --ca-file, or have the relay exempted. If not, somebody pretends to be the relay: do not go on",
    )


async def _livez(link: Link, url: str) -> tuple[Reply, str]:
    try:
        reply = await link.request("GET", url + "/livez")
    except LinkError as error:
        raise StepError(str(error).rstrip("."), "let this machine out to the relay's address") from None
    if 300 <= reply.status < 400:
        raise StepError(
            f"{url} redirects to {printable(reply.location or 'nowhere')}", "name the relay's own address with --relay"
        )
    if reply.status != 200:
        raise StepError(f"{url}/livez answers {reply.status}", "is that the relay's address, and is the relay up?")
    return reply, "a relay answers"


async def _clock(reply: Reply | None, clock: Callable[[], float]) -> tuple[None, str]:
    if reply is None or reply.date is None:
        raise StepError("the relay's answer has no Date", "is that the relay's address?")
    return None, judge_clock(clock() - reply.date)


def judge_clock(skew: float) -> str:
    """What a clock so many seconds ahead means. Raises StepError where the relay would not enrol."""
    if abs(skew) > CLOCK_SKEW_SECONDS:
        raise StepError(
            f"this machine's clock is {skewed(skew)}, and the relay takes at most {CLOCK_SKEW_SECONDS} s",
            "set the clock, for example with 'timedatectl set-ntp true'",
        )
    if abs(skew) > CLOCK_SET_SECONDS:
        return f"this machine's clock is {skewed(skew)}: that works, up to {CLOCK_SKEW_SECONDS} s, but set it"
    return "right" if abs(skew) < CLOCK_TOLD_SECONDS else f"{skewed(skew)}, which is harmless"
