"""One request handed to an ASGI application, by uvicorn's own protocol, on a connection that the front keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState


class Asgi:
    """Makes a protocol per request; what it answers goes to the transport that it is given.

    Who asks is told from outside: left to itself, uvicorn believes X-Forwarded-For of whoever comes from 127.0.0.1.
    """

    def __init__(self, application: Callable[..., object]) -> None:
        self._config = Config(
            application, ws="none", lifespan="off", log_config=None, access_log=False, proxy_headers=False
        )
        self._config.load()
        self._state = ServerState()

    def start(
        self, transport: asyncio.Transport, remote: str, head: bytes, finished: Callable[[bool], None]
    ) -> AsgiRequest:
        """Hand over a judged head (with its empty line) from `remote`; `finished(persistent)` follows the answer."""
        request = AsgiRequest(self._config, self._state, finished)
        request.connection_made(transport)
        request.client = (remote, 0)
        request.feed(head)
        return request


class AsgiRequest(HttpToolsProtocol):
    """uvicorn's protocol for the length of one request: it neither waits for another nor keeps time."""

    def __init__(self, config: Config, state: ServerState, finished: Callable[[bool], None]) -> None:
        super().__init__(config, state, {})
        self._finished = finished

    def feed(self, data: bytes) -> None:
        super().data_received(data)

    def shutdown(self) -> None:
        """Say in the answer that it is the connection's last, if it is not too late to say so."""
        if self.cycle and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        self.connections.discard(self)
        self._finished(not self.transport.is_closing())
