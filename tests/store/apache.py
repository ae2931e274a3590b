"""What the web server says by itself: its error pages, those of firewalls, and the shop's front office."""

from __future__ import annotations

from tests.store.messages import REASONS, Answer, Request

HTML = "text/html; charset=iso-8859-1"
FRONT = "text/html; charset=utf-8"

_TEXTS = {
    400: "Your browser sent a request that this server could not understand.<br />\n",
    403: "You don't have permission to access this resource.",
    404: "The requested URL was not found on this server.",
    405: "The requested method is not allowed for this URL.",
    413: "The requested resource does not allow request data with the request, or the amount of data provided in\n"
    "the request exceeds the capacity limit.",
    414: "The requested URL's length exceeds the capacity\nlimit for this server.<br />\n",
    429: "The user has sent too many requests\nin a given amount of time.",
}


def error_page(status: int) -> Answer:
    """Apache's own page for a status, with its Content-Length."""
    title = {400: "Bad Request", 404: "Not Found", 414: "Request-URI Too Long"}.get(status, REASONS[status])
    page = (
        '<!DOCTYPE HTML PUBLIC "-//IETF//DTD HTML 2.0//EN">\n<html><head>\n'
        f"<title>{status} {title}</title>\n</head><body>\n<h1>{title}</h1>\n<p>{_TEXTS.get(status, title)}</p>\n"
        "</body></html>\n"
    )
    return Answer(status, page.encode(), HTML, framing="length")


def front_page(shop_name: str) -> Answer:
    """The shop's home page, which is what a followed redirect ends at."""
    return _front(200, shop_name, '<body id="index">Welcome</body>')


def front_not_found(shop_name: str) -> Answer:
    """The theme's own 404."""
    return _front(404, f"404 - {shop_name}", '<body id="pagenotfound">Page not found</body>')


def _front(status: int, title: str, body: str) -> Answer:
    page = f'<!doctype html>\n<html lang="en">\n<head><title>{title}</title></head>\n{body}\n</html>\n'
    return Answer(status, page.encode(), FRONT, program=[("Powered-By", "PrestaShop")])


def maintenance_page() -> Answer:
    page = (
        "<!doctype html>\n<html>\n<head><title>Maintenance</title></head>\n<body>We'll be back soon.</body>\n</html>\n"
    )
    return Answer(503, page.encode(), FRONT, program=[("Retry-After", "3600")])


def firewall_page() -> Answer:
    """mod_security's refusal."""
    return error_page(403)


def verb_filter_page() -> Answer:
    """IIS and some nginx set-ups: a 405 that names what is allowed, which PrestaShop never does."""
    answer = error_page(405)
    answer.server.append(("Allow", "GET, HEAD, OPTIONS, POST"))
    return answer


def challenge_page() -> Answer:
    """Cloudflare's request for a proof of being human."""
    page = (
        '<!DOCTYPE html><html lang="en-US"><head><title>Just a moment...</title></head>'
        "<body><noscript>Enable JavaScript and cookies to continue</noscript></body></html>"
    )
    extra = [("cf-mitigated", "challenge"), ("CF-RAY", "8f0c1e2d3a4b5c6d-MAD"), ("Cache-Control", "private, max-age=0")]
    return Answer(403, page.encode(), "text/html; charset=UTF-8", server=extra)


def too_many_requests() -> Answer:
    """A host's rate limit."""
    answer = error_page(429)
    answer.server.append(("Retry-After", "1"))
    return answer


def echo(request: Request) -> Answer:
    """TRACE: Apache sends the whole request back, credentials included."""
    lines = [request.seen.line] + [name + b": " + value for name, value in request.seen.headers]
    return Answer(200, b"\r\n".join(lines) + b"\r\n\r\n", "message/http")
