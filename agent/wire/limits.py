"""The bounds that both ends hold each other to."""

CERTIFICATE_SECONDS = 12 * 3600
"""Life of an instance's certificate; it is renewed at half of it."""
CERTIFICATE_BACKDATE_SECONDS = 15 * 60
"""How far a certificate reaches into the past, so that a clock that is behind still works."""
CLOCK_SKEW_SECONDS = 3600
"""How far a signed enrolment's time may be from the relay's."""
ENROLMENT_BYTES = 64 * 1024
"""Largest body of an enrolment, either way."""

STORES_PER_TUNNEL = 64
"""Names that one tunnel may publish."""
CHANNELS_PER_TUNNEL = 512
"""Channels open at once in one tunnel, those being opened included."""

PACKET_BYTES = 128 * 1024
"""Largest SSH packet: four times asyncssh's own, which nearly doubles bulk throughput."""
WINDOW_BYTES = 512 * 1024
"""Receive window of a new channel: what a stalled reader can cost the other end's sender."""
BULK_WINDOW_BYTES = 4 * 1024 * 1024
"""Receive window of a channel that proved to carry bulk: what 80 MB/s need at a round trip of 50 ms."""
GRANT_BYTES = 256 * 1024
"""How much a reader has taken when the sender is told so."""
BULK_WINDOWS_PER_TUNNEL = 8
"""Channels of one tunnel that may hold a bulk window at once."""
TRANSPORT_HIGH_WATER_BYTES = 1024 * 1024
"""Unsent bytes in the tunnel's own connection at which every writer pauses."""

KEEPALIVE_SECONDS = 5
KEEPALIVE_UNANSWERED = 2
"""A peer that left more than two keepalives unanswered is dead: noticed after 15 s."""
DIAL_SECONDS = 10
"""Deadline of one TCP connection, to the relay or to a store."""
LOGIN_SECONDS = 15
"""Deadline of the SSH handshake with authentication."""
OPEN_SECONDS = 12
"""Deadline for a channel's confirmation: the agent's own dial and the line."""
