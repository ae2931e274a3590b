"""Makes the pictures of the console under docs/ anew: python -m tests.console.screenshots (takes three minutes)."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser

from tests.console.stage import DESK, PHONE, Stage, build, chromium, screen
from tests.system.programs import ROOT
from tests.system.road import Road

TRAFFIC_SECONDS = 170.0  # more than five of the slices in which traffic is counted
MOST_BYTES = 150_000


def main() -> int:
    with tempfile.TemporaryDirectory() as directory, chromium() as browser:
        road = Road(Path(directory))
        try:
            road.start_relay()
            stage = build(road)
            with stage.traffic():
                time.sleep(TRAFFIC_SECONDS)
                shoot_all(browser, stage, ROOT / "docs")
        finally:
            road.close()
    return 0


def shoot_all(browser: Browser, stage: Stage, docs: Path) -> None:
    for size in (PHONE, DESK):
        for theme in ("light", "dark"):
            with screen(browser, stage.road.url, size=size, dark=theme == "dark") as shown:
                shown.page.emulate_media(reduced_motion="reduce")
                shown.sign_in(stage.road.operator)
                shoot(shown.page.screenshot(), docs / f"console-agents-{size['width']}-{theme}.png")
                shown.open(f"connections/{stage.broken.id}")
                shown.page.locator("[data-action=test]").click()
                shown.page.wait_for_selector("[data-ok]")
                shoot(shown.page.screenshot(), docs / f"console-test-{size['width']}-{theme}.png")


def shoot(picture: bytes, path: Path) -> None:
    if len(picture) > MOST_BYTES:
        raise ValueError(f"{path.name} would have {len(picture)} bytes, and {MOST_BYTES} is the most")
    path.write_bytes(picture)
    print(f"{path.name}: {len(picture) // 1000} kB")


if __name__ == "__main__":
    sys.exit(main())
