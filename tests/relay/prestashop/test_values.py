"""PrestaShop's texts as values: golden results, in all versions the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.prestashop.query import EARLIEST, LATEST
from relay.prestashop.resources import CARTS, CUSTOMERS, ORDER_STATES, ORDERS, PRODUCTS, Resource
from relay.prestashop.rows import Row
from relay.prestashop.values import Facts, ZoneUnknownError, normalised, raw, shop_time, shop_window, time_of, zone_of
from tests.relay.prestashop.scene import place

PARIS = ZoneInfo("Europe/Paris")
FACTS = Facts("Europe/Paris", {1: "en", 2: "fr"})

GOLDEN: list[tuple[Resource, dict[str, Any], dict[str, Any]]] = [
    (
        ORDERS,
        {"id": "41", "id_customer": "7", "current_state": "4", "total_paid": "49.900000", "valid": "1", "gift": "0",
         "invoice_date": "0000-00-00 00:00:00", "date_upd": "2026-03-02 09:14:07", "reference": "QWERTYUIO",
         "secure_key": "b44a6d9efd7a0076a0fbce6b15eaf3b1", "note": ""},
        {"id": 41, "id_customer": 7, "current_state": 4, "total_paid": "49.900000", "valid": True, "gift": False,
         "invoice_date": None, "date_upd": "2026-03-02T09:14:07+01:00", "reference": "QWERTYUIO", "note": ""},
    ),
    (
        PRODUCTS,
        {"name": {1: "Mug", 2: "Tasse", 9: "Taza"}, "active": "1", "new": "", "price": "11.9", "ean13": "0012345678905",
         "available_date": "0000-00-00", "width": "", "date_add": "2026-07-01 00:00:00", "id_manufacturer": "0"},
        {"name": {"en": "Mug", "fr": "Tasse", "9": "Taza"}, "active": True, "new": None, "price": "11.9",
         "ean13": "0012345678905", "available_date": None, "width": None, "date_add": "2026-07-01T00:00:00+02:00",
         "id_manufacturer": 0},
    ),
    (
        CUSTOMERS,
        {"passwd": "$2y$10$x", "reset_password_token": "x", "siret": "00012345600010", "birthday": "1970-01-15",
         "optin": "0", "company": "A & B"},
        {"siret": "00012345600010", "birthday": "1970-01-15", "optin": False, "company": "A & B"},
    ),
    (
        CARTS,
        {"mobile_theme": "0", "delivery_option": '{"5":"2,"}'},
        {"mobile_theme": False, "delivery_option": '{"5":"2,"}'},
    ),
    (
        ORDER_STATES,
        {"name": "Shipped", "deleted": "0", "color": "#fff"},
        {"name": {"": "Shipped"}, "deleted": False, "color": "#fff"},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("resource", "fields", "shown"), GOLDEN, ids=lambda each: getattr(each, "name", ""))
def test_golden(resource: Resource, fields: dict[str, Any], shown: dict[str, Any]) -> None:
    """Decimals stay texts, truths and ids become values, nothing becomes null, secrets are gone."""
    assert normalised(Row(int(fields.get("id", 3)), fields), resource, FACTS) == {"id": 3, **shown}


def test_associations() -> None:
    """They stand beside the fields, under PrestaShop's names; raw, they stay apart and texts."""
    rows = {"order_rows": [{"product_id": "12", "product_price": "1.500000", "product_ean13": "01"}]}
    row = Row(1, {"id": "1"}, rows)
    assert normalised(row, ORDERS, FACTS)["order_rows"] == [
        {"product_id": 12, "product_price": "1.500000", "product_ean13": "01"}
    ]
    assert raw(row, ORDERS) == {"id": "1", "associations": rows}


@pytest.mark.parametrize("version", ["1.6.1", "1.7.4", "1.7.8", "8.1", "9.1"])
async def test_all_versions_give_the_same(version: str) -> None:
    """The same order reads the same, whichever version and PHP wrote it; later ones have more fields."""
    async with place(version="9.1") as latest, place(version=version) as here:
        shown = []
        for one in (here, latest):
            for table in ("orders", "products"):
                one.store.shop[table].update(1, {"date_add": "2026-01-01 10:00:00", "date_upd": "2026-07-01 10:00:00"})
            facts = await one.shops.facts(one.shop)
            order, product = await one.shop.one("orders", 1), await one.shop.one("products", 1)
            assert order
            assert product
            shown.append((normalised(order, ORDERS, facts), normalised(product, PRODUCTS, facts)))
        for old, new in zip(*shown, strict=True):
            shared = old.keys() & new.keys() - {"order_rows"}
            assert len(shared) > 40
            assert {name: old[name] for name in shared} == {name: new[name] for name in shared}
        for old, new in zip(shown[0][0]["order_rows"], shown[1][0]["order_rows"], strict=True):
            assert old.items() <= new.items()


def test_times() -> None:
    """A time says the offset that the shop had then; the repeated hour means its first pass; zero dates are null."""
    assert time_of("2026-07-01 12:00:00", PARIS) == "2026-07-01T12:00:00+02:00"
    assert time_of("2026-10-25 02:30:00", PARIS) == "2026-10-25T02:30:00+02:00"
    assert time_of("2026-07-01 12:00:00", None) == "2026-07-01T12:00:00"
    assert time_of(EARLIEST, PARIS) is None
    assert time_of("", PARIS) is None
    assert zone_of("Mars/Olympus") is None
    assert zone_of("../../etc/passwd") is None
    assert zone_of("") is None


def test_shop_time() -> None:
    """Moments become the shop's wall clock; without an offset they are that already; fractions are the next second."""
    assert shop_time(datetime(2026, 7, 1, 10, tzinfo=UTC), PARIS) == "2026-07-01 12:00:00"
    assert shop_time(datetime(2026, 7, 1, 10, 0, 0, 1, tzinfo=UTC), PARIS) == "2026-07-01 12:00:01"
    assert shop_time(datetime(2026, 7, 1, 10), PARIS) == "2026-07-01 10:00:00"  # noqa: DTZ001 - the shop's own
    assert shop_time(datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=9))), PARIS) == EARLIEST
    assert shop_time(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), PARIS) == LATEST
    with pytest.raises(ZoneUnknownError):
        shop_time(datetime(2026, 7, 1, 10, tzinfo=UTC), None)


@given(st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2100, 1, 1)))  # noqa: DTZ001 - wall clocks
def test_there_and_back(wall: datetime) -> None:
    """A time that the shop shows, given back as a bound, is the same second, but in the hour that never was."""
    text = wall.strftime("%Y-%m-%d %H:%M:%S")
    shown = time_of(text, PARIS)
    assert shown is not None
    back = shop_time(datetime.fromisoformat(shown), PARIS)
    skipped = datetime.fromisoformat(shown).astimezone(UTC).astimezone(PARIS).strftime("%Y-%m-%d %H:%M:%S") != text
    assert back == text or skipped


@given(
    begin=st.one_of(st.integers(-9000, 9000), st.sampled_from([-3600, -1800, 0, 1800, 3600])),
    seconds=st.one_of(st.integers(1, 9000), st.sampled_from([1, 900, 1800, 3600])),
    change=st.sampled_from([datetime(2026, 10, 25, 1, tzinfo=UTC), datetime(2026, 3, 29, 1, tzinfo=UTC)]),
)
def test_a_window_has_every_second_of_it(begin: int, seconds: int, change: datetime) -> None:
    """Whatever the shop's clock shows in a window lies between its texts, also where it goes back; and little else."""
    first = change + timedelta(seconds=begin)
    shown = [(first + timedelta(seconds=each)).astimezone(PARIS) for each in range(seconds)]
    least, end = shop_window(first, first + timedelta(seconds=seconds), PARIS)
    assert least == min(each.strftime("%F %T") for each in shown)
    assert end is not None
    assert max(each.strftime("%F %T") for each in shown) < end
    for bound in (shop_window(first, None, PARIS)[0], least):
        assert bound is not None
        assert all(bound <= each.strftime("%F %T") for each in shown)
    alone = shop_window(None, first + timedelta(seconds=seconds), PARIS)[1]
    assert alone is not None
    assert all(each.strftime("%F %T") < alone for each in shown)


def test_the_hour_that_comes_twice() -> None:
    """A window in the first or the second of the two hours, or across both, has what it should, and no hour more."""

    def window(first: str, end: str) -> tuple[str | None, str | None]:
        return shop_window(
            datetime.fromisoformat(f"2026-10-25T{first}+00:00"),
            datetime.fromisoformat(f"2026-10-25T{end}+00:00"),
            PARIS,
        )

    assert window("00:00", "00:30") == ("2026-10-25 02:00:00", "2026-10-25 02:30:00")
    assert window("00:30", "01:00") == ("2026-10-25 02:30:00", "2026-10-25 03:00:00")
    assert window("00:30", "01:30") == ("2026-10-25 02:00:00", "2026-10-25 03:00:00")
    assert window("01:00", "01:30") == ("2026-10-25 02:00:00", "2026-10-25 02:30:00")
    assert window("01:30", "02:30") == ("2026-10-25 02:30:00", "2026-10-25 03:30:00")


def test_languages() -> None:
    """By ISO code; by id where two share one; found by either."""
    facts = Facts(None, {1: "en", 2: "fr", 3: "en"})
    assert [facts.language(id_) for id_ in (1, 2, 3, 4)] == ["1", "fr", "3", "4"]
    assert (facts.language_id("FR"), facts.language_id("7"), facts.language_id("de")) == (2, 7, None)
