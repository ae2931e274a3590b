"""The connection test: walks hop by hop to a store's webservice, stops at the first that fails, and writes nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from relay.gateway.call import Answer, call
from relay.gateway.errors import GatewayError
from relay.gateway.gateway import Gateway
from relay.gateway.routes import Routes
from relay.prestashop.diagnosis import GATEWAY_STEPS, Again, Step, Trouble, judge, proves_stripping
from relay.prestashop.reading import METHODS, Noise, Root, noise, read_root
from relay.prestashop.remedies import Remedy, remedy
from relay.records import Connection, KeyPlace, Mode, StoreUrl
from relay.tunnels.registry import Registry

ROOT_BYTES = 2 * 1024 * 1024
ANSWER_SECONDS = 30.0
DISPATCHER = "/webservice/dispatcher.php?url="
"""The webservice behind all rewriting rules; it answers where `/api` is not switched on."""
WANTED = {
    **dict.fromkeys(
        ("products", "combinations", "stock_availables", "categories", "manufacturers", "images", "orders",
         "order_states", "order_histories", "customers", "addresses", "carts", "carriers", "currencies", "languages"),
        ("GET", "HEAD"),
    ),
    "order_histories": ("GET", "HEAD", "POST"),
}  # fmt: skip
"""What Postern's own actions need; what is missing of it is a finding of a passed test."""

AgentState = Literal["known", "unknown", "revoked"]
LookUpAgent = Callable[[str, str], Awaitable[AgentState]]
"""Asked with account and agent id."""


@dataclass(slots=True)
class StepResult:
    """One hop; `remedy` only where it failed. `ms` is None where the hop was not timed by itself."""

    name: Step
    status: Literal["passed", "failed", "skipped"] = "skipped"
    ms: float | None = None
    code: str | None = None
    detail: str = ""
    remedy: Remedy | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """A change of the connection that would mend the trouble, once somebody accepts it."""

    key_place: KeyPlace | None = None
    store_url: str | None = None


@dataclass(slots=True)
class Report:
    ok: bool = False
    steps: list[StepResult] = field(default_factory=lambda: [StepResult(step) for step in Step])
    shop_name: str | None = None
    version: str | None = None
    granted: dict[str, tuple[str, ...]] = field(default_factory=dict)
    missing: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    offer: Offer | None = None

    def step(self, step: Step) -> StepResult:
        return next(result for result in self.steps if result.name is step)


class _FailedError(Exception):
    """A hop failed; the walk ends."""

    def __init__(self, trouble: Trouble, offer: Offer | None = None) -> None:
        super().__init__(trouble.code)
        self.trouble = trouble
        self.offer = offer


class ConnectionTest:
    """Tries connections, saved ones and drafts."""

    def __init__(self, gateway: Gateway, routes: Routes, registry: Registry, look_up_agent: LookUpAgent) -> None:
        self._gateway = gateway
        self._routes = routes
        self._registry = registry
        self._look_up_agent = look_up_agent

    async def run(self, connection: Connection) -> Report:
        walk = _Walk(connection)
        try:
            await self._reach(walk)
            answer = await self._ask(walk)
            await self._judge(walk, answer)
            _read(walk, answer)
            await self._try_json(walk)
            walk.report.ok = True
        except _FailedError as failed:
            walk.fail(failed)
        return walk.report

    async def _reach(self, walk: _Walk) -> None:
        """From the relay to the store's port, and through TLS."""
        connection = walk.connection
        if connection.mode is Mode.ON_PREMISE:
            await self._find_agent(walk)
        async with walk.timed(Step.TCP):
            stream, _ = await self._routes.reach(connection)
        walk.passed(Step.NAME)
        if connection.store.scheme == "https":
            async with walk.timed(Step.TLS):
                stream = await self._routes.secure(connection, stream)
        stream.abort()

    async def _find_agent(self, walk: _Walk) -> None:
        connection = walk.connection
        agent = connection.agent or ""
        async with walk.timed(Step.AGENT):
            state = await self._look_up_agent(connection.account, agent)
            if state != "known":
                raise _FailedError(Trouble(Step.AGENT, f"agent_{state}"))
        if not any(tunnel.usable for tunnel in self._registry.of(agent)):
            raise _FailedError(Trouble(Step.ONLINE, "agent_offline"))
        walk.passed(Step.ONLINE)
        if not self._registry.pick(agent, connection.store.destination):
            origin = dataclasses.replace(connection.store, base_path="")
            raise _FailedError(Trouble(Step.PUBLISHED, "store_not_published", str(origin)))
        walk.passed(Step.PUBLISHED)

    async def _ask(self, walk: _Walk) -> Answer:
        async with walk.timed(Step.HTTP):
            return await self._get(walk.connection, "/api")

    async def _judge(self, walk: _Walk, answer: Answer) -> None:
        """Raise what `diagnosis.judge` found, after the one more request that may make it exact."""
        found = judge(answer)
        if isinstance(found, Again):
            found = await self._look_closer(walk.connection, found)
        if found:
            raise _FailedError(found, _offer(found, walk.connection.store))

    async def _look_closer(self, connection: Connection, again: Again) -> Trouble:
        trouble = again.trouble
        try:
            if again.with_ws_key and connection.key_place is KeyPlace.BASIC:
                other = dataclasses.replace(connection, key_place=KeyPlace.WS_KEY)
                if proves_stripping(await self._get(other, "/api")):
                    return Trouble(Step.KEY, "authorization_stripped")
            elif again.with_dispatcher:
                answer = await self._get(connection, DISPATCHER)
                if proves_stripping(answer):
                    return Trouble(Step.WEBSERVICE, "rewriting_off")
        except GatewayError:
            return trouble
        return trouble

    async def _try_json(self, walk: _Walk) -> None:
        """Connectors read JSON: one real read shows that it arrives whole. A bad one is a note, not a failure."""
        if "GET" not in walk.report.granted.get("orders", ()):
            return
        wanted = (("Output-Format", "JSON"),)
        try:
            answer = await self._get(walk.connection, "/api/orders?limit=1&display=[id]", wanted)
            json.loads(answer.body)
        except (GatewayError, ValueError):
            walk.report.notes.append("json_damaged")

    async def _get(self, connection: Connection, path: str, fields: tuple[tuple[str, str], ...] = ()) -> Answer:
        return await call(self._gateway, connection, path, fields=fields, limit=ROOT_BYTES, deadline=ANSWER_SECONDS)


class _Walk:
    """The report as it grows."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.report = Report()

    @asynccontextmanager
    async def timed(self, step: Step) -> AsyncIterator[None]:
        """The step passes if the block does; a failure of the gateway is put to the hop where it belongs."""
        began = asyncio.get_running_loop().time()
        try:
            yield
        except GatewayError as error:
            code = error.failure.code
            where = GATEWAY_STEPS.get(code, step)
            if step is Step.HTTP and where is Step.TCP:
                where = Step.HTTP
            raise _FailedError(Trouble(where, code, error.detail)) from None
        self.passed(step, (asyncio.get_running_loop().time() - began) * 1000)

    def passed(self, step: Step, ms: float | None = None) -> None:
        result = self.report.step(step)
        result.status, result.ms = "passed", None if ms is None else round(ms, 1)

    def fail(self, failed: _FailedError) -> None:
        """Name the hop; those that its failure proves to work have passed."""
        trouble = failed.trouble
        for step in (Step.HTTP, Step.WEBSERVICE, Step.KEY):
            if trouble.step is step:
                break
            if self.report.step(Step.HTTP).status == "passed":
                self.passed(step, self.report.step(step).ms)
        result = self.report.step(trouble.step)
        result.status, result.code, result.detail = "failed", trouble.code, trouble.detail
        result.remedy = remedy(trouble.code, trouble.detail)
        self.report.offer = failed.offer


def _read(walk: _Walk, answer: Answer) -> None:
    """The findings of an answer that passed."""
    around: Noise = noise(answer.body)
    root: Root = read_root(around.document)
    report = walk.report
    for step in (Step.WEBSERVICE, Step.KEY, Step.PERMISSIONS):
        walk.passed(step)
    report.shop_name, report.version = root.shop_name, answer.field("PSWS-Version")
    report.granted = {name: methods for name, methods in root.grants.items() if methods}
    report.missing = _missing(report.granted)
    if around.harmless:
        report.notes.append("blank_before_xml")


def _missing(granted: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    lacks = {
        resource: tuple(method for method in METHODS if method in wanted and method not in granted.get(resource, ()))
        for resource, wanted in WANTED.items()
    }
    return {resource: methods for resource, methods in lacks.items() if methods}


def _offer(trouble: Trouble, store: StoreUrl) -> Offer | None:
    if trouble.code == "authorization_stripped":
        return Offer(key_place=KeyPlace.WS_KEY)
    if trouble.code == "host_not_owned":
        return Offer(store_url=trouble.detail + store.base_path)
    if trouble.code == "store_redirects" and "://" in trouble.detail:
        return Offer(store_url=trouble.detail)
    return None
