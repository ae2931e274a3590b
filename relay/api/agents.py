"""`/v1/agents`: the on-premise agents of an account, their access tokens and instances, and how they are now."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Query, Response
from pydantic import BaseModel, Field

from relay.api.agent_shapes import (
    Agent,
    AgentCreated,
    AgentForm,
    AgentPatch,
    AgentToken,
    AgentTokenCreated,
    AgentTokenForm,
    Instance,
)
from relay.api.answers import nothing
from relay.api.authentication import AccountNamed, Asking, ManageCaller, StatusCaller, account_router, narrowed, owner
from relay.api.idempotency import Creating
from relay.api.lists import Listing, PartWanted
from relay.api.live import LiveAgent, look, searched
from relay.api.openapi import CREATED, SHOWN, refusals
from relay.api.parts import Parts, Serving
from relay.api.preconditions import IfMatch, etag, matching
from relay.database import agent_tokens, agents, instances
from relay.database.agent_search import Search
from relay.database.errors import NotFound
from relay.database.names import is_id
from relay.database.paging import LIMIT_MOST
from relay.database.records import Accounts, AgentRecord
from relay.health.conditions import AgentState

OPTIONS_MOST = 2 * LIMIT_MOST
"""Entries of a drop-down list; whoever has more agents looks for one by its name."""

router = account_router("/v1/agents", "agents")


class Option(BaseModel):
    """An entry of a drop-down list."""

    value: Annotated[str, Field(examples=["agt_k3v7qjx2m5w4tzab"])]
    label: Annotated[str, Field(examples=["Shop in Lyon"])]


StateWanted = Annotated[AgentState | None, Query(description="Only agents in this state.")]
WordsWanted = Annotated[
    str | None, Query(alias="q", description="Only agents with this in their name.", min_length=1, max_length=100)
]
VersionWanted = Annotated[
    str | None, Query(description="Only agents of which an instance runs this version.", min_length=1, max_length=100)
]
ShapeWanted = Annotated[
    Literal["list", "options"], Query(alias="as", description="`options`: a plain array for a connector's form.")
]


@router.get("", summary="List agents, with how they are now", responses=refusals("not_found"))
async def list_agents(
    *,
    parts: Serving,
    asking: StatusCaller,
    part: PartWanted,
    account: AccountNamed = None,
    state: StateWanted = None,
    words: WordsWanted = None,
    version: VersionWanted = None,
    shape: ShapeWanted = "list",
) -> Listing[Agent] | list[Option]:
    """By name. With `as=options`, all of them at once (at most 1,000) as `[{value, label}]`."""
    accounts = narrowed(asking, account)
    search = searched(parts, state, words, version)
    if shape == "options":
        return await _options(parts, accounts, search)
    page = await agents.page(parts.database, accounts, cursor=part.cursor, limit=part.limit, search=search)
    found = await look(parts, accounts, page.items)
    return Listing(items=[Agent.of(agent, parts.node) for agent in found], next=page.next)


@router.post(
    "",
    status_code=201,
    summary="Create an agent",
    responses=CREATED | refusals("name_taken", "not_found", "answer_not_kept"),
)
async def create_agent(
    parts: Serving, database: Creating, asking: ManageCaller, form: AgentForm, response: Response
) -> AgentCreated:
    """The access token is shown in this answer and never again."""
    account = await owner(parts, asking, form.account)
    new = await agents.create(
        database, account, form.name, by=asking.by, places=form.places, token_expires_at=form.token_expires_at
    )
    response.headers["ETag"] = etag(new.agent)
    response.headers["Location"] = f"/v1/agents/{new.agent.id}"
    agent = await _now(parts, asking, new.agent)
    return AgentCreated.of_new(agent, new, parts.node)


@router.get(
    "/{agent}", summary="Show an agent, with its instances and tunnels", responses=SHOWN | refusals("not_found")
)
async def get_agent(parts: Serving, asking: StatusCaller, agent: str, response: Response) -> Agent:
    record = await _find(parts, asking, agent)
    response.headers["ETag"] = etag(record)
    return Agent.of(await _now(parts, asking, record), parts.node)


@router.patch(
    "/{agent}",
    summary="Rename an agent, or change how many instances it may have",
    responses=SHOWN | refusals("not_found", "name_taken", "edited_meanwhile"),
)
async def update_agent(
    *, parts: Serving, asking: ManageCaller, agent: str, form: AgentPatch, response: Response, if_match: IfMatch = None
) -> Agent:
    expect = matching(if_match)
    record = await agents.update(parts.database, asking.sees, agent, by=asking.by, expect=expect, **form.given())
    response.headers["ETag"] = etag(record)
    return Agent.of(await _now(parts, asking, record), parts.node)


@router.post("/{agent}/revoke", summary="End all use of an agent for good", responses=refusals("not_found"))
async def revoke_agent(parts: Serving, asking: ManageCaller, agent: str) -> Agent:
    """Its tunnels are cut within a second, and nothing of it enrols again. It stays in the list."""
    record = await agents.revoke(parts.database, asking.sees, agent, by=asking.by)
    parts.directory.wake()
    return Agent.of(await _now(parts, asking, record), parts.node)


@router.delete(
    "/{agent}",
    status_code=204,
    summary="Delete an agent",
    responses=refusals("not_found", "conflict", "edited_meanwhile"),
)
async def delete_agent(parts: Serving, asking: ManageCaller, agent: str, if_match: IfMatch = None) -> Response:
    """With its tokens and instances; refused (`agent_in_use`) while connections use it."""
    await agents.delete(parts.database, asking.sees, agent, by=asking.by, expect=matching(if_match))
    parts.directory.wake()
    return nothing()


@router.get("/{agent}/tokens", summary="List an agent's access tokens", responses=refusals("not_found"))
async def list_agent_tokens(parts: Serving, asking: StatusCaller, agent: str, part: PartWanted) -> Listing[AgentToken]:
    """Revoked ones included, oldest first."""
    page = await agent_tokens.page(parts.database, asking.sees, agent, cursor=part.cursor, limit=part.limit)
    return Listing.of(page, AgentToken.of)


@router.post(
    "/{agent}/tokens",
    status_code=201,
    summary="Create another access token for an agent",
    responses=refusals("not_found", "conflict", "answer_not_kept"),
)
async def create_agent_token(
    database: Creating, asking: ManageCaller, agent: str, form: AgentTokenForm
) -> AgentTokenCreated:
    """Two may be valid at once (`two_tokens_valid`). It is shown in this answer and never again."""
    new = await agent_tokens.create(database, asking.sees, agent, by=asking.by, expires_at=form.expires_at)
    return AgentTokenCreated.of_new(new)


@router.post("/{agent}/tokens/{token}/revoke", summary="End an access token", responses=refusals("not_found"))
async def revoke_agent_token(parts: Serving, asking: ManageCaller, agent: str, token: str) -> AgentToken:
    """The tunnels of the instances that showed it last are cut within a second."""
    record = await agent_tokens.revoke(parts.database, asking.sees, agent, token, by=asking.by)
    parts.directory.wake()
    return AgentToken.of(record)


@router.get("/{agent}/instances", summary="List an agent's instances", responses=refusals("not_found"))
async def list_instances(parts: Serving, asking: StatusCaller, agent: str, part: PartWanted) -> Listing[Instance]:
    """Revoked ones included, in the order of their enrolment."""
    record = await _find(parts, asking, agent)
    page = await instances.page(parts.database, record.account, record.id, cursor=part.cursor, limit=part.limit)
    tunnels = parts.registry.of(record.id)
    return Listing.of(page, lambda instance: Instance.of(instance, tunnels))


@router.post(
    "/{agent}/instances/{instance}/release",
    status_code=204,
    summary="Free the place of an instance",
    responses=refusals("not_found", "conflict"),
)
async def release_instance(parts: Serving, asking: ManageCaller, agent: str, instance: str) -> Response:
    """Its tunnels are cut; it may enrol again with a token, if there is a place."""
    await instances.release(parts.database, asking.sees, agent, instance, by=asking.by)
    parts.directory.wake()
    return nothing()


@router.post(
    "/{agent}/instances/{instance}/revoke",
    summary="Shut an instance out for good",
    responses=refusals("not_found"),
)
async def revoke_instance(parts: Serving, asking: ManageCaller, agent: str, instance: str) -> Instance:
    """Its tunnels are cut within a second and its place is free; its key never enrols again."""
    record = await instances.revoke(parts.database, asking.sees, agent, instance, by=asking.by)
    parts.directory.wake()
    return Instance.of(record, parts.registry.of(agent))


async def _find(parts: Parts, asking: Asking, agent: str) -> AgentRecord:
    """By id alone: a name would be ambiguous to an operator. Raises NotFound."""
    if not is_id(agent, "agt"):
        raise NotFound("agent", agent)
    return await agents.find(parts.database, asking.sees, agent)


async def _now(parts: Parts, asking: Asking, record: AgentRecord) -> LiveAgent:
    (agent,) = await look(parts, asking.sees, [record])
    return agent


async def _options(parts: Parts, accounts: Accounts, search: Search) -> list[Option]:
    """The first ones, by name."""
    options: list[Option] = []
    cursor: str | None = None
    while len(options) < OPTIONS_MOST:
        page = await agents.page(parts.database, accounts, cursor=cursor, limit=LIMIT_MOST, search=search)
        options += [Option(value=record.id, label=record.name) for record in page.items]
        cursor = page.next
        if cursor is None:
            break
    return options[:OPTIONS_MOST]
