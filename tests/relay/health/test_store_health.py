"""What is known of stores, and what is told of them: once, when it changes, after two failures in a row."""

from __future__ import annotations

import pytest

from relay.health.feed import Feed
from relay.health.store_answers import Finding
from relay.health.store_health import Store, StoreHealth
from relay.health.store_states import StoreState

STORE = Store("acc_one", "agt_one", "shop.lan:80")
GOOD = Finding(reachable=True, answering=True)
BAD = Finding(reachable=False, answering=False, code="store_refused")
ACCEPTED = Finding(reachable=True, answering=True, key=True)
REFUSED = Finding(reachable=True, answering=True, key=False, code="key_unknown")
NOW = 1_760_000_000


class Scene:
    def __init__(self) -> None:
        self.now = NOW
        self.feed = Feed(lambda: self.now)
        self.health = StoreHealth(self.feed, lambda: self.now)
        self.health.watch(STORE)
        self._told = self.feed.last

    def told(self) -> list[tuple[str, str | None, str | None]]:
        """Kind, connection and code of what was published since the last time."""
        notices = self.feed.since(self._told)
        self._told = self.feed.last
        assert {notice.account for notice in notices} <= {"acc_one"}
        return [(notice.kind, notice.connection, notice.details.get("code")) for notice in notices]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_store_that_answers(scene: Scene) -> None:
    """Told once; the age of its last success is known."""
    for _ in range(3):
        scene.now += 60
        scene.health.found(STORE, GOOD)
    assert scene.told() == [("store.reachable", None, None)]
    at = NOW + 180
    state = StoreState("shop.lan:80", reachable=True, answering=True, last_success=at, checked_at=at)
    assert scene.health.of_agent("agt_one") == {"shop.lan:80": state}
    assert scene.health.of_agent("agt_two") == {}


def test_one_failure_is_no_news(scene: Scene) -> None:
    """The second in a row is; and that it is over, at once."""
    scene.health.found(STORE, GOOD)
    scene.told()
    scene.health.found(STORE, BAD)
    assert scene.health.of_agent("agt_one")["shop.lan:80"].reachable is True
    scene.health.found(STORE, GOOD)
    scene.health.found(STORE, BAD)
    assert scene.told() == []
    for _ in range(3):
        scene.health.found(STORE, BAD)
    assert scene.told() == [("store.unreachable", None, "store_refused")]
    state = scene.health.of_agent("agt_one")["shop.lan:80"]
    assert (state.reachable, state.answering, state.code) == (False, False, "store_refused")
    assert state.last_success == NOW
    scene.health.found(STORE, GOOD)
    assert scene.told() == [("store.reachable", None, None)]
    assert scene.health.of_agent("agt_one")["shop.lan:80"].code is None


def test_a_failure_on_the_way_says_nothing(scene: Scene) -> None:
    """Neither good nor bad: what was known stays."""
    scene.health.found(STORE, GOOD)
    for _ in range(5):
        scene.health.found(STORE, Finding())
    assert scene.told() == [("store.reachable", None, None)]
    assert scene.health.failures(STORE) == 0


def test_a_machine_whose_webservice_does_not_answer_is_told_of(scene: Scene) -> None:
    """For connectors that is the same; the state tells the two apart."""
    off = Finding(reachable=True, answering=False, code="webservice_off")
    scene.health.found(STORE, off)
    scene.health.found(STORE, off)
    assert scene.told() == [("store.unreachable", None, "webservice_off")]
    state = scene.health.of_agent("agt_one")["shop.lan:80"]
    assert (state.reachable, state.answering) == (True, False)


def test_a_folder_that_does_not_answer_is_its_connections_own_trouble(scene: Scene) -> None:
    """Two shops on one machine, or one connection with a wrong folder: the other one is well, and is told to be so."""
    lost = Finding(reachable=True, answering=False, code="api_not_found")
    scene.health.attach(STORE, "con_bad")
    scene.health.attach(STORE, "con_good")
    for _ in range(4):
        scene.health.found(STORE, lost, "con_bad")
        scene.health.found(STORE, GOOD, "con_good")
    assert scene.told() == [("store.reachable", None, None), ("store.unreachable", "con_bad", "api_not_found")]
    assert scene.health.connections(STORE) == ("con_good", "con_bad")
    good, bad = scene.health.of_connection("con_good"), scene.health.of_connection("con_bad")
    assert good
    assert bad
    assert (good.reachable, good.answering, good.code) == (True, True, None)
    assert (bad.reachable, bad.answering, bad.code) == (True, False, "api_not_found")
    assert scene.health.of_agent("agt_one")["shop.lan:80"] == good
    scene.health.found(STORE, GOOD, "con_bad")
    assert scene.told() == [("store.reachable", "con_bad", None)]
    assert scene.health.of_connection("con_bad") == scene.health.of_connection("con_good")


def test_a_wrong_folder_is_told_of_once_whatever_the_others_do(scene: Scene) -> None:
    """While the good one is in maintenance nothing answers, and the machine is told of; what is wrong stays wrong."""
    lost = Finding(reachable=True, answering=False, code="api_not_found")
    off = Finding(reachable=True, answering=False, code="webservice_off")
    scene.health.attach(STORE, "con_bad")
    scene.health.attach(STORE, "con_good")
    for good in (GOOD, off, GOOD):
        for _ in range(3):
            scene.health.found(STORE, good, "con_good")
            scene.health.found(STORE, lost, "con_bad")
    told = scene.told()
    assert [kind for kind, connection, _ in told if connection == "con_bad"] == ["store.unreachable"]
    assert [kind for kind, connection, _ in told if connection is None] == [
        "store.reachable",
        "store.unreachable",
        "store.reachable",
    ]
    scene.health.detach("con_bad")
    assert scene.told() == [("store.reachable", "con_bad", None)], "its address was mended, or it is gone"


def test_a_machine_is_told_of_once_for_all_its_folders(scene: Scene) -> None:
    """Where none of them answers, and where it is gone."""
    off = Finding(reachable=True, answering=False, code="webservice_off")
    scene.health.attach(STORE, "con_a")
    scene.health.attach(STORE, "con_b")
    for finding in (GOOD, off, BAD, GOOD):
        for _ in range(3):
            scene.health.found(STORE, finding, "con_a")
            scene.health.found(STORE, finding, "con_b")
    assert [kind for kind, connection, _ in scene.told() if connection is None] == [
        "store.reachable",
        "store.unreachable",
        "store.reachable",
    ]


def test_keys_of_two_connections(scene: Scene) -> None:
    """Each is told of by itself; the store shows the one that is refused."""
    scene.health.attach(STORE, "con_a")
    scene.health.attach(STORE, "con_b")
    scene.health.found(STORE, GOOD)
    assert scene.health.found_key("con_a", ACCEPTED)
    assert not scene.health.found_key("con_a", ACCEPTED)
    assert scene.health.of_agent("agt_one")["shop.lan:80"].key is True
    assert scene.health.found_key("con_b", REFUSED)
    assert not scene.health.found_key("con_b", GOOD)
    told = scene.told()
    assert told[1:] == [("store.key_accepted", "con_a", None), ("store.key_refused", "con_b", "key_unknown")]
    store, mine, other = (
        scene.health.of_agent("agt_one")["shop.lan:80"],
        scene.health.of_connection("con_a"),
        scene.health.of_connection("con_b"),
    )
    assert (store.key, store.code) == (False, "key_unknown")
    assert mine
    assert (mine.key, mine.code) == (True, None)
    assert other
    assert (other.key, other.code) == (False, "key_unknown")


def test_a_connection_that_changed_is_unknown_again(scene: Scene) -> None:
    """Also one that now leads elsewhere; then its first look is news."""
    scene.health.attach(STORE, "con_a")
    scene.health.found_key("con_a", ACCEPTED)
    scene.health.detach("con_a")
    assert scene.health.of_connection("con_a") is None
    assert scene.health.connections(STORE) == ()
    other = Store("acc_one", "agt_one", "other.lan:80")
    scene.health.watch(other)
    scene.health.attach(STORE, "con_a")
    scene.health.attach(other, "con_a")
    assert scene.health.connections(STORE) == ()
    assert scene.health.store_of("con_a") == other
    assert scene.health.found_key("con_a", ACCEPTED)


def test_a_store_that_is_forgotten_leaves_nothing(scene: Scene) -> None:
    """Nor do its connections."""
    scene.health.attach(STORE, "con_a")
    scene.health.found(STORE, GOOD)
    scene.health.forget(STORE)
    assert scene.health.of_agent("agt_one") == {}
    assert scene.health.of_connection("con_a") is None
    scene.health.found(STORE, BAD)
    assert (scene.health._stores, scene.health._of_agents, scene.health._ways) == ({}, {}, {})
