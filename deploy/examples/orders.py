"""A shop's new orders brought on: each is told by a trigger, read with get-order, and put into its next state.

    python orders.py https://relay.example.com api.token con_… orders.json
    python orders.py https://relay.example.com api.token con_… orders.json https://hooks.example.com/ 127.0.0.1:8000

`api.token` holds an API token of the scope `manage`, `con_…` is a connection's id, and `orders.json` will remember the
trigger, its secret, and how far its events have been pulled. The first way pulls them. The second has them sent as
webhooks to a public address, where a web server does TLS and passes them on to the address on which this listens.
"""

from __future__ import annotations

import base64
import hmac
import json
import sys
import time
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

PAID, IN_PROGRESS = 2, 3  # PrestaShop's "Payment accepted" and "Processing in progress"; `order-states` lists a shop's
ORDERS_IN_AN_EVENT = 5  # few enough to be done before the relay, after 15 s without an answer, sends it again
OLDEST_SECONDS = 300  # what was signed longer ago may be a recording that somebody else sends
EVENT_BYTES = 2**20
PULL_SECONDS = 5


def main(relay: str, token_file: str, connection: str, memory_file: str, *public: str) -> None:
    url, listen = public or (None, "")
    headers = {"Authorization": f"Bearer {Path(token_file).read_text(encoding='ascii').strip()}"}
    with httpx.Client(base_url=relay, headers=headers, timeout=90) as api:
        memory = Memory(Path(memory_file))
        if not memory.trigger:
            form = {"kind": "order-updated", "interval": 10, "ceiling": ORDERS_IN_AN_EVENT, "url": url}
            key = {"Idempotency-Key": str(uuid.uuid4())}
            made = told(api.post(f"/v1/connections/{connection}/triggers", json=form, headers=key))
            memory.keep(trigger=made["id"], secret=made["secret"])
        print(f"{memory.trigger} watches {connection}")
        orders = Orders(api, f"/v1/connections/{connection}/actions")
        if url:
            receive(listen, memory.secret, orders.take)
        else:
            pull(api, memory, orders.take)


class Memory:
    """A file for this user alone: the secret is shown by the relay once."""

    def __init__(self, file: Path) -> None:
        file.touch(mode=0o600)
        self.file = file
        self.trigger = self.secret = self.cursor = ""
        vars(self).update(json.loads(file.read_text(encoding="utf-8") or "{}"))

    def keep(self, **what: str) -> None:
        vars(self).update(what)
        kept = {"trigger": self.trigger, "secret": self.secret, "cursor": self.cursor}
        self.file.write_text(json.dumps(kept), encoding="utf-8")


class Orders:
    def __init__(self, api: httpx.Client, actions: str) -> None:
        self.api = api
        self.actions = actions

    def take(self, event: dict[str, Any]) -> bool:
        """Do what an event asks for; False if it should come again. It may come twice, and does nothing then."""
        return all(self.bring_on(event["id"], item) for item in event["data"]["items"])

    def bring_on(self, event: str, item: dict[str, Any]) -> bool:
        if item["current_state"] != PAID:  # every change is told, this program's own as well
            return True
        try:
            order = told(self.api.get(f"{self.actions}/get-order", params={"id": item["id"]}))
            if order["current_state"] != PAID:  # it has gone on since
                return True
            for row in order["order_rows"]:
                print(f"order {order['id']}: {row['product_quantity']} of {row['product_name']}")
            wish = {"order_id": order["id"], "state": IN_PROGRESS, "email": False}
            key = {"Idempotency-Key": f"{event}-{order['id']}"}  # the same whenever this is sent: it is done once
            done = told(self.api.post(f"{self.actions}/update-order-state", json=wish, headers=key))
            print(f"order {done['order_id']}: now in state {done['current_state']}", flush=True)
        except (httpx.HTTPError, RefusedError) as error:
            print(f"order {item['id']}: {error}", flush=True)
            return isinstance(error, RefusedError) and error.final
        return True


def pull(api: httpx.Client, memory: Memory, take: Callable[[dict[str, Any]], bool]) -> None:
    while True:
        try:
            asked = {"cursor": memory.cursor} if memory.cursor else {}
            page = told(api.get(f"/v1/triggers/{memory.trigger}/events", params=asked))
            if all(take(event) for event in page["items"]):
                memory.keep(cursor=page["next"])  # only now: what was not done is pulled again
                if page["items"]:
                    continue
        except (httpx.HTTPError, RefusedError) as error:
            print(f"{error}; again soon", flush=True)
        time.sleep(PULL_SECONDS)


def receive(listen: str, secret: str, take: Callable[[dict[str, Any]], bool]) -> None:
    class Receiver(BaseHTTPRequestHandler):
        timeout = 20

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            body = self.rfile.read(int(length)) if length.isdecimal() and int(length) <= EVENT_BYTES else b""
            status = 401
            if is_signed(self.headers, body, secret):
                status = 204 if take(json.loads(body)) else 503  # after anything but 2xx it is sent again, for a day
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    host, _, port = listen.rpartition(":")
    with ThreadingHTTPServer((host, int(port)), Receiver) as server:
        print(f"listening on {host}:{server.server_port}", flush=True)
        server.serve_forever()


def is_signed(headers: Any, body: bytes, secret: str) -> bool:
    """Whether it comes from whoever has the secret, and lately (Standard Webhooks)."""
    event, moment, signatures = (headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    if not (moment.isdecimal() and len(moment) < 12 and abs(time.time() - int(moment)) < OLDEST_SECONDS):
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{event}.{moment}.".encode() + body, "sha256")
    expected = b"v1," + base64.b64encode(digest)
    return any(hmac.compare_digest(expected, given.encode()) for given in signatures.split())


class RefusedError(Exception):
    """What the relay answered (RFC 9457)."""

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__(f"{told['code']}: {told['detail']}")
        self.final = told["status"] in {404, 422}  # no such order, or no such state: that will not mend itself


def told(answer: httpx.Response) -> Any:
    if answer.headers.get("Content-Type") == "application/problem+json":
        raise RefusedError(answer.json())
    return answer.raise_for_status().json()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except RefusedError as refusal:
        sys.exit(str(refusal))
