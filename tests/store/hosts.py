"""Which shop a request is for, decided by Host, path and id_shop, and where it is sent when that is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.store.failures import Redirected
from tests.store.php import build_query, whole

if TYPE_CHECKING:
    from tests.store.call import Call
    from tests.store.knobs import Knobs

SECOND = "second"  # virtual path of the second shop


def find_shop(call: Call, knobs: Knobs, *, second: bool) -> None:
    """Set the shops of the call and the base of its hrefs; Redirected when the shop is not known."""
    _read_group(call, knobs)
    if not _read_id(call, knobs):
        _check_host(call, knobs)
        if second:
            call.shop_ids = frozenset({2})
    scheme = "https" if knobs.ssl else "http"
    virtual = f"/{SECOND}" if second else ""
    call.base_url = f"{scheme}://{call.host}{knobs.base}{virtual}/api/"


def _read_group(call: Call, knobs: Knobs) -> None:
    given = call.text("id_group_shop")
    if given is None and knobs.release >= (1, 7, 8):
        given = call.text("id_shop_group")
    if given is None:
        return
    call.group_missing = given != "1"
    call.shop_ids = frozenset(range(1, knobs.shops + 1))


def _read_id(call: Call, knobs: Knobs) -> bool:
    """Whether `id_shop` (or a group) names the shop, which switches the Host check off."""
    given = call.text("id_shop")
    if given is None:
        return call.text("id_group_shop") is not None or (
            call.text("id_shop_group") is not None and knobs.release >= (1, 7, 8)
        )
    if given == "all" and knobs.release >= (9,):
        call.shop_ids = frozenset(range(1, knobs.shops + 1))
        return True
    if whole(given) and 1 <= int(given) <= knobs.shops:
        call.shop_ids = frozenset({int(given)})
        return True
    raise Redirected(_front_office(call, knobs))


def _check_host(call: Call, knobs: Knobs) -> None:
    host, domain = call.host.lower(), knobs.domain.lower()
    candidates = [host] if knobs.release < (1, 7, 7) else [_without_port(host), host]
    if domain in candidates:
        return
    if _bare(candidates[0]) == _bare(domain) or _bare(host) == _bare(domain):
        target = call.request.target
        raise Redirected(f"{_scheme(knobs)}://{knobs.domain}{target}?{_query(call)}")
    raise Redirected(_front_office(call, knobs))


def _front_office(call: Call, knobs: Knobs) -> str:
    page = "" if knobs.friendly_urls else "index.php"
    return f"{_scheme(knobs)}://{knobs.domain}{knobs.base}/{page}?{_query(call)}"


def _query(call: Call) -> str:
    return build_query({name: value for name, value in call.query.items() if name != "id_shop"})


def _scheme(knobs: Knobs) -> str:
    return "https" if knobs.ssl and knobs.release >= (1, 7, 6) else "http"


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _bare(host: str) -> str:
    return host.removeprefix("www.")
