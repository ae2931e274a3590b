"""What the browser tests and the screenshots look at: a relay with shops and agents as real processes, and Chromium."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    ViewportSize,
    sync_playwright,
)

from tests.system.programs import BIN, Program
from tests.system.road import Agent, Connection, Entry, Road, Shop

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PHONE: ViewportSize = {"width": 390, "height": 844}
DESK: ViewportSize = {"width": 1440, "height": 900}
MILLISECONDS = 10_000
SPELL_SECONDS = 15.0
PAUSES = (0.5, 0.25, 0.4, 0.15, 0.6, 0.2, 0.3)  # seconds between requests, by spell: no shop is asked evenly
REPORT_BREACHES = (
    "addEventListener('securitypolicyviolation', (event) => console.error('CSP', event.violatedDirective))"
)
# what a browser says by itself where a page asks whether somebody is signed in, or the relay has gone
EXPECTED = ("Failed to load resource",)


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


@dataclass
class Screen:
    """A page of the console, and what it did that no page of ours may do."""

    page: Page
    url: str
    requested: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(MILLISECONDS)
        self.page.on("request", self._note_request)
        self.page.on("console", self._note_message)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def open(self, path: str) -> None:
        self.page.goto(f"{self.url}/console/{path}")
        self.page.wait_for_selector("html[data-ready]")

    def sign_in(self, token: str, path: str = "agents") -> None:
        self.page.goto(f"{self.url}/console/{path}")
        self.page.fill("#token", token)
        self.page.press("#token", "Enter")
        self.page.wait_for_selector("html[data-ready]")

    def copied(self, place: str) -> str:
        """Press the copy button there; what is in the clipboard then."""
        found = self.page.locator(place).first
        found.locator(".copy").click()
        found.locator(".copy.done").wait_for()
        return str(self.page.evaluate("navigator.clipboard.readText()"))

    def confirm(self) -> None:
        """Say yes to the question."""
        self.page.click("dialog .danger")

    def foreign(self) -> list[str]:
        """Requests to anybody but the relay."""
        own = urlsplit(self.url)
        return [url for url in self.requested if urlsplit(url)[:2] != (own.scheme, own.netloc)]

    def _note_request(self, request: Request) -> None:
        self.requested.append(request.url)

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(EXPECTED):
            self.complaints.append(message.text)


@contextlib.contextmanager
def screen(
    browser: Browser,
    url: str,
    *,
    size: ViewportSize | None = None,
    dark: bool = False,
    language: str = "en-GB",
) -> Iterator[Screen]:
    """A browser profile of its own, as nobody has signed in there. AssertionError at the end if the page strayed."""
    context: BrowserContext = browser.new_context(
        viewport=size or DESK, color_scheme="dark" if dark else "light", locale=language
    )
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=url)
    context.add_init_script(REPORT_BREACHES)
    shown = Screen(context.new_page(), url)
    try:
        yield shown
    finally:
        context.close()
    assert shown.foreign() == []
    assert shown.complaints == []


@dataclass
class Stage:
    """Two shops behind one agent, a third behind another, an agent that is away, and one that never came."""

    road: Road
    lyon: Agent
    shop: Shop
    connection: Connection
    broken: Connection
    never: Entry
    _over: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def traffic(self) -> Iterator[None]:
        """A connector that asks now and then, while the block runs."""
        asking = threading.Thread(target=self._ask)
        asking.start()
        try:
            yield
        finally:
            self._over.set()
            asking.join()

    def _ask(self) -> None:
        turn = 0
        while not self._over.wait(PAUSES[int(time.monotonic() / SPELL_SECONDS) % len(PAUSES)]):
            turn += 1
            self.connection.ask(f"/api/products?limit={1 + turn % 5}")
            if turn % 4 == 0:
                self.broken.ask("/api/orders")


def build(road: Road) -> Stage:
    shop = road.start_shop("--domain", "shop.lyon.lan")
    outlet = road.start_shop("--domain", "outlet.lyon.lan")
    lyon = road.start_agent(
        road.new_agent("Shop in Lyon"),
        [f"http://shop.lyon.lan=127.0.0.1:{shop.port}", f"http://outlet.lyon.lan=127.0.0.1:{outlet.port}"],
    )
    boutique = road.start_shop("--domain", "boutique.marseille.lan")
    marseille = road.start_agent(
        road.new_agent("Marseille, warehouse"), [f"http://boutique.marseille.lan=127.0.0.1:{boutique.port}"]
    )
    nice = road.start_agent(road.new_agent("Nice, airport"), ["http://nice.lan=127.0.0.1:9"])
    nice.program.stop()
    connection = road.connect(lyon.entry.id, "http://shop.lyon.lan", shop.key, name="Lyon, orders")
    road.connect(lyon.entry.id, "http://outlet.lyon.lan", outlet.key, name="Outlet, catalogue")
    broken = road.connect(marseille.entry.id, "http://boutique.marseille.lan", "X" * 32, name="Marseille, stock")
    return Stage(road, lyon, shop, connection, broken, road.new_agent("Paris 11e"))


class Pasted:
    """A text pasted into a shell of a machine on which `postern-agent` is installed."""

    def __init__(self, road: Road, text: str, home: Path) -> None:
        home.mkdir()
        self.home, script = home, home / "pasted.sh"
        script.write_text(text + "\n")
        path = f"PATH={BIN}:{os.environ['PATH']}"
        self.program: Program = road.start("pasted", ["env", f"HOME={home}", path, "bash", str(script)])

    def stop(self) -> None:
        """The shell, and what it runs in the foreground."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.program.pid, signal.SIGTERM)
        self.program.ends()
