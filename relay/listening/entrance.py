"""What stands between a listening socket and the protocols that serve: the PROXY header, then TLS if there is any."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from relay.listening.caller import Trusted
from relay.listening.certificate import LOOK_SECONDS, Certificate
from relay.listening.preface import Prefaces, Protocols
from relay.listening.tls import Handshakes, TlsTransport
from relay.listening.waiting import Waiting


class Entrance:
    """The way in of a node. `pair`: the files of certificate and key, if TLS is ours; `clock` is monotonic seconds;
    `handshakes` how many of TLS may be under way.
    """

    def __init__(
        self, trusted: Trusted, pair: tuple[Path, Path] | None, clock: Callable[[], float], *, handshakes: int
    ) -> None:
        """Raises CertificateError."""
        self.certificate = Certificate(*pair) if pair else None
        self._clock = clock
        self.waiting = Waiting()
        self._prefaces = Prefaces(trusted, self.waiting)
        self._handshakes = Handshakes(clock, self.waiting, most=handshakes)
        self._looked_at = clock()

    def plain(self, inner: Protocols) -> Protocols:
        """For a listener without TLS of ours: agents' SSH."""
        return self._prefaces.before(inner)

    def secured(self, inner: Protocols) -> Protocols:
        """For the HTTP listener: TLS if there is a certificate, each connection with the one of its beginning."""
        certificate = self.certificate
        if certificate is None:
            return self.plain(inner)
        return self.plain(lambda: TlsTransport(certificate.context, self._handshakes, inner))

    def reload(self) -> None:
        """Read the certificate again, as SIGHUP asks."""
        if self.certificate:
            self.certificate.reload()

    def sweep(self) -> None:
        """Look at the certificate's files now and then; called once a second."""
        self._handshakes.sweep()
        if self.certificate and self._clock() - self._looked_at >= LOOK_SECONDS:
            self._looked_at = self._clock()
            self.certificate.look()
