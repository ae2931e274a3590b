"""A byte stream as both ends see it: pushed to a receiver, with back-pressure both ways and half-close kept."""

from __future__ import annotations

from typing import Protocol


class Receiver(Protocol):
    """Whoever reads a stream. The calls come in the order of asyncio.Protocol, and none of them may block."""

    def data_received(self, data: bytes, /) -> None: ...

    def eof_received(self) -> None:
        """The other side will send no more; the stream still takes writes."""

    def connection_lost(self, exc: Exception | None, /) -> None:
        """The last call: closed (None), or broken by `exc`."""

    def pause_writing(self) -> None:
        """The stream holds as much unsent as it should: stop writing until `resume_writing`."""

    def resume_writing(self) -> None: ...


class Stream(Protocol):
    """What a route opens: a channel of a tunnel, TLS over one, or a TCP connection."""

    def attach(self, receiver: Receiver, /) -> None:
        """Begin to deliver to `receiver`; until then nothing is read. A later call replaces the receiver."""

    def write(self, data: bytes, /) -> None: ...

    def write_eof(self) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def close(self) -> None:
        """Send what is unsent, then close both directions."""

    def abort(self) -> None:
        """Close now, whatever is unsent."""

    def is_closing(self) -> bool: ...
