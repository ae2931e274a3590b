"""How many there are, of all accounts together: what metrics ask of the database."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import exists, func, select

from relay.database.engine import Database
from relay.database.tables import AgentRow, ConnectionRow, InstanceRow, TriggerEventRow
from relay.trigger_records import Delivery


@dataclass(frozen=True, slots=True)
class Figures:
    agents: int
    """That have enrolled and are not revoked."""
    never: int
    """That have not enrolled yet."""
    revoked: int
    connections: int
    waiting: int
    """Events for endpoints that are not delivered yet."""
    dead: int
    """Events that were given up."""


async def figures(database: Database) -> Figures:
    """Raises DatabaseUnavailable."""
    enrolled = exists().where(InstanceRow.account == AgentRow.account, InstanceRow.agent == AgentRow.id)
    valid = AgentRow.revoked_at.is_(None)
    number = func.count()
    deliveries = (Delivery.WAITING, Delivery.DEAD)
    async with database.reading() as session:
        agents = {
            (bool(known), bool(kept)): int(many)
            for known, kept, many in await session.execute(select(enrolled, valid, number).group_by(enrolled, valid))
        }
        connections = await session.scalar(select(number).select_from(ConnectionRow))
        column = TriggerEventRow.delivery
        by_delivery = select(column, number).where(column.in_(deliveries)).group_by(column)
        events = {delivery: int(many) for delivery, many in await session.execute(by_delivery)}
    return Figures(
        agents=agents.get((True, True), 0),
        never=agents.get((False, True), 0),
        revoked=agents.get((True, False), 0) + agents.get((False, False), 0),
        connections=int(connections or 0),
        waiting=events.get(Delivery.WAITING, 0),
        dead=events.get(Delivery.DEAD, 0),
    )
