"""The session: opened with a token, bound to the relay's own pages, and over with its token."""

from __future__ import annotations

import pytest

from relay.api.sessions import COOKIE, LIFE_SECONDS
from relay.database.credentials import new_api_token
from relay.database.secrets import Keyring, MasterKey, Place
from tests.relay.api.scene import Relay
from tests.relay.console.scene import Browser, browser_of

pytestmark = pytest.mark.one_database
ELSEWHERE = "https://evil.example"


async def test_signing_in_leaves_one_cookie_that_scripts_and_other_hosts_never_get(
    relay: Relay, browser: Browser
) -> None:
    """`__Host-`, Secure, HttpOnly, SameSite=Strict, forgotten when the browser is closed; then on."""
    answer = await browser.sign_in(relay.tokens["manage"], "/console/connections/new")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/connections/new")
    name, *attributes = answer.headers["set-cookie"].split("; ")
    assert name.startswith(f"{COOKIE}=v1.")
    assert sorted(attributes) == ["HttpOnly", "Path=/", "SameSite=Strict", "Secure"]


async def test_the_cookie_tells_nothing(relay: Relay, browser: Browser) -> None:
    """Neither it nor anything that the page reads holds the token."""
    secret = relay.tokens["manage"]
    answer = await browser.sign_in(secret)
    told = (await browser.get("/console/session")).text
    page = (await browser.get("/console/agents")).text
    assert not any(secret in text or secret[4:] in text for text in (browser.cookie, answer.text, told, page))


@pytest.mark.parametrize("wrong", ["", "ptk_mistyped", "unknown", "revoked", "store key"])
async def test_a_bad_token_opens_nothing(relay: Relay, browser: Browser, wrong: str) -> None:
    """401 with a sentence and no cookie."""
    texts = {"unknown": new_api_token().get_secret_value(), "store key": "K" * 32}
    if wrong == "revoked":
        made = await relay.made("/v1/tokens", {"name": "t", "scopes": ["status"]})
        await relay.call("POST", f"/v1/tokens/{made['id']}/revoke")
        await relay.changes_followed()
        texts["revoked"] = made["token"]
    answer = await browser.sign_in(texts.get(wrong, wrong))
    assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
    assert "does not take this token" in answer.text


async def test_another_sites_form_signs_nobody_in(relay: Relay, browser: Browser) -> None:
    """Else a stranger could put somebody into the stranger's account."""
    for about in (
        {"Sec-Fetch-Site": "cross-site", "Origin": ELSEWHERE},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": ELSEWHERE},
        {"Origin": "null"},
        {"Accept": "*/*"},
    ):
        answer = await browser.sign_in(relay.tokens["manage"], **about)
        assert (answer.status_code, "set-cookie" in answer.headers) == (403, False), about


async def test_a_form_is_small(browser: Browser) -> None:
    """Nobody unknown makes the relay hold much."""
    answer = await browser.sign_in("p" * 5000)
    assert answer.status_code == 413


async def test_a_session_reaches_as_far_as_its_token(relay: Relay, browser: Browser) -> None:
    """It is the same API: what the token may not, the session may not."""
    await browser.sign_in(relay.tokens["status"])
    assert (await browser.ask("GET", "/v1/agents")).status_code == 200
    refused = await browser.ask("POST", "/v1/agents", {"name": "Lyon"})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    told = (await browser.get("/console/session")).json()
    assert (told["scope"], told["account"]) == ("status", relay.account)


async def test_what_changes_something_carries_the_mark_from_an_own_page(relay: Relay, browser: Browser) -> None:
    """Without the mark, with a wrong one, or from a page of elsewhere, nothing is done."""
    await browser.sign_in(relay.tokens["manage"])
    for headers in (
        {"Postern_Session": ""},
        {"Postern_Session": browser.mark[:-1]},
        {"Postern_Session": "é"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "none"},
        {"Sec_Fetch_Site": "", "Origin": ""},
        {"Sec_Fetch_Site": "", "Origin": ELSEWHERE},
        {"Sec_Fetch_Site": "", "Origin": "null"},
    ):
        answer = await browser.ask("POST", "/v1/agents", {"name": "Lyon"}, **headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "foreign_page"), headers
    assert (await relay.call("GET", "/v1/agents")).json()["items"] == []
    assert (await browser.ask("POST", "/v1/agents", {"name": "Lyon"})).status_code == 201
    assert (await browser.ask("POST", "/v1/agents", {"name": "Nice"}, Sec_Fetch_Site="")).status_code == 201


async def test_pages_of_elsewhere_do_not_even_read(relay: Relay, browser: Browser) -> None:
    """What a browser sends for another site's page is refused; an address that somebody typed is not."""
    await browser.sign_in(relay.tokens["manage"])
    for site, status in (("cross-site", 403), ("same-site", 403), ("none", 200), ("same-origin", 200)):
        assert (await browser.get("/v1/agents", **{"Sec-Fetch-Site": site})).status_code == status


async def test_programs_need_no_mark(relay: Relay, browser: Browser) -> None:
    """A token in `Authorization` counts alone, whatever else comes with the request; a bad one is not made good."""
    await browser.sign_in(relay.tokens["manage"])
    own = {"Postern_Session": "", "Sec_Fetch_Site": "", "Origin": ""}
    bearer = f"Bearer {relay.tokens['other']}"
    made = await browser.ask("POST", "/v1/agents", {"name": "Lyon"}, Authorization=bearer, **own)
    assert (made.status_code, made.json()["account"]) == (201, relay.other)
    assert (await browser.ask("GET", "/v1/agents", Authorization="Bearer ptk_wrong")).status_code == 401


async def test_the_session_is_over_with_its_token(relay: Relay, browser: Browser) -> None:
    """From the next request on: the API answers 401, the page leads to the sign-in."""
    made = await relay.made("/v1/tokens", {"name": "t", "scopes": ["manage"]})
    await browser.sign_in(made["token"])
    assert (await browser.get("/console/agents")).status_code == 200
    await relay.call("POST", f"/v1/tokens/{made['id']}/revoke")
    await relay.changes_followed()
    assert (await browser.ask("GET", "/v1/agents")).status_code == 401
    assert (await browser.get("/console/session")).status_code == 401
    away = await browser.get("/console/agents")
    assert (away.status_code, away.headers["location"]) == (303, "/console/sign-in?to=%2Fconsole%2Fagents")


async def test_a_session_lasts_a_working_day(relay: Relay, browser: Browser) -> None:
    """Twelve hours after the sign-in it is over, used or not."""
    await browser.sign_in(relay.tokens["manage"])
    relay.clock.ahead = LIFE_SECONDS - 60
    assert (await browser.ask("GET", "/v1/agents")).status_code == 200
    relay.clock.ahead = LIFE_SECONDS + 1
    assert (await browser.ask("GET", "/v1/agents")).status_code == 401


async def test_signing_out_takes_the_cookie_away(relay: Relay, browser: Browser) -> None:
    """With the mark, as with all that changes something; without a session there is nothing to do."""
    await browser.sign_in(relay.tokens["manage"])
    assert (await browser.ask("DELETE", "/console/session", Postern_Session="")).status_code == 403
    answer = await browser.ask("DELETE", "/console/session")
    assert answer.status_code == 204
    assert answer.headers["set-cookie"].startswith(f"{COOKIE}=;")
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert (await browser.get("/console/agents")).status_code == 303
    assert (await browser.ask("DELETE", "/console/session")).status_code == 204


async def test_only_the_relay_makes_cookies(relay: Relay, browser: Browser) -> None:
    """Altered, made up, sealed with another key or for another place: as if there were none."""
    await browser.sign_in(relay.tokens["manage"])
    good = browser.cookie
    content = b'{"token": "%s", "mark": "m", "ends_at": 9999999999}' % relay.tokens["manage"].encode()
    key_id = good.split(".")[1]
    stranger = Keyring((MasterKey(key_id, b"k" * 32),)).seal(content, Place("sessions", "cookie", "token"))
    moved = relay.database.keys.seal(content, Place("connections", "con_a", "api_key"))
    for forged in (
        good[:-2] + "AA",
        good.replace("v1", "v2"),
        "x",
        "v1.a.b.c",
        "é",
        relay.tokens["manage"],
        stranger,
        moved,
    ):
        async with browser_of(relay) as other:
            answer = await other.get("/v1/agents", Cookie=f"{COOKIE}={forged}")
        assert answer.status_code == 401, forged
    async with browser_of(relay) as other:
        assert (await other.get("/v1/agents", Cookie=f"{COOKIE}={good}")).status_code == 200


async def test_the_database_away_is_no_bad_token(
    relay: Relay, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever signs in just then is told so with 503, not sent off with 401."""
    fresh = await relay.made("/v1/tokens", {"name": "t", "scopes": ["status"]})
    relay.break_database(monkeypatch)
    answer = await browser.sign_in(fresh["token"])
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
