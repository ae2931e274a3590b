"""When a store's certificate ends is seen on the way to it, by CA and by pinned key, and told by connection."""

from __future__ import annotations

import pytest

from relay.alert_records import AlertKind
from relay.gateway.routes import Routes
from relay.health.store_certificates import LOOK_SECONDS, StoreCertificates
from relay.records import Trust
from tests.relay.gateway.certificates import DAY, NOW, authority, certificate
from tests.relay.gateway.scene import Scene
from tests.relay.gateway.test_tls import secured

CA = authority()
SHOWN = certificate(CA, ends=NOW + 9 * DAY)


@pytest.mark.parametrize("trust", [Trust(ca_pem=CA.pem), Trust(pinned_spki_sha256=SHOWN.pin)], ids=["CA", "pin"])
async def test_the_end_of_a_certificate_is_seen(scene: Scene, trust: Trust) -> None:
    """Of the connection whose request opened the line; forgotten when that changes."""
    seen = StoreCertificates(lambda: 1000.0)
    async with secured(scene, trust, SHOWN):
        routes = scene.gateway._route
        assert isinstance(routes, Routes)
        routes.on_secured = seen.note
        assert (await (await scene.client()).ask()).status == 200
    (ending,) = seen
    connection = scene.connection
    assert (ending.kind, ending.account, ending.subject) == (
        AlertKind.CERTIFICATE_EXPIRING,
        connection.account,
        connection.id,
    )
    assert ending.ends_at == int((NOW + 9 * DAY).timestamp())
    assert ending.about.details == {"store": str(connection.store.destination)}
    seen.forget(connection.id)
    assert list(seen) == []


async def test_a_certificate_is_read_once_an_hour(scene: Scene) -> None:
    """Not at each new line to the store."""
    read = []

    class Stream:
        @property
        def ends(self) -> float:
            read.append(1)
            return 5000.0

    now = 1000.0
    seen = StoreCertificates(lambda: now)
    for _ in range(3):
        seen.note(scene.connection, Stream())  # type: ignore[arg-type]  # as much of one as is asked
    now += LOOK_SECONDS
    seen.note(scene.connection, Stream())  # type: ignore[arg-type]  # the same
    assert len(read) == 2


async def test_a_certificate_that_cannot_be_read_tells_nothing(scene: Scene) -> None:
    """The store is served all the same."""

    class Stream:
        @property
        def ends(self) -> float:
            raise ValueError("a serial number of zero")

    seen = StoreCertificates(lambda: 1000.0)
    seen.note(scene.connection, Stream())  # type: ignore[arg-type]  # as much of one as is asked
    assert list(seen) == []
