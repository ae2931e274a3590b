"""`/console`: one page for all addresses below it, the sign-in before it, and its files."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, urlencode

from fastapi import APIRouter, Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import Response

from relay.api import sessions
from relay.api.answers import Answer, nothing
from relay.api.authentication import authenticate, caller_with
from relay.api.bodies import read_body
from relay.api.parts import Parts, Serving
from relay.api.problems import ProblemError
from relay.console import files
from relay.console.languages import CATALOGUES, language_of

FORM_BYTES = 4096
"""A token and an address of the console's own."""
THEME_COOKIE = "postern-theme"
HOME = "/console/agents"
SIGN_IN = "/console/sign-in"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'"
)
SHIELD = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_OWN_ADDRESS = re.compile(r"/console/[A-Za-z0-9_/-]{1,200}\Z")

router = APIRouter(prefix="/console", include_in_schema=False)
_files = files.read()
_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined
)


@router.api_route("", methods=["GET", "HEAD"])
@router.api_route("/", methods=["GET", "HEAD"])
async def get_console() -> Response:
    return _to(HOME)


@router.api_route("/static/{name}", methods=["GET", "HEAD"])
async def get_file(request: Request, name: str) -> Response:
    """Browsers keep it and ask each time whether it has changed, so that an upgraded relay never meets old scripts."""
    file = _files.get(name)
    if file is None:
        raise ProblemError("not_found", "the console has no such file")
    headers = {**SHIELD, "ETag": file.etag, "Cache-Control": "no-cache"}
    if file.etag in (tag.strip() for tag in request.headers.get("if-none-match", "").split(",")):
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)


@router.api_route("/sign-in", methods=["GET", "HEAD"])
async def get_sign_in(request: Request, to: str = HOME) -> Response:
    return _page(request, "sign-in.html", to=_own(to), refused="")


@router.post("/sign-in")
async def sign_in(parts: Serving, request: Request) -> Response:
    """Takes the form's `token`, and where `to` go on."""
    form = parse_qs((await read_body(request, FORM_BYTES)).decode("utf-8", "replace"))
    to, token = _own(form.get("to", [""])[0]), form.get("token", [""])[0].strip()
    if not sessions.from_own_page(parts, request):
        return _page(request, "sign-in.html", 403, to=to, refused="sign_in.foreign")
    if await caller_with(parts, token) is None:
        return _page(request, "sign-in.html", 401, to=to, refused="sign_in.refused")
    return _to(to, sessions.begin(parts, token))


@router.get("/session")
async def get_session(parts: Serving, request: Request) -> Answer:
    """What the page needs to know of its session. Raises ProblemError `unauthenticated`."""
    session = await _session(parts, request)
    if session is None:
        raise ProblemError("unauthenticated", "nobody is signed in, or the session is over")
    caller = await authenticate(parts, request)
    return Answer(
        {
            "account": caller.account,
            "token": caller.id,
            "scope": caller.scope.value,
            "mark": session.mark,
            "ends_at": session.ends_at,
            "relay": parts.public_url,
            "version": parts.version,
        }
    )


@router.delete("/session")
async def sign_out(parts: Serving, request: Request) -> Response:
    session = sessions.presented(parts, request)
    if session:
        sessions.check_origin(parts, request, session)
    answer = nothing()
    answer.headers["Set-Cookie"] = sessions.end()
    return answer


@router.api_route("/{path:path}", methods=["GET", "HEAD"])
async def get_page(parts: Serving, request: Request, path: str) -> Response:
    if await _session(parts, request) is None:
        return _to(f"{SIGN_IN}?{urlencode({'to': _own(f'/console/{path}')})}")
    return _page(request, "console.html")


async def _session(parts: Parts, request: Request) -> sessions.Session | None:
    """The session, if its token is still good."""
    session = sessions.presented(parts, request)
    return session if session and await caller_with(parts, session.token.get_secret_value()) else None


def _own(address: str) -> str:
    """An address of the console's to go on to; anything else becomes the first page."""
    fits = _OWN_ADDRESS.match(address) and not address.startswith(SIGN_IN)
    return address if fits else HOME


def _to(address: str, cookie: str = "") -> Response:
    headers = {**SHIELD, "Cache-Control": "no-store", "Location": address}
    return Response(status_code=303, headers={**headers, "Set-Cookie": cookie} if cookie else headers)


def _page(request: Request, template: str, status: int = 200, **values: str) -> Response:
    language = language_of(request)
    theme = request.cookies.get(THEME_COOKIE, "")
    html = _templates.get_template(template).render(
        language=language, theme=theme if theme in {"light", "dark"} else "auto", say=CATALOGUES[language], **values
    )
    headers = {**SHIELD, "Cache-Control": "no-store", "Vary": "Accept-Language, Cookie"}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(html, status, headers, media_type="text/html")
