"""The running agent: enrols, keeps as many tunnels as the relay wants, tells how it is, and leaves cleanly."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import structlog
from pydantic import SecretStr

from agent import __version__
from agent.board import Board
from agent.enrolment import Admission, Enrolment, EnrolmentError
from agent.failure import ConfigurationError
from agent.https import REQUEST_SECONDS, Link
from agent.identity import Identity
from agent.lifelines import Lifelines
from agent.logs import Sparingly
from agent.metrics import serve_metrics
from agent.opening import Ways
from agent.racing import Paths, RacingDialer
from agent.reconnect import Reconnect
from agent.resolver import DaemonThreads, Resolver
from agent.settings import Settings
from agent.slot import REST_SECONDS, Slot, retire
from agent.status import serve_status
from agent.transports import Dialer, TcpDialer, WebSocketDialer
from agent.tunnel import CLOSE_SECONDS, Tunnel
from agent.wire.systemd import Notifier
from agent.wire.token import AccessToken

GRACE_SECONDS = 20.0
"""How long running channels may go on after the agent was told to stop."""
EARLY = 0.1
"""Part of the time to the renewal that is left out at random, so that agents started together part ways."""

_KEPT = ("relay", "state_dir", "ca_file", "proxy", "metrics_http")
"""Settings that are not taken over by a reload."""

log = structlog.get_logger()


class Supervisor:
    """One agent process. `run` returns when it was told to stop, or raises what ended it."""

    def __init__(self, settings: Settings, reload: Callable[[], Settings]) -> None:
        """`reload` reads the settings again. Raises ConfigurationError or AgentError for what cannot work."""
        self._settings = settings
        self._reload = reload
        link = Link(settings.relay, settings.ca_file, settings.proxies())
        self._identity = Identity.open(settings.state_dir)
        self._enrolment = Enrolment(settings.relay, self._identity, self._read_token, link)
        self._enrolment.check_token()
        self._notifier = Notifier()
        self._lifelines = Lifelines()
        self._board = Board()
        self._resolver = Resolver()
        ways = Ways(self._resolver, link.proxies, link.tls)
        dialers: dict[str, Dialer] = {
            "tcp": TcpDialer(self._resolver, ways),
            "websocket": WebSocketDialer(ways, link.tls, self._ticket),
        }
        self._dialer = RacingDialer(dialers, Paths(settings.state_dir))
        self._slots: list[Slot] = []
        self._loops: dict[str, asyncio.Task[None]] = {}
        self._retiring: dict[asyncio.Task[None], Tunnel] = {}
        self._started = time.time()
        self._stop = asyncio.Event()
        self._fault: BaseException | None = None
        """What ended a loop that must not end."""
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        """Serve until `stop`. Raises ConfigurationError if the relay refused for good."""
        asyncio.get_running_loop().set_default_executor(DaemonThreads())
        self._begin("enrolment", self._keep_enrolled())
        self._begin("service manager", self._inform())
        try:
            async with (
                serve_status(self._settings.state_dir, self.snapshot),
                serve_metrics(self._settings.metrics_http, self.snapshot),
            ):
                log.info("agent started", relay=self._settings.relay, stores=[str(s) for s in self._settings.stores])
                self._notifier.ready(self.summary())
                await self._until_stopped()
                await self._leave()
        finally:
            for loop in self._loops.values():
                loop.cancel()
            for tunnel in self._all_tunnels():
                tunnel.abort()

    def stop(self) -> None:
        """Leave: the first time with patience, the second time at once."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    def reload(self) -> None:
        """Read stores and token again; what the relay must know goes to it with the next enrolment, which is now."""
        self._notifier.reloading()
        try:
            settings = self._reload()
        except ConfigurationError as error:
            log.error("the settings were not taken over", reason=str(error))
        else:
            kept = {name: getattr(self._settings, name) for name in _KEPT}
            if any(getattr(settings, name) != value for name, value in kept.items()):
                log.warning("some settings change only with a restart", settings=_KEPT)
            self._settings = settings.model_copy(update=kept)
            log.info("settings read again", stores=[str(store) for store in settings.stores])
            self._board.want_admission()
        self._notifier.ready(self.summary())

    def summary(self) -> str:
        """The state in one line, for systemd."""
        wanted = self._board.admission.tunnels if self._board.admission else 0
        if not wanted:
            trouble = self._board.trouble
            return trouble[1] if trouble else f"enrolling at {self._settings.relay}"
        return f"{self._board.standing} of {wanted} tunnels to {self._settings.relay} stand"

    def snapshot(self) -> dict[str, Any]:
        """Everything that `status` shows."""
        admission, trouble, now = self._board.admission, self._board.trouble, time.monotonic()
        memory = self._identity.memory
        return {
            "version": __version__,
            "pid": os.getpid(),
            "started": round(self._started),
            "relay": self._settings.relay,
            "agent": {"id": memory.agent_id, "name": memory.agent_name} if memory else None,
            "instance": self._identity.instance_id,
            "certificate_seconds": round(admission.expires_at - now) if admission else None,
            "tunnels": [slot.snapshot() for slot in self._slots],
            "draining": [{"channels": tunnel.channels} for tunnel in self._retiring.values()],
            "stores": [{"origin": store.origin, "address": _address(store)} for store in self._settings.stores],
            "last_error": {"at": round(trouble[0]), "text": trouble[1]} if trouble else None,
        }

    async def _until_stopped(self) -> None:
        """Wait for `stop`; a loop that ends with an error, whenever it began, ends the agent."""
        await self._stop.wait()
        if self._fault:
            raise self._fault

    async def _keep_enrolled(self) -> None:
        name, timing = "enrolment", Reconnect(random.random)
        worth_telling = Sparingly()
        renew_at = 0.0
        while True:
            due = timing.due(alone=not self._board.standing)
            moment = due if self._board.wanted else max(due, renew_at)
            if (pause := min(REST_SECONDS, moment - time.monotonic())) > 0:
                await self._rest(name, pause)
                continue
            self._board.wanted = False
            timing.began(time.monotonic())
            try:
                admission = await self._enrol(name)
            except EnrolmentError as error:
                timing.failed(time.monotonic(), refused=error.refused, retry_after=error.retry_after)
                if worth_telling(str(error)):
                    log.warning("not enrolled", reason=str(error))
                self._board.note_trouble(str(error))
                continue
            timing.stood(time.monotonic())
            worth_telling = Sparingly()
            renew_at = admission.renew_at - EARLY * random.random() * (admission.renew_at - admission.taken_at)  # noqa: S311 - spreads load
            if self._board.admission is None:
                log.info(
                    "enrolled", agent=admission.agent_name, agent_id=admission.agent_id, instance=admission.instance_id
                )
            self._board.admission = admission
            self._keep_slots(admission.tunnels)
            self._board.changed()

    async def _enrol(self, name: str) -> Admission:
        """Raises EnrolmentError."""
        try:
            async with self._lifelines.within(name, 3 * REQUEST_SECONDS):
                return await self._enrolment.enrol(self._settings.stores)
        except TimeoutError:
            raise EnrolmentError("the enrolment was not over in time") from None

    def _keep_slots(self, wanted: int) -> None:
        """Start the slots that are missing, end those that are too many."""
        for number in range(len(self._slots), wanted):
            slot = Slot(
                number,
                board=self._board,
                dialer=self._dialer,
                resolver=self._resolver,
                lifelines=self._lifelines,
                timing=Reconnect(random.random),
                retire=self._retire,
            )
            self._slots.append(slot)
            self._begin(slot.name, slot.run())
        for slot in self._slots[wanted:]:
            self._loops.pop(slot.name).cancel()
            if tunnel := self._board.tunnels.pop(slot.number, None):
                self._retire(tunnel)
        del self._slots[wanted:]

    async def _inform(self) -> None:
        """Tell systemd the state, and that we live: but only while every recovery loop has its timer armed."""
        watchdog = self._notifier.watchdog_seconds
        said = ""
        while True:
            if stuck := self._lifelines.overdue():
                log.error("a recovery loop is stuck; the watchdog is not fed", loops=stuck)
            elif watchdog:
                self._notifier.alive()
            if (summary := self.summary()) != said:
                said = summary
                self._notifier.status(said)
            await self._rest("service manager", min(REST_SECONDS, watchdog / 3 if watchdog else REST_SECONDS))

    async def _rest(self, name: str, seconds: float) -> None:
        """Wait until something changed, no longer than this."""
        await self._lifelines.rest(name, seconds, asyncio.ensure_future(self._board.change()))

    async def _leave(self) -> None:
        """Take no more channels, let those that run finish, close the tunnels; a successor may begin meanwhile."""
        self._notifier.stopping("leaving")
        for loop in self._loops.values():
            loop.cancel()
        self._identity.unlock()
        tunnels = self._all_tunnels()
        for tunnel in tunnels:
            tunnel.leave("the agent is shutting down")
        log.info("leaving", channels=sum(tunnel.channels for tunnel in tunnels))
        await self._wait_for(tunnels)
        async with asyncio.timeout(2 * CLOSE_SECONDS):
            await asyncio.gather(*(tunnel.close() for tunnel in tunnels))
        log.info("left")

    async def _wait_for(self, tunnels: list[Tunnel]) -> None:
        done = asyncio.ensure_future(_all_done(tunnels))
        hurry = asyncio.ensure_future(self._hurry.wait())
        either: set[asyncio.Future[Any]] = {done, hurry}
        await asyncio.wait(either, timeout=GRACE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for wait in (done, hurry):
            wait.cancel()

    def _read_token(self) -> AccessToken | None:
        return self._settings.read_token()

    def _ticket(self) -> SecretStr | None:
        admission = self._board.admission
        return admission.ticket if admission else None

    def _all_tunnels(self) -> list[Tunnel]:
        return [*self._board.tunnels.values(), *self._retiring.values()]

    def _retire(self, tunnel: Tunnel) -> None:
        task = asyncio.ensure_future(retire(tunnel))
        self._retiring[task] = tunnel
        task.add_done_callback(partial(self._retiring.pop))

    def _begin(self, name: str, loop: Coroutine[Any, Any, None]) -> None:
        task = self._loops[name] = asyncio.create_task(loop, name=name)
        task.add_done_callback(self._note_end)
        self._board.changed()

    def _note_end(self, loop: asyncio.Task[None]) -> None:
        fault = None if loop.cancelled() else loop.exception()
        if fault and self._stop.is_set():
            log.error("a loop failed while the agent was leaving", loop=loop.get_name(), exc_info=fault)
        elif fault:
            self._fault = fault
            self._stop.set()


async def _all_done(tunnels: list[Tunnel]) -> None:
    for tunnel in tunnels:
        await tunnel.done()


def _address(store: Any) -> str:
    return f"{store.dial_host}:{store.dial_port}"
