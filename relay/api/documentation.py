"""`/openapi.json`, and the same as one plain page at `/docs` that runs no script and loads nothing."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from starlette.responses import Response

from relay.api.answers import HEADERS, Answer
from relay.api.problems import KINDS

router = APIRouter()

_STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "code{font-family:ui-monospace,monospace}h3{margin-bottom:0}dt{margin-top:.8rem}dd{margin-left:1.5rem}"
    "@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}a{color:#8bf}}"
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@router.get("/openapi.json", include_in_schema=False)
async def get_openapi_document(request: Request) -> Answer:
    app: FastAPI = request.app
    return Answer(app.openapi())


@router.get("/docs", include_in_schema=False)
async def get_documentation(request: Request) -> Response:
    app: FastAPI = request.app
    headers = {**HEADERS, "Content-Security-Policy": _POLICY}
    return Response(page(app.openapi()), headers=headers, media_type="text/html")


def page(document: dict[str, Any]) -> str:
    """The operations by tag, then the codes of problems, each where its `type` points to."""
    info = document["info"]
    title = f"{info['title']} {info['version']}"
    body = [f"<h1>{escape(title)}</h1>", f"<p>{escape(info['summary'])}</p>"]
    body.append('<p>The whole of it, for programs: <a href="/openapi.json">/openapi.json</a>.</p>')
    for tag in document["tags"]:
        body.append(f"<h2>{escape(tag['name'])}</h2><p>{escape(tag['description'])}</p>")
        body.extend(_operations(document, tag["name"]))
    body.append("<h2>Problems</h2><dl>")
    body.extend(_problems())
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(body)}</dl></body></html>'


def _operations(document: dict[str, Any], tag: str) -> Iterator[str]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if tag in operation["tags"]:
                yield f'<h3 id="{escape(operation["operationId"])}"><code>{method.upper()} {escape(path)}</code></h3>'
                yield f"<p>{escape(operation['summary'])}. {escape(operation.get('description', ''))}</p>"


def _problems() -> Iterator[str]:
    for kind in KINDS.values():
        retry = "A retry can help." if kind.retryable else "A retry alone does not help."
        yield f'<dt id="problem-{kind.code}"><code>{kind.code}</code> ({kind.status})</dt>'
        yield f"<dd>{escape(kind.title)}. To blame: {kind.origin.value}. {retry}</dd>"
