"""All pages of the console, at both widths and in both themes: whether everybody can use them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.console.stage import DESK, PHONE, Screen, Stage, screen

AXE = Axe()
THEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
NARROW: ViewportSize = {"width": 320, "height": 640}  # WCAG 2.2, 1.4.10: no scrolling in two directions


def run_test(shown: Screen) -> None:
    shown.page.locator("[data-action=test]").click()
    shown.page.wait_for_selector("[data-ok]")


def asked(shown: Screen) -> None:
    shown.page.locator("[data-action=delete]").click()
    shown.page.wait_for_selector("dialog[open]")


def made(shown: Screen) -> None:
    """An agent whose command waits to be copied."""
    shown.page.get_by_label("Name").fill(f"Waiting {id(shown)}")
    shown.page.get_by_label("Address of the store").fill("http://shop.lan")
    shown.page.get_by_role("button", name="Create the agent").click()
    shown.page.wait_for_selector(".row.agent")


def refused(shown: Screen) -> None:
    """A form that the relay has found fault with."""
    shown.page.get_by_label("Name").fill("x")
    shown.page.get_by_label("Mode").select_option("cloud")
    shown.page.get_by_label("Store URL").fill("ftp://nothing")
    shown.page.get_by_label("API key").fill("short")
    shown.page.get_by_role("button", name="Create the connection").click()
    shown.page.wait_for_selector("[aria-invalid=true]")


PAGES: dict[str, tuple[str, Callable[[Screen], None] | None]] = {
    "agents": ("agents", None),
    "new agent": ("agents/new", None),
    "command": ("agents/new", made),
    "agent": ("agents/{agent}", None),
    "question": ("agents/{agent}", asked),
    "connections": ("connections", None),
    "connection form": ("connections/new", None),
    "refused form": ("connections/new", refused),
    "connection": ("connections/{connection}", None),
    "passed test": ("connections/{connection}", run_test),
    "failed test": ("connections/{broken}", run_test),
    "edit": ("connections/{connection}/edit", None),
    "events": ("events", None),
    "tokens": ("tokens", None),
    "audit": ("audit", None),
    "nowhere": ("nowhere", None),
}


@pytest.fixture(scope="module")
def shown(browser: Browser, stage: Stage) -> Iterator[Screen]:
    with screen(browser, stage.road.url) as shown:
        shown.page.emulate_media(reduced_motion="reduce")
        shown.sign_in(stage.road.operator)
        yield shown


def show(shown: Screen, stage: Stage, name: str) -> None:
    path, then = PAGES[name]
    shown.open(path.format(agent=stage.lyon.entry.id, connection=stage.connection.id, broken=stage.broken.id))
    if then:
        then(shown)


def sideways(page: Page) -> int:
    """Pixels that stand out to the right."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(shown: Screen, stage: Stage, name: str) -> None:
    """No violation of what axe-core knows; nothing has to be scrolled sideways; one heading says where one is."""
    show(shown, stage, name)
    for size in (PHONE, DESK):
        shown.page.set_viewport_size(size)
        assert sideways(shown.page) <= 0
        assert shown.page.locator("h1:visible").count() == 1
        for theme in THEMES:
            shown.page.emulate_media(color_scheme=theme)
            found = AXE.run(shown.page)
            assert found.violations_count == 0, f"{size} {theme}\n{found.generate_report()}"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("token", ["", "ptk_wrong"])
def test_axe_finds_nothing_at_the_gate(browser: Browser, stage: Stage, token: str, dark: bool) -> None:
    """The sign-in, also when it has refused somebody."""
    with screen(browser, stage.road.url, size=PHONE, dark=dark) as shown:
        shown.page.goto(f"{shown.url}/console")
        if token:
            shown.page.fill("#token", token)
            shown.page.press("#token", "Enter")
            shown.page.wait_for_selector("#refused")
        found = AXE.run(shown.page)
        assert found.violations_count == 0, found.generate_report()


def test_the_smallest_screen_shows_everything(browser: Browser, stage: Stage) -> None:
    """320 pixels are enough (WCAG 1.4.10), also for French words."""
    with screen(browser, stage.road.url, size=NARROW, language="fr-FR") as shown:
        shown.sign_in(stage.road.operator)
        for name in ("agents", "agent", "connections", "failed test", "edit", "tokens", "audit"):
            show(shown, stage, name)
            assert sideways(shown.page) <= 0, name


def test_everything_is_reached_by_keyboard(browser: Browser, stage: Stage) -> None:
    """Sign in, skip to the content, open an agent, ask for its end, and think better of it: without a mouse."""
    with screen(browser, stage.road.url) as shown:
        page, keys = shown.page, shown.page.keyboard
        page.goto(f"{shown.url}/console")
        expect(page.locator("#token")).to_be_focused()
        keys.type(stage.road.operator)
        keys.press("Enter")
        page.wait_for_selector("html[data-ready]")
        keys.press("Tab")
        expect(page.locator(".skip")).to_be_focused()
        keys.press("Enter")
        link = page.locator(f"[data-agent={stage.lyon.entry.id}] a")
        for _ in range(20):
            if link.evaluate("node => node === document.activeElement"):
                break
            keys.press("Tab")
        keys.press("Enter")
        expect(page.locator("h1")).to_be_focused()
        expect(page.locator("h1")).to_have_text("Shop in Lyon")
        revoke = page.locator("[data-action=revoke]")
        for _ in range(30):
            if revoke.evaluate("node => node === document.activeElement"):
                break
            keys.press("Tab")
        keys.press("Enter")
        expect(page.locator("dialog").get_by_role("button", name="Cancel")).to_be_focused()
        keys.press("Escape")
        expect(page.locator("dialog")).to_have_count(0)
        expect(revoke).to_be_focused()
        assert stage.lyon.program.running


def test_without_scripts_a_sentence_says_so(browser: Browser, stage: Stage) -> None:
    """The sign-in works, and the page says where else things can be seen."""
    page = browser.new_page(java_script_enabled=False)
    page.goto(f"{stage.road.url}/console")
    page.fill("#token", stage.road.operator)
    page.press("#token", "Enter")
    expect(page.locator("main")).to_contain_text("postern-relay status", use_inner_text=True)
    page.close()
