"""What stands at the inner end of the shared road: one agent, a shop, and names behind which there is none."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tests.store_conformance.replay import RECORDED_DOMAIN
from tests.system.caller import Answer
from tests.system.programs import HOST, free_ports
from tests.system.road import Agent, Road, Shop

DOMAIN = "shop.test"
CONFORMANCE_DOMAIN = "shop.example"


@dataclass(frozen=True, slots=True)
class Lan:
    """The shop is published as DOMAIN."""

    shop: Shop
    agent: Agent
    conformance_port: int  # where a shop may be put that is published as CONFORMANCE_DOMAIN
    recorded_port: int  # the same for RECORDED_DOMAIN
    unanswered: Future[Answer]  # a request to a store that answers no dial: the answer comes when the agent gives up


@contextmanager
def open_lan(road: Road) -> Iterator[Lan]:
    """One agent that publishes a shop, and some names behind which there is none."""
    shop = road.start_shop("--domain", DOMAIN, name="main-shop")
    conformance, recorded, refused = free_ports(3)
    with socket.socket() as deaf, ExitStack() as stack:
        deaf.bind((HOST, 0))
        deaf.listen(0)
        fill(deaf, stack)
        stores = {
            DOMAIN: f"{HOST}:{shop.port}",
            CONFORMANCE_DOMAIN: f"{HOST}:{conformance}",
            RECORDED_DOMAIN: f"{HOST}:{recorded}",
            "refused.test": f"{HOST}:{refused}",
            "nowhere.test": "nosuch.invalid:80",
            "silent.test": f"{HOST}:{deaf.getsockname()[1]}",
        }
        entry = road.new_agent("main")
        agent = road.start_agent(entry, [f"http://{name}={address}" for name, address in stores.items()])
        silent = road.connect(entry.id, "http://silent.test", "K" * 32)
        with ThreadPoolExecutor(1) as pool:
            unanswered = pool.submit(silent.ask, "/api/orders", "POST", body=b"<prestashop/>")
            yield Lan(shop, agent, conformance, recorded, unanswered)


def fill(deaf: socket.socket, stack: ExitStack) -> None:
    """Take every place in the queue of a listener that accepts nobody: who comes now gets no answer at all."""
    while True:
        waiting = stack.enter_context(socket.socket())
        waiting.settimeout(0.2)
        try:
            waiting.connect(deaf.getsockname())
        except TimeoutError:
            return
