"""How both ends speak SSH: algorithms, packet sizes, keepalive, and what is refused."""

from __future__ import annotations

from typing import Any

from agent.wire.limits import KEEPALIVE_SECONDS, KEEPALIVE_UNANSWERED

ALGORITHMS: dict[str, Any] = {
    "kex_algs": ["mlkem768x25519-sha256"],
    "encryption_algs": ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "chacha20-poly1305@openssh.com"],
    "mac_algs": ["hmac-sha2-512-etm@openssh.com", "hmac-sha2-256-etm@openssh.com"],
    "signature_algs": ["ssh-ed25519"],
    "compression_algs": ["none"],
}
"""Post-quantum, AEAD, Ed25519: ssh-audit finds nothing to warn of. The client's first cipher wins, so the fast one
stands first; MACs are advertised though AEAD ciphers bring their own."""

KEEPALIVE: dict[str, Any] = {"keepalive_interval": KEEPALIVE_SECONDS, "keepalive_count_max": KEEPALIVE_UNANSWERED}
"""asyncssh's own, for the moment between the login and the `Probe` (agent.wire.pulse) that takes its place."""

FIRST_VERSION, SECOND_VERSION = "postern", "postern second"
"""How an agent names itself before anything else (RFC 4253 §4.2): `second` where another tunnel of its stands already,
so that a relay to which many come back lets the first ones in before."""

CLIENT: dict[str, Any] = (
    ALGORITHMS
    | KEEPALIVE
    | {
        "server_host_key_algs": ["ssh-ed25519-cert-v01@openssh.com"],
        "config": None,
        "agent_path": None,
        "client_version": FIRST_VERSION,
    }
)
"""Nothing of a human's own SSH set-up is inherited."""

SERVER: dict[str, Any] = (
    ALGORITHMS
    | KEEPALIVE
    | {
        "config": None,
        "server_version": "relay",
        "public_key_auth": True,
        "password_auth": False,
        "kbdint_auth": False,
        "host_based_auth": False,
        "gss_host": None,
        "x11_forwarding": False,
        "agent_forwarding": False,
        "allow_pty": False,
        "line_editor": False,
        "allow_scp": False,
    }
)
"""Public keys only, and nothing to log in for but forwards."""
