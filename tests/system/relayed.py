"""The road through relay and agent, as the shop of the conformance tests: same requests, same answers expected."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tests.store_conformance.asking import Response
from tests.store_conformance.direct import exchange
from tests.system.caller import request
from tests.system.road import Connection

SECONDS = 30.0  # for a whole exchange


@dataclass(slots=True)
class RelayedShop:
    """Calls the store through one connection per key; the caller shows that connection's access key."""

    relay_port: int
    connections: Mapping[str, Connection]  # by the name of the key in the assertions, such as FULL
    direct: bool = False

    def key(self, name: str) -> str:
        return self.connections[name].access_key if name in self.connections else name

    async def request(
        self, method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
    ) -> Response:
        given = [(name, value) for name, value in headers if name.lower() != "host"]
        data = request(method, f"/to/{self._connection(target, given).id}{target}", given, body)
        async with asyncio.timeout(SECONDS):
            return await exchange("127.0.0.1", self.relay_port, data, bodiless=method == "HEAD")

    def _connection(self, target: str, headers: Iterable[tuple[str, str]]) -> Connection:
        """The one whose access key is shown; the one of the key FULL where none is."""
        shown = re.findall(r"ws_key=(\w+)", target) + [_user(value) for name, value in headers if "uthoriz" in name]
        found = [each for each in self.connections.values() if each.access_key in shown]
        return found[0] if found else self.connections["FULL"]


def _user(value: str) -> str:
    scheme, _, rest = value.partition(" ")
    return base64.b64decode(rest).decode().partition(":")[0] if scheme.lower() == "basic" else ""
