"""The stand-in answers as the recorded PrestaShop did."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from tests.store import Store
from tests.store_conformance.asking import ask
from tests.store_conformance.direct import DirectShop
from tests.store_conformance.replay import (
    RECORDED_DOMAIN,
    UNRECORDED,
    WEBSERVICE_OFF_FROM,
    comparable,
    differences,
    load,
    repeat,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.store_conformance.asking import Response, Shop


@pytest.fixture
async def demo() -> AsyncIterator[Store]:
    """The shop of the recordings, without the additions of the assertions."""
    async with Store.serve(domain=RECORDED_DOMAIN) as running:
        yield running


@pytest.fixture
def demo_shop(demo: Store) -> Shop:
    return DirectShop(demo)


async def test_recorded_exchanges(demo: Store, demo_shop: Shop) -> None:
    """All 70 exchanges, in order, give the recorded status, headers and bodies."""
    recordings = load()
    assert len(recordings) == 70
    wrong: dict[str, list[str]] = {}
    answers: dict[str, Response] = {}
    for exchange in recordings:
        if exchange.number in UNRECORDED:
            method, target, body = UNRECORDED[exchange.number]
            assert (await ask(demo_shop, target, method=method, body=body)).status == 200
        demo.knobs.webservice = exchange.number < WEBSERVICE_OFF_FROM
        answer = answers[exchange.number] = await repeat(demo_shop, exchange)
        found = differences(exchange, answer, direct=demo_shop.direct)
        if found:
            wrong[exchange.name] = found
    assert wrong == {}
    picture = base64.b64decode(answers["227"].xml.findtext("content") or "")
    assert answers["229"].body == picture


def test_what_is_blanked_is_little() -> None:
    """The comparison blanks dates, hashes, pictures and PHP's paths, and nothing else."""
    xml = b"<a><![CDATA[2026-11-22 12:26:04]]></a><b><![CDATA[0000-00-00]]></b>"
    assert comparable(xml) == b"<a><![CDATA[date]]></a><b><![CDATA[0000-00-00]]></b>"
    assert comparable(b"<c><![CDATA[[PHP Warning #2] x (/y, line 3)]]></c>") == b"<c><![CDATA[[PHP ]]></c>"
    assert (
        comparable(b'{"code":3,"message":"[PHP x (y, line 1)"},{"code":127}')
        == b'{"code":3,"message":"[PHP "},{"code":127}'
    )
    assert comparable(b'{"reference":"2027","price":"23.900000"}') == b'{"reference":"2027","price":"23.900000"}'
