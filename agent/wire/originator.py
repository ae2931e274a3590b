"""On whose behalf a channel is opened: what its originator address says (RFC 4254 §7.2), from relay to agent.

`con_… req_…`: the connection, and the request that needed the channel; later requests may pass through it as well. A
relay of another version may leave the request out, or say more behind it.
"""

from __future__ import annotations

from typing import NamedTuple


class Originator(NamedTuple):
    connection: str
    request: str = ""
    """Empty: the relay did not say."""

    def __str__(self) -> str:
        return f"{self.connection} {self.request}".rstrip(" ")

    @classmethod
    def parse(cls, text: str) -> Originator:
        """Read what came with a channel: text from outside, of whatever length and shape."""
        connection, request, *_ = [*text.split(" ", 2), ""]
        return cls(connection, request)
