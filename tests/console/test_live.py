"""What happens shows by itself: events on their page, traffic as a line, a filter that the relay applies."""

from __future__ import annotations

import re

from playwright.sync_api import Browser, expect

from tests.console.stage import PHONE, Stage, screen

SECONDS = 1000  # milliseconds


def test_events_show_as_they_happen(stage: Stage, browser: Browser) -> None:
    """The page follows the relay's stream: an agent that comes and goes stands there within seconds, with its name."""
    entry = stage.road.new_agent("Toulouse")
    with screen(browser, stage.road.url, size=PHONE) as shown:
        shown.sign_in(stage.road.operator, "events")
        expect(shown.page.locator("#pulse")).to_have_attribute("data-mode", "live")
        agent = stage.road.start_agent(entry, ["http://toulouse.lan=127.0.0.1:9"])
        online = shown.page.locator(".happening", has_text="Agent online").filter(has_text="Toulouse")
        expect(online.first).to_be_visible(timeout=5 * SECONDS)
        agent.program.stop()
        gone = shown.page.locator(".happening", has_text=re.compile("Agent (offline|stopped)")).filter(
            has_text="Toulouse"
        )
        expect(gone.first).to_be_visible(timeout=5 * SECONDS)
        shown.page.get_by_role("link", name="Toulouse").first.click()
        expect(shown.page.locator("h1")).to_have_text("Toulouse")


def test_traffic_draws_a_line(stage: Stage, browser: Browser) -> None:
    """Requests through an agent show in its row, with their number, as soon as they are over."""
    for _ in range(7):
        assert stage.connection.ask("/api/products?limit=1").status == 200
    with screen(browser, stage.road.url) as shown:
        shown.sign_in(stage.road.operator)
        row = shown.page.locator(f"[data-agent={stage.lyon.entry.id}]")
        expect(row.locator(".figures")).to_contain_text(re.compile(r"[7-9] requests · p95 [0-9.]+ ms"))
        expect(row.locator("svg.spark:not(.still) path.line")).to_be_visible()
        still = shown.page.locator(f"[data-agent={stage.never.id}] svg.spark")
        expect(still).to_have_count(0)


def test_the_list_is_narrowed_by_the_relay(stage: Stage, browser: Browser) -> None:
    """By words of the name and by state; both are undone again."""
    with screen(browser, stage.road.url) as shown:
        shown.sign_in(stage.road.operator)
        page = shown.page
        rows = page.locator(".row.agent")
        before = rows.count()
        assert before >= 4
        page.get_by_label("Find an agent").fill("lyon")
        expect(rows).to_have_count(1)
        expect(rows).to_contain_text("Shop in Lyon")
        page.get_by_label("Find an agent").fill("")
        expect(rows).to_have_count(before)
        page.get_by_role("button", name="Never seen").click()
        expect(page.get_by_role("button", name="Never seen")).to_have_attribute("aria-pressed", "true")
        expect(rows.filter(has_text="Paris 11e")).to_have_count(1)
        expect(rows.filter(has_text="Shop in Lyon")).to_have_count(0)
        page.get_by_role("button", name="All").click()
        expect(rows).to_have_count(before)


def test_a_relay_that_is_away_is_said(stage: Stage, browser: Browser) -> None:
    """What is shown stays, marked as not up to date, and is up to date again once the relay is back."""
    with screen(browser, stage.road.url) as shown:
        shown.sign_in(stage.road.operator)
        row = shown.page.locator(f"[data-agent={stage.lyon.entry.id}]")
        shown.page.route("**/v1/**", lambda route: route.abort())
        expect(shown.page.locator("#pulse")).to_have_attribute("data-mode", "lost", timeout=15 * SECONDS)
        expect(row).to_be_visible()
        shown.page.unroute("**/v1/**")
        expect(shown.page.locator("#pulse")).not_to_have_attribute("data-mode", "lost", timeout=15 * SECONDS)
