"""A person at the console, in a real browser: from the sign-in to an agent that is gone."""

from __future__ import annotations

import stat
import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from relay.prestashop.remedies import remedy
from tests.console.stage import PHONE, Pasted, screen
from tests.system.programs import finish
from tests.system.road import STANDS, Connection, Road

GREEN_SECONDS = 2.0
DOMAIN = "shop.test"


def test_from_a_name_to_a_tested_connection_and_back(road: Road, browser: Browser, tmp_path: Path) -> None:
    """Sign in, add an agent, start it with the copied command and see it green within 2 s; create a connection, test
    it, break the store and see red with the right remedy, revoke, see it go."""
    shop = road.start_shop("--domain", DOMAIN)
    _, token = road.new_token("manage")
    with screen(browser, road.url) as shown:
        page = shown.page

        shown.sign_in(token, "agents/new")
        assert page.url == f"{road.url}/console/agents/new"
        page.get_by_label("Name").fill("Shop in Lyon")
        page.get_by_label("Address of the store").fill(f"http://{DOMAIN}=127.0.0.1:{shop.port}")
        page.get_by_role("button", name="Create the agent").click()
        expect(page.locator(".row.agent")).to_have_attribute("data-state", "never")
        command = shown.copied(".copyable.block")
        agent_id = str(page.locator(".row.agent").get_attribute("data-agent"))

        pasted = Pasted(road, command, tmp_path / "home")
        pasted.program.says(STANDS)
        stood = time.monotonic()
        page.wait_for_selector(".row.agent[data-state=online]", timeout=GREEN_SECONDS * 1000)
        assert time.monotonic() - stood < GREEN_SECONDS
        expect(page.locator("#said")).to_have_text("Shop in Lyon: Online")
        token_file = next((pasted.home / ".postern").glob("*/token"))
        assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
        assert token_file.read_text().strip() not in finish("ps", "-eo", "args").out

        page.get_by_role("link", name="Add a connection").click()
        expect(page.get_by_label("Agent", exact=True)).to_have_value(agent_id)
        expect(page.get_by_label("Store URL")).to_have_value(f"http://{DOMAIN}")
        assert page.locator("#published option").get_attribute("value") == f"http://{DOMAIN}"
        page.get_by_label("Name").fill("Lyon, orders")
        page.get_by_label("API key").fill(shop.key)
        page.get_by_role("button", name="Test", exact=True).click()
        expect(page.locator("[data-ok=true]")).to_contain_text("Everything works")
        assert page.locator(".hop[data-status=passed]").count() == 9
        expect(page.locator("[data-hop=tls]")).to_have_attribute("data-status", "skipped")

        page.get_by_role("button", name="Create the connection").click()
        page.wait_for_url("**/console/connections/con_*")
        base = shown.copied(".credentials .copyable:not(.secret)")
        access_key = shown.copied(".secret")
        connection = Connection(base.rsplit("/", 1)[1], access_key, road.http_port, shop.key)
        assert connection.ask("/api/products?limit=1").status == 200

        for knobs, hop, code in (
            ({"webservice": False}, "webservice", "webservice_off"),
            ({"auth_stripped": True}, "key", "authorization_stripped"),
        ):
            with shop.troubled(**knobs):
                page.locator("[data-action=test]").click()
                expect(page.locator("[data-ok=false]")).to_have_attribute("data-code", code)
                expect(page.locator(f"[data-hop={hop}]")).to_have_attribute("data-status", "failed")
                expect(page.locator(".remedy")).to_contain_text(remedy(code).en)
        shop.program.stop()
        page.locator("[data-action=test]").click()
        expect(page.locator("[data-ok=false]")).to_have_attribute("data-code", "store_refused")
        expect(page.locator("[data-hop=tcp]")).to_have_attribute("data-status", "failed")
        expect(page.locator(".station.failed")).to_contain_text("Server")
        expect(page.locator(".remedy")).to_contain_text(remedy("store_refused").en)

        shown.open(f"agents/{agent_id}")
        page.locator("[data-action=revoke]").click()
        shown.confirm()
        expect(page.locator(".head .state")).to_have_text("Revoked")
        pasted.program.ends()
        page.get_by_role("link", name="Lyon, orders").click()
        expect(page.locator("h1")).to_have_text("Lyon, orders")
        page.locator("[data-action=delete]").click()
        shown.confirm()
        page.wait_for_url("**/console/connections")
        shown.open(f"agents/{agent_id}")
        page.locator("[data-action=delete]").click()
        shown.confirm()
        page.wait_for_url("**/console/agents")
        page.wait_for_selector(".empty")
        assert page.locator(f"[data-agent={agent_id}]").count() == 0


def test_the_page_leaves_with_its_token(road: Road, browser: Browser) -> None:
    """A session whose token is revoked is at the sign-in within three seconds, by itself."""
    token_id, token = road.new_token("manage")
    with screen(browser, road.url) as shown:
        shown.sign_in(token, "connections/new")
        shown.page.get_by_role("link", name="Agents").click()
        shown.page.wait_for_url("**/console/agents")
        assert road.api("POST", f"/v1/tokens/{token_id}/revoke").status == 200
        expect(shown.page).to_have_url(f"{road.url}/console/sign-in?to=%2Fconsole%2Fagents", timeout=3000)
        shown.page.fill("#token", token)
        shown.page.press("#token", "Enter")
        expect(shown.page.locator("#refused")).to_contain_text("revoked")


def test_who_may_only_look_is_offered_nothing_else(road: Road, browser: Browser) -> None:
    """With the scope `status` there is no button that would be refused, and no page of tokens."""
    agent = road.new_agent("Looked at")
    _, token = road.new_token("status")
    with screen(browser, road.url) as shown:
        shown.sign_in(token)
        expect(shown.page.locator(f"[data-agent={agent.id}]")).to_be_visible()
        for path in ("agents", f"agents/{agent.id}", "connections", "events"):
            shown.open(path)
            assert shown.page.locator("main").get_by_role("button", name="Revoke", exact=True).count() == 0
            assert shown.page.locator("main [data-action], main a.primary").count() == 0
        expect(shown.page.get_by_role("link", name="Tokens")).to_be_hidden()
        shown.open("tokens")
        expect(shown.page.locator(".empty")).to_contain_text("does not reach this far")


def test_tokens_are_made_shown_once_and_ended(road: Road, browser: Browser) -> None:
    """The new token works until it is revoked; nobody is offered more than they have; the audit tells of both."""
    _, token = road.new_token("manage")
    with screen(browser, road.url, size=PHONE) as shown:
        page = shown.page
        shown.sign_in(token, "tokens")
        assert "operate" not in page.get_by_label("Scope").locator("option").all_text_contents()
        assert page.get_by_label("Scope").locator("option").count() == 4
        page.get_by_label("Name").fill("For a dashboard")
        page.get_by_role("button", name="Create the token").click()
        made = shown.copied(".secret")
        assert road.api("GET", "/v1/agents", token=made).status == 200
        page.locator("tr", has_text="For a dashboard").get_by_role("button", name="Revoke").click()
        shown.confirm()
        expect(page.locator("tr", has_text="For a dashboard")).to_contain_text("Revoked")
        assert road.api("GET", "/v1/agents", token=made).status == 401
        shown.open("audit")
        expect(page.locator("tbody tr").nth(0)).to_contain_text("API token revoked")
        expect(page.locator("tbody tr").nth(1)).to_contain_text("For a dashboard")


def test_a_strangers_text_stays_text(road: Road, browser: Browser) -> None:
    """Names and what stores say are shown as they are, never as markup."""
    name = "<img src=x onerror=alert(1)>"
    entry = road.new_agent(name)
    _, token = road.new_token("manage")
    with screen(browser, road.url) as shown:
        shown.sign_in(token)
        expect(shown.page.locator(f"[data-agent={entry.id}] a")).to_have_text(name)
        shown.open(f"agents/{entry.id}")
        expect(shown.page.locator("h1")).to_have_text(name)
        assert shown.page.locator("main img").count() == 0
        assert name in shown.page.title()


@pytest.mark.parametrize("language", ["en-GB", "fr-FR"])
def test_the_page_speaks_the_browsers_language_until_told_otherwise(
    road: Road, browser: Browser, language: str
) -> None:
    """The remedies too; the switch is remembered."""
    entry = road.new_agent(f"Away {language}")
    connection = road.connect(entry.id, "http://shop.lan", "K" * 32)
    with screen(browser, road.url, language=language) as shown:
        shown.sign_in(road.operator, f"connections/{connection.id}")
        shown.page.locator("[data-action=test]").click()
        said = remedy("agent_offline")
        expect(shown.page.locator(".remedy")).to_be_visible()
        expect(shown.page.locator(".remedy")).to_contain_text(said.en if language == "en-GB" else said.fr)
        other = "Français" if language == "en-GB" else "English"
        shown.page.get_by_title(other).first.click()
        expect(shown.page.locator("html")).to_have_attribute("lang", "fr" if language == "en-GB" else "en")
        shown.open("agents")
        expect(shown.page.locator("html")).to_have_attribute("lang", "fr" if language == "en-GB" else "en")
