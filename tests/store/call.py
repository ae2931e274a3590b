"""One webservice call as PHP sees it: variables, credential, host, verb, wanted format."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tests.store.php import Tree, Variables, query_variables

if TYPE_CHECKING:
    from tests.store.keys import Key
    from tests.store.messages import Request
    from tests.store.schema import Resource

Format = Literal["XML", "JSON"]

PICKERS = (("header", "io-format"), ("header", "output-format"), ("query", "output_format"), ("query", "io_format"))


@dataclass(slots=True)
class Call:
    """Filled in by the steps of the evaluation as they go."""

    request: Request
    query: Variables  # $_GET, `url` included
    segments: list[str]  # of `url`: resource, id, …
    verb: str  # after ps_method
    host: str  # effective: X-Forwarded-Host or Host
    wanted: Format
    shop_ids: frozenset[int] = frozenset({1})
    group_missing: bool = False  # id_group_shop names a group without shops
    base_url: str = ""  # of the hrefs, with /api/ at the end
    key: Key | None = None
    accepted: bool = False  # the key is good: PSWS-Version says the truth
    challenge: bool = False  # WWW-Authenticate goes with the errors
    resource: Resource | None = None
    languages: list[int | str] | None = None  # asked for; None: all
    warned: bool = False  # PHP printed a warning before the document (debug mode)
    prices: dict[str, Variables] = field(default_factory=dict)  # virtual price columns

    def text(self, name: str) -> str | None:
        """A query variable that is text; None when absent or an array."""
        found = self.query.get(name)
        return found if isinstance(found, str) else None

    @property
    def name(self) -> str:
        """The first segment: the resource asked for, empty for the root."""
        return self.segments[0] if self.segments else ""

    @property
    def id_text(self) -> str:
        return self.segments[1] if len(self.segments) > 1 else ""

    @property
    def body_readable(self) -> bool:
        return self.request.method in ("POST", "PUT", "PATCH")


def make_call(request: Request, query: Variables) -> Call:
    """Read what is needed before the steps begin."""
    url = query.get("url")
    segments = [part for part in url.split("/") if part] if isinstance(url, str) else []
    return Call(
        request,
        query,
        segments,
        _verb(request, query),
        request.header("x-forwarded-host") or request.header("host") or "",
        _format(request, query),
    )


def basic_user(authorization: str | None) -> tuple[str, bool] | None:
    """(user, whether a colon followed) of a Basic credential; None when there is none."""
    scheme, _, coded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(coded.strip() + "==", validate=False).decode("latin-1")
    except (binascii.Error, ValueError):
        decoded = ""
    user, colon, _ = decoded.partition(":")
    return user, bool(colon)


def path_variables(path: str, query: str) -> Variables:
    """`$_GET` after the rewrite rule, which puts the path, decoded once, unescaped into the query."""
    return query_variables(_utf8(f"url={path}" + (f"&{query}" if query else "")))


def dispatcher_variables(query: str) -> Variables:
    """`$_GET` of a call to webservice/dispatcher.php."""
    return {"url": ""} | query_variables(_utf8(query))


def _utf8(latin: str) -> str:
    return latin.encode("latin-1").decode("utf-8", "surrogateescape")


def _verb(request: Request, query: Variables) -> str:
    form: Variables = {}
    kind = request.header("content-type") or ""
    if request.method == "POST" and kind.startswith("application/x-www-form-urlencoded"):
        form = query_variables(request.body.decode("utf-8", "surrogateescape"))
    chosen: Tree | None = query.get("ps_method") or form.get("ps_method")
    return chosen if isinstance(chosen, str) and chosen else request.method


def _format(request: Request, query: Variables) -> Format:
    for where, name in PICKERS:
        given = request.header(name) if where == "header" else query.get(name)
        if given is not None:
            return "JSON" if given == "JSON" else "XML"
    return "XML"
