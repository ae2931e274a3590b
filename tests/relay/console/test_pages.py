"""The pages as they leave the relay: what shields them, where they lead, in which language they speak."""

from __future__ import annotations

import re

import pytest

from relay.console import pages
from relay.console.languages import preferred
from tests.relay.api.scene import Relay
from tests.relay.console.scene import Browser

pytestmark = pytest.mark.one_database
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "base-uri": "'none'",
    "require-trusted-types-for": "'script'",
}


@pytest.mark.parametrize("path", ["/console/sign-in", "/console/agents", "/console/static/console.css", "/console"])
async def test_every_answer_is_shielded(relay: Relay, browser: Browser, path: str) -> None:
    """No script or style but the relay's own files, no frame around it, no address told to others."""
    await browser.sign_in(relay.tokens["manage"])
    headers = (await browser.get(path)).headers
    told = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert told == POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"


@pytest.mark.parametrize("path", ["/console/sign-in", "/console/agents"])
async def test_pages_are_kept_nowhere_and_hold_no_inline_code(relay: Relay, browser: Browser, path: str) -> None:
    """`no-store`, and nothing in the markup that the policy would have to allow."""
    await browser.sign_in(relay.tokens["manage"])
    page = await browser.get(path)
    assert page.headers["cache-control"] == "no-store"
    assert re.findall(r"<script(?![^>]* src=\"/console/static/)|<style|\sstyle=|\son[a-z]+=|https?://", page.text) == []
    assert "<noscript>" in page.text


@pytest.mark.parametrize(
    ("path", "to"),
    [
        ("/console/agents", "%2Fconsole%2Fagents"),
        ("/console/connections/con_aaaaaaaaaaaaaaaa/edit", "%2Fconsole%2Fconnections%2Fcon_aaaaaaaaaaaaaaaa%2Fedit"),
        ("/console/%22%3E%3Cscript%3E", "%2Fconsole%2Fagents"),
    ],
)
async def test_a_deep_link_is_kept_over_the_sign_in(browser: Browser, path: str, to: str) -> None:
    """Whoever is not signed in is led to the sign-in, which knows where to go on."""
    answer = await browser.get(path)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/console/sign-in?to={to}")


async def test_the_console_begins_with_the_agents(browser: Browser) -> None:
    """`/console`, with or without a slash."""
    for path in ("/console", "/console/"):
        answer = await browser.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/console/agents")


@pytest.mark.parametrize(
    "to",
    [
        "https://evil.example/",
        "//evil.example/console/",
        "/console//evil.example",
        "/console/..//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "/console/agents\r\nSet-Cookie: a=b",
        "/console/sign-in",
        "/v1/agents",
        "",
    ],
)
async def test_a_sign_in_leads_nowhere_else(relay: Relay, browser: Browser, to: str) -> None:
    """Only to addresses of the console."""
    answer = await browser.sign_in(relay.tokens["manage"], to)
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/agents")


async def test_a_strangers_words_stay_words(browser: Browser) -> None:
    """What comes with the address never becomes markup."""
    page = await browser.get('/console/sign-in?to=/console/"><script>alert(1)</script>')
    assert "alert(1)" not in page.text
    assert pages._templates.from_string("{{ word }}").render(word="<b>") == "&lt;b&gt;"


async def test_files_are_asked_for_again_and_sent_once(browser: Browser) -> None:
    """Each time the browser asks whether they changed; a relay that was upgraded sends the new ones."""
    first = await browser.get("/console/static/console.js")
    assert (first.status_code, first.headers["cache-control"]) == (200, "no-cache")
    assert first.headers["content-type"] == "text/javascript; charset=utf-8"
    again = await browser.get("/console/static/console.js", **{"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = await browser.get("/console/static/console.js", **{"If-None-Match": '"else"'})
    assert other.status_code == 200


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fpages.py", "%2e%2e/pages.py", ".js", "icons.html"])
async def test_no_other_file_is_served(browser: Browser, name: str) -> None:
    """Only those that were there when the relay began, by their names."""
    answer = await browser.get(f"/console/static/{name}")
    assert answer.status_code in {303, 404}
    assert "router" not in answer.text


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("fr", "fr"),
        ("fr-CA,fr;q=0.9,en;q=0.8", "fr"),
        ("de,en;q=0.7,fr;q=0.3", "en"),
        ("de,fr;q=0.3", "fr"),
        ("fr;q=0,de", "en"),
        ("fr;q=wrong", "en"),
        ("en,fr", "en"),
        ("*", "en"),
        (";;;,=,", "en"),
    ],
)
def test_the_language_is_the_one_that_the_browser_prefers(header: str, language: str) -> None:
    """The highest weight of those there are; English where none of them is asked for."""
    assert preferred(header) == language


async def test_a_chosen_language_and_theme_win(browser: Browser) -> None:
    """They are kept in cookies; what is none of them counts for nothing."""
    asked = {"Accept-Language": "fr"}
    assert 'lang="fr" data-theme="auto"' in (await browser.get("/console/sign-in", **asked)).text
    chosen = {**asked, "Cookie": "postern-language=en; postern-theme=dark"}
    assert 'lang="en" data-theme="dark"' in (await browser.get("/console/sign-in", **chosen)).text
    odd = {**asked, "Cookie": 'postern-language=../x; postern-theme="><b>'}
    assert 'lang="fr" data-theme="auto"' in (await browser.get("/console/sign-in", **odd)).text
