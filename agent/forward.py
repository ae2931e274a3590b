"""One channel and its TCP connection to the store: bytes copied both ways, back-pressure and half-close kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncssh
import structlog

from agent.wire.channel import Channel

log = structlog.get_logger()


class Forward(asyncio.Protocol):
    """What the store's connection calls; `FromRelay` is what the channel calls. `ended` is told when both are gone."""

    def __init__(self, ended: Callable[[Forward], None]) -> None:
        self.channel = StoreChannel(FromRelay(self))
        self.moved = 0
        """Bytes copied so far, both ways."""
        self._ended = ended
        self._store_eof = self._relay_eof = False
        self._store_lost = self._channel_lost = False
        self._joined = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a TCP connection has no other
        self.store = transport
        transport.pause_reading()  # until the relay has heard that the channel is open

    def join(self) -> None:
        """The channel is open: begin to copy."""
        self._joined = True
        if self.store.is_closing():
            self.channel.finish()
        else:
            self.store.resume_reading()

    def spoil(self) -> None:
        """The channel did not come to be: the store's connection ends alone."""
        self._joined = False
        self.store.abort()

    def data_received(self, data: bytes) -> None:
        self.moved += len(data)
        if not self.channel.is_closing():
            self.channel.write(data)

    def eof_received(self) -> bool:
        self._store_eof = True
        if not self.channel.is_closing():
            self.channel.write_eof()
        self._close_if_both_ended()
        return True

    def pause_writing(self) -> None:
        self.channel.pause_reading()

    def resume_writing(self) -> None:
        self.channel.resume_reading()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._store_lost = True
        if self._joined:
            self.channel.finish()  # what the store sent before it went is still delivered
        self._note_end()

    def relay_ended(self) -> None:
        """The relay will send no more; the store may still answer."""
        self._relay_eof = True
        if not self.store.is_closing():
            self.store.write_eof()
        self._close_if_both_ended()

    def relay_lost(self, exc: Exception | None) -> None:
        """Closed by the relay: what it sent still goes to the store. Broken: half a request is worth nothing."""
        self._channel_lost = True
        if exc is None:
            self.store.close()
        else:
            self.store.abort()
        self._note_end()

    def abort(self) -> None:
        self.store.abort()
        if self._joined:
            self.channel.abort()

    def _close_if_both_ended(self) -> None:
        if self._store_eof and self._relay_eof:
            self.store.close()
            self.channel.finish()

    def _note_end(self) -> None:
        if self._store_lost and (self._channel_lost or not self._joined):
            self._ended(self)


class FromRelay:
    """What the channel delivers, for the store. It is the channel's Receiver."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward

    def join(self) -> None:
        self._forward.join()

    def spoil(self) -> None:
        self._forward.spoil()

    def data_received(self, data: bytes) -> None:
        self._forward.moved += len(data)
        if not self._forward.store.is_closing():
            self._forward.store.write(data)

    def eof_received(self) -> None:
        self._forward.relay_ended()

    def pause_writing(self) -> None:
        if not self._forward.store.is_closing():
            self._forward.store.pause_reading()

    def resume_writing(self) -> None:
        if not self._forward.store.is_closing():
            self._forward.store.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forward.relay_lost(exc)


class StoreChannel(Channel):
    """A channel that delivers from the moment it is open, cannot hurt its tunnel, and ends without losing its EOF."""

    def __init__(self, receiver: FromRelay) -> None:
        super().__init__()
        self._from_relay = receiver
        self._finishing = False

    def connection_made(self, chan: asyncssh.SSHTCPChannel[bytes]) -> None:
        try:
            super().connection_made(chan)
            self._from_relay.join()
            self.attach(self._from_relay)
        except Exception:
            log.exception("a channel failed as it opened; it is closed")
            self._from_relay.spoil()
            chan.abort()

    def finish(self) -> None:
        """Close when all is sent, an EOF included: asyncssh's own close drops an EOF that waits for the window."""
        if self._lost or self._finishing:
            return
        self._finishing = True
        if self._chan.get_write_buffer_size():
            self._chan.set_write_buffer_limits(high=0)  # so that resume_writing means: all is sent
        else:
            self.close()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._finishing:
            asyncio.get_running_loop().call_soon(self.close)
