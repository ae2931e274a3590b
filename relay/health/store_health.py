"""What is known of the stores on this node, by agent and by connection, and who is told when it changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from relay.health.feed import Feed
from relay.health.store_answers import Finding
from relay.health.store_states import StoreState

FAILURES = 2
"""In a row, before a store is said to be unreachable."""


@dataclass(frozen=True, slots=True)
class Store:
    """A store as it is looked at: what an agent publishes, or what a cloud connection leads to."""

    account: str
    agent: str | None
    name: str
    """`host:port`."""
    connection: str | None = None
    """Of mode cloud, where there is no agent."""


@dataclass(slots=True)
class _Known:
    """Of a store."""

    reachable: bool | None = None
    answering: bool | None = None
    code: str | None = None
    failures: int = 0
    told: bool | None = None
    """Whether it was said to be reachable."""
    last_success: int | None = None
    checked_at: int | None = None
    ways: dict[str, _Way] = field(default_factory=dict)
    """The connections that lead there."""


@dataclass(slots=True)
class _Way:
    """Of a connection."""

    store: Store
    key: bool | None = None
    code: str | None = None
    answering: bool | None = None
    """Whether the webservice does in this connection's folder: there may be several shops on one machine."""
    failures: int = 0
    told: bool = False
    """Whether it was said that its folder alone does not answer."""


class StoreHealth:
    """Told what looks at stores found; publishes what changes. `clock` is unix seconds."""

    def __init__(self, feed: Feed, clock: Callable[[], float]) -> None:
        self._feed = feed
        self._clock = clock
        self._stores: dict[Store, _Known] = {}
        self._of_agents: dict[str, set[Store]] = {}
        self._ways: dict[str, _Way] = {}

    def counted(self) -> Mapping[str, int]:
        """How many stores there are of each kind."""
        states = {True: "reachable", False: "unreachable", None: "unknown"}
        found = Counter(states[known.reachable] for known in self._stores.values())
        return {state: found[state] for state in states.values()}

    def of_agent(self, agent: str) -> Mapping[str, StoreState]:
        """By `host:port`, what is known of the stores that it publishes, or has published lately."""
        found = {}
        for store in self._of_agents.get(agent, ()):
            known = self._stores[store]
            refused = next((way for way in known.ways.values() if way.key is False), None)
            accepted = any(way.key for way in known.ways.values())
            found[store.name] = _state(store, known, refused or _Way(store, key=accepted or None))
        return found

    def of_connection(self, connection: str) -> StoreState | None:
        """What is known of its store and its key; None: nothing."""
        way = self._ways.get(connection)
        return _state(way.store, self._stores[way.store], way) if way else None

    def watch(self, store: Store) -> None:
        """It is looked at from now on."""
        if store not in self._stores:
            self._stores[store] = _Known()
            if store.agent:
                self._of_agents.setdefault(store.agent, set()).add(store)

    def attach(self, store: Store, connection: str) -> None:
        """The connection leads to that store, which is watched."""
        way = self._ways.get(connection)
        if way and way.store == store:
            return
        self.detach(connection)
        self._ways[connection] = self._stores[store].ways[connection] = _Way(store)

    def detach(self, connection: str) -> None:
        """It has changed or gone: nothing is known of its key and its folder any more."""
        way = self._ways.pop(connection, None)
        if way:
            self._end(connection, way)
            self._stores[way.store].ways.pop(connection, None)

    def forget(self, store: Store) -> None:
        """Nobody publishes it any more."""
        known = self._stores.pop(store, None)
        for connection in known.ways if known else ():
            self._ways.pop(connection, None)
        siblings = self._of_agents.get(store.agent or "", set())
        siblings.discard(store)
        if not siblings:
            self._of_agents.pop(store.agent or "", None)

    def connections(self, store: Store) -> tuple[str, ...]:
        """Those that lead there, as far as is known; last those whose folder does not answer."""
        known = self._stores.get(store)
        return tuple(sorted(known.ways, key=lambda each: known.ways[each].answering is False)) if known else ()

    def store_of(self, connection: str) -> Store | None:
        way = self._ways.get(connection)
        return way.store if way else None

    def failures(self, store: Store) -> int:
        """Looks at it that have failed one after the other."""
        known = self._stores.get(store)
        return known.failures if known else 0

    def succeeded(self, store: Store, connection: str) -> None:
        """It has answered a connector's request as it should."""
        self.found(store, Finding(reachable=True, answering=True), connection)

    def found(self, store: Store, finding: Finding, connection: str | None = None) -> None:
        """What a look at the store found, in the folder of that connection."""
        known = self._stores.get(store)
        if known is None or finding.silent:
            return
        known.checked_at = int(self._clock())
        if connection in known.ways and self._is_apart(connection, known, finding):
            return
        if finding.reachable and finding.answering is not False:
            known.failures = 0
            known.last_success = known.checked_at
            self._tell(store, known, finding, reachable=True)
            return
        known.failures += 1
        if known.failures >= FAILURES:
            self._tell(store, known, finding, reachable=False)
        elif known.told is None:
            known.reachable, known.answering, known.code = finding.reachable, finding.answering, finding.code

    def found_key(self, connection: str, finding: Finding) -> bool:
        """What a look with the connection's key found; whether that is news of the key."""
        way = self._ways.get(connection)
        if way is None or finding.key is None:
            return False
        news = way.key is not finding.key
        way.key, way.code = finding.key, finding.code
        if news:
            kind = "store.key_accepted" if finding.key else "store.key_refused"
            self._publish(kind, way.store, connection=connection, code=way.code)
        return news

    def _is_apart(self, connection: str, known: _Known, finding: Finding) -> bool:
        """Whether the folder alone fails, while another connection's answers: that is told of this connection."""
        way = known.ways[connection]
        if not finding.reachable or finding.answering is None:
            return False
        if finding.answering:
            self._end(connection, way)
            way.code = None if way.answering is False else way.code
            way.answering, way.failures = True, 0
            return False
        way.answering, way.code = False, finding.code
        if not any(each.answering for each in known.ways.values() if each is not way):
            return False
        way.failures += 1
        if way.failures >= FAILURES and not way.told:
            way.told = True
            self._publish("store.unreachable", way.store, connection=connection, code=way.code)
        return True

    def _end(self, connection: str, way: _Way) -> None:
        """What was said of its folder holds no more."""
        if way.told:
            way.told = False
            self._publish("store.reachable", way.store, connection=connection, code=None)

    def _tell(self, store: Store, known: _Known, finding: Finding, *, reachable: bool) -> None:
        known.reachable, known.answering, known.code = finding.reachable, finding.answering, finding.code
        if known.told is not reachable:
            known.told = reachable
            kind = "store.reachable" if reachable else "store.unreachable"
            self._publish(kind, store, connection=store.connection, code=known.code)

    def _publish(self, kind: str, store: Store, *, connection: str | None, code: str | None) -> None:
        details = {"store": store.name} | ({"code": code} if code else {})
        self._feed.publish(kind, account=store.account, agent=store.agent, connection=connection, **details)


def _state(store: Store, known: _Known, way: _Way) -> StoreState:
    return StoreState(
        store=store.name,
        reachable=known.reachable,
        answering=known.answering and way.answering is not False,
        key=way.key,
        last_success=known.last_success,
        checked_at=known.checked_at,
        code=known.code or way.code,
    )
