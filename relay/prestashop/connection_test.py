"""The connection test: walks hop by hop to a store's webservice, stops at the first that fails, and writes nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Literal

from relay.gateway.call import Answer, call
from relay.gateway.errors import GatewayError
from relay.gateway.gateway import Gateway
from relay.gateway.pool import QUEUE_SECONDS
from relay.gateway.routes import Routes
from relay.prestashop.diagnosis import Accepted, Again, Step, Trouble, excerpt, from_webservice, judge
from relay.prestashop.hops import trouble_of
from relay.prestashop.reading import faults
from relay.prestashop.report import Report, Writer
from relay.records import Connection, KeyPlace, Mode
from relay.tunnels.registry import Registry
from relay.tunnels.tunnel import Tunnel

TEST_SECONDS = 55.0
"""For the whole test: below the 60 s after which common reverse proxies give up waiting."""
ANSWER_SECONDS = QUEUE_SECONDS + 5.0
"""For one answer, the wait for a turn at the store included: who gets none hears `store_busy`, not `store_timeout`."""
ROOT_BYTES = 512 * 1024
"""Largest answer that is read; a full-access root has some 32 KB."""
DISPATCHER = "/webservice/dispatcher.php?url="
"""The webservice behind all rewriting rules; it answers where `/api` is not switched on."""
JSON_READ = "/api/orders?limit=1&display=[id]"
TRIAL = "con_trial"
"""The id of a connection that differs from the tested one, so that the pool of the latter is left alone."""
_FIELDS = (("User-Agent", "Postern"), ("Accept", "*/*"), ("Accept-Encoding", "identity"))
"""Firewalls refuse requests without the first two; without the third a store may answer packed (RFC 9110 §12.5.3)."""

_BROKEN_LINE = frozenset({"store_closed_early", "store_tls"})
"""What a line that ends in the middle of an answer, or of a TLS handshake, looks like from here."""

AgentState = Literal["known", "unknown", "revoked"]
LookUpAgent = Callable[[str, str], Awaitable[AgentState]]
"""Asked with account and agent id."""


class ConnectionTest:
    """Tries connections, saved ones and drafts."""

    def __init__(
        self,
        gateway: Gateway,
        routes: Routes,
        registry: Registry,
        look_up_agent: LookUpAgent,
        *,
        answer_seconds: float = ANSWER_SECONDS,
        test_seconds: float = TEST_SECONDS,
    ) -> None:
        self._gateway = gateway
        self._routes = routes
        self._registry = registry
        self._look_up_agent = look_up_agent
        self._answer_seconds = answer_seconds
        self._test_seconds = test_seconds

    async def run(self, connection: Connection) -> Report:
        """Raises only what `look_up_agent` raises."""
        walk = _Walk(connection, self._registry)
        try:
            async with asyncio.timeout(self._test_seconds):
                await self._reach(walk)
                walk.accept(await self._ask(walk))
                await self._try_json(walk)
        except _FailedError as failed:
            walk.writer.failed(failed.trouble)
        except TimeoutError:
            walk.out_of_time(self._test_seconds)
        return walk.writer.report

    async def _reach(self, walk: _Walk) -> None:
        """From the relay to the store's port, and through TLS."""
        connection = walk.connection
        if connection.mode is Mode.ON_PREMISE:
            await self._find_agent(walk)
        async with walk.timed(Step.TCP):
            stream, _ = await self._routes.reach(connection)
        if connection.mode is Mode.ON_PREMISE:
            walk.writer.passed(Step.PUBLISHED)
        walk.writer.passed(Step.NAME)
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
        tunnels = [tunnel for tunnel in self._registry.of(agent) if tunnel.usable]
        if not tunnels:
            raise _FailedError(Trouble(Step.ONLINE, "agent_offline"))
        walk.writer.passed(Step.ONLINE)
        published = any(connection.store.destination in tunnel.published for tunnel in tunnels)
        if published:
            walk.writer.passed(Step.PUBLISHED)
        elif any(tunnel.settled for tunnel in tunnels):
            origin = dataclasses.replace(connection.store, base_path="")
            raise _FailedError(Trouble(Step.PUBLISHED, "store_not_published", str(origin)))

    async def _ask(self, walk: _Walk) -> tuple[Answer, Accepted]:
        """The answer to `GET /api` that passed; what did not is looked at once more where that makes it exact."""
        async with walk.timed(Step.HTTP):
            answer = await self._get(walk, walk.connection, "/api")
        found = judge(answer)
        if isinstance(found, Again):
            found = await self._look_closer(walk, found)
        if isinstance(found, Trouble):
            raise _FailedError(found)
        return answer, found

    async def _look_closer(self, walk: _Walk, again: Again) -> Trouble:
        trouble, connection = again.trouble, walk.connection
        try:
            if again.with_ws_key and connection.key_place is KeyPlace.BASIC:
                other = dataclasses.replace(connection, id=TRIAL, key_place=KeyPlace.WS_KEY)
                if from_webservice(await self._get(walk, other, "/api")):
                    return Trouble(Step.KEY, "authorization_stripped")
            elif again.with_dispatcher and from_webservice(await self._get(walk, connection, DISPATCHER)):
                return Trouble(Step.WEBSERVICE, "rewriting_off")
        except GatewayError:
            return trouble
        return trouble

    async def _try_json(self, walk: _Walk) -> None:
        """Connectors read JSON: one real read shows that it arrives whole. A bad one is a note, not a failure."""
        if "GET" not in walk.writer.report.granted.get("orders", ()):
            return
        try:
            answer = await self._get(walk, walk.connection, JSON_READ, (("Output-Format", "JSON"),))
        except GatewayError as error:
            walk.writer.note("json_fails", error.detail or error.failure.sentence)
            return
        if answer.status in {403, 405, 406, 418} and not from_webservice(answer):
            walk.writer.note("filters_blocked", f"{answer.status} {answer.reason[:80]}")
        elif answer.status != 200 or not _is_json(answer.body):
            walk.writer.note("json_fails", _told(answer))

    async def _get(
        self, walk: _Walk, connection: Connection, path: str, fields: tuple[tuple[str, str], ...] = ()
    ) -> Answer:
        answer = await call(
            self._gateway,
            connection,
            path,
            fields=_FIELDS + fields,
            limit=ROOT_BYTES,
            deadline=self._answer_seconds,
            trial=True,
        )
        return walk.writer.scrubber.answer(answer)


class _FailedError(Exception):
    """A hop failed; the walk ends."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.code)
        self.trouble = trouble


class _Walk:
    """A test on its way: the connection, the hop it has come to, and the report so far."""

    def __init__(self, connection: Connection, registry: Registry) -> None:
        self.connection = connection
        self.writer = Writer(connection)
        self._registry = registry
        self._at = Step.AGENT if connection.mode is Mode.ON_PREMISE else Step.TCP

    @asynccontextmanager
    async def timed(self, step: Step) -> AsyncIterator[None]:
        """The step passes if the block does; a failure of the gateway is put to the hop where it belongs."""
        self._at = step
        tunnels = self._registry.of(self.connection.agent or "")
        began = asyncio.get_running_loop().time()
        try:
            yield
        except GatewayError as error:
            raise _FailedError(_blamed(trouble_of(error, step), tunnels)) from None
        self.writer.passed(step, (asyncio.get_running_loop().time() - began) * 1000)

    def accept(self, asked: tuple[Answer, Accepted]) -> None:
        answer, found = asked
        self.writer.accepted(found, answer.field("PSWS-Version"))

    def out_of_time(self, seconds: float) -> None:
        """What had passed by then has passed; of the JSON read alone, nothing is known."""
        if self.writer.report.ok:
            self.writer.note("json_fails", "no answer in time")
        else:
            self.writer.failed(Trouble(self._at, "store_timeout", f"the test took longer than {seconds:.0f} s"))


def _blamed(trouble: Trouble, tunnels: Sequence[Tunnel]) -> Trouble:
    """A line that broke while a tunnel of the agent did was broken by it, not by the store at its end."""
    broke = trouble.code in _BROKEN_LINE and any(tunnel.lost for tunnel in tunnels)
    return Trouble(Step.ONLINE, "tunnel_lost") if broke else trouble


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


def _told(answer: Answer) -> str:
    told = faults(answer.body)
    return f"{answer.status} {told[0].message if told else excerpt(answer.body)}"[:200].strip()
