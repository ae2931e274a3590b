"""A browser without a screen: it keeps cookies and says of itself what browsers say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from relay.api.sessions import COOKIE, MARK_HEADER
from tests.relay.api.scene import URL, Relay

SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin", "Origin": URL}


@dataclass
class Browser:
    relay: Relay
    client: httpx.AsyncClient
    mark: str = ""
    about: Mapping[str, str] = field(default_factory=lambda: SAME_ORIGIN)

    @property
    def cookie(self) -> str:
        return self.client.cookies.get(COOKIE) or ""

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(path, headers=_encoded(headers))

    async def sign_in(self, token: str, to: str = "/console/agents", **about: str) -> httpx.Response:
        """Send the form."""
        answer = await self.client.post(
            "/console/sign-in", data={"token": token, "to": to}, headers=about or self.about
        )
        if answer.status_code == 303:
            self.mark = (await self.get("/console/session")).json()["mark"]
        return answer

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """As the page's own script does, unless `headers` say otherwise; one with an empty value is not sent."""
        sent = {
            **self.about,
            MARK_HEADER: self.mark,
            **{name.replace("_", "-"): text for name, text in headers.items()},
        }
        return await self.client.request(method, path, json=body, headers=_encoded(sent))


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), text.encode()) for name, text in headers.items() if text]


@asynccontextmanager
async def browser_of(relay: Relay) -> AsyncIterator[Browser]:
    transport = httpx.ASGITransport(app=relay.surface, raise_app_exceptions=False, client=("198.51.100.9", 40000))
    async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
        yield Browser(relay, client)
