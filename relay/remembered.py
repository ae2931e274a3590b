"""What the gateway and the tunnels look up, out of the database's memory: its failures in their words."""

from __future__ import annotations

from relay.database.directory import Directory
from relay.database.errors import DatabaseUnavailable
from relay.gateway.gateway import DirectoryUnavailableError
from relay.records import Caller, Connection
from relay.tunnels.websocket import TicketsUnavailableError


class Remembered(Directory):
    """The database's directory, with the failures that the gateway and the tunnels know."""

    async def connection(self, connection: str) -> Connection | None:
        try:
            return await super().connection(connection)
        except DatabaseUnavailable:
            raise DirectoryUnavailableError from None

    async def caller(self, sha256: str) -> Caller | None:
        try:
            return await super().caller(sha256)
        except DatabaseUnavailable:
            raise DirectoryUnavailableError from None

    async def admits(self, sha256: str) -> bool:
        """Whether the digest is of a good tunnel ticket."""
        try:
            return await self.ticket(sha256) is not None
        except DatabaseUnavailable:
            raise TicketsUnavailableError from None

    async def stock_key(self, agent: str, digest: str) -> str | None:
        """The id of the key that may log in as the agent; nobody logs in while that cannot be looked up."""
        try:
            key = await self.agent_key(agent, digest)
        except DatabaseUnavailable:
            return None
        return key.id if key else None
