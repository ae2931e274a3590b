"""How a report grows: what a failure proves, what it undoes, what it offers."""

from __future__ import annotations

import dataclasses

from pydantic import SecretStr

from agent.wire.destination import Destination
from relay.prestashop.diagnosis import Accepted, Step, Trouble
from relay.prestashop.reading import Around, Root
from relay.prestashop.report import WANTED, Offer, Report, Writer
from relay.records import Connection, KeyPlace, Mode, StoreUrl

CONNECTION = Connection(
    id="con_aaaaaaaaaaaaaaaa",
    account="acc_one",
    name="the shop",
    mode=Mode.ON_PREMISE,
    agent="agt_one",
    store=StoreUrl("http", Destination("shop.lan", 80), "/boutique"),
    api_key=SecretStr("K" * 32),
)


def statuses(report: Report) -> dict[str, str]:
    return {step.name.value: step.status for step in report.steps if step.status != "skipped"}


def test_a_hop_that_fails_late_takes_what_stood_on_it_along() -> None:
    """A tunnel that breaks while the store is asked: the hops behind it have no status and no time any more."""
    writer = Writer(CONNECTION)
    for step in (Step.AGENT, Step.ONLINE, Step.PUBLISHED, Step.NAME, Step.TCP):
        writer.passed(step, 1.26)
    writer.failed(Trouble(Step.ONLINE, "tunnel_lost"))
    assert statuses(writer.report) == {"agent": "passed", "online": "failed"}
    assert [step.ms for step in writer.report.steps[:3]] == [1.3, 1.3, None]


def test_the_shops_time_zone_is_wanted() -> None:
    """A key that may do all else, and that a trigger would stop at."""
    writer = Writer(CONNECTION)
    grants = {name: methods for name, methods in WANTED.items() if name != "configurations"}
    writer.accepted(Accepted(Root("the shop", grants), Around(b"", b"", b"")), None)
    assert writer.report.ok
    assert writer.report.missing == {"configurations": ("GET",)}


def test_offers() -> None:
    """Only what is known to mend it, and is not there already; the shop's folder is kept unless the shop names one."""

    def offered(trouble: Trouble, connection: Connection = CONNECTION) -> Offer | None:
        writer = Writer(connection)
        writer.failed(trouble)
        return writer.report.offer

    assert offered(Trouble(Step.KEY, "authorization_stripped")) == Offer(key_place=KeyPlace.WS_KEY)
    moved = Trouble(Step.WEBSERVICE, "store_redirects", "", "https://shop.fr")
    assert offered(moved) == Offer(store_url="https://shop.fr")
    named = Trouble(Step.WEBSERVICE, "host_not_owned", "", "http://shop.fr")
    assert offered(named) == Offer(store_url="http://shop.fr/boutique")
    with_folder = dataclasses.replace(named, store_url="http://shop.fr/other")
    assert offered(with_folder) == Offer(store_url="http://shop.fr/other")
    assert offered(Trouble(Step.WEBSERVICE, "https_needed")) == Offer(store_url="https://shop.lan:80/boutique")
    assert offered(dataclasses.replace(moved, store_url="http://shop.lan/boutique")) is None
    assert offered(Trouble(Step.KEY, "key_unknown")) is None
