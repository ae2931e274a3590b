"""How SSH packets arrive: channel data under AES-GCM goes straight to its channel, everything else asyncssh's own way.

Checked with asyncssh 2.24.1, whose internals this leans on. Deciphering is a pure function of key, nonce and bytes, so
a packet is looked at first; if it is anything but data for an open channel, nothing has been touched yet, and asyncssh
reads that same packet itself, with all its checks.
"""

from __future__ import annotations

from typing import Any

from asyncssh.constants import MSG_CHANNEL_DATA
from asyncssh.encryption import GCMEncryption
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_TAG_BYTES = 16
_DATA_OFFSET = 10
"""Before the data of a CHANNEL_DATA packet: padding length, type, channel, length (RFC 4253 §6, RFC 4254 §5.2)."""


class LeanReceiving:
    """Takes the place of a connection's `_recv_data`."""

    def __init__(self, ssh: Any) -> None:
        self._ssh = ssh
        self._theirs = ssh._recv_data
        self._cipher: Any = None
        self._aead = AESGCM(bytes(16))

    def __call__(self) -> None:
        ssh = self._ssh
        if not self._lean():
            self._theirs()
            return
        buffer, position = ssh._inpbuf, 0
        while self._lean() and ssh._transport is not None:
            end = position + 4 + int.from_bytes(buffer[position : position + 4], "big") + _TAG_BYTES
            if end - position > ssh._max_recv_pktlen:
                break
            if len(buffer) < max(end, position + 4):
                ssh._inpbuf = buffer[position:]
                return
            if not self._take_data(buffer[position : position + 4], buffer[position + 4 : end]):
                ssh._inpbuf = buffer[position:end]
                self._theirs()
                buffer, end = ssh._inpbuf + buffer[end:], 0
            position = end
        ssh._inpbuf = buffer[position:]
        if ssh._inpbuf and ssh._transport is not None:
            self._theirs()

    def _lean(self) -> bool:
        """Whether a packet's beginning is next, under AES-GCM, on a connection that is past its login."""
        ssh = self._ssh
        return (
            type(ssh._recv_encryption) is GCMEncryption
            and ssh._auth_complete
            and ssh._decompressor is None
            and ssh._recv_handler == ssh._recv_pkthdr
        )

    def _take_data(self, header: bytes, sealed: bytes) -> bool:
        """Deliver the packet if it is data for an open channel; False: nothing has been touched."""
        ssh = self._ssh
        cipher = ssh._recv_encryption._cipher
        if cipher is not self._cipher:
            self._cipher, self._aead = cipher, AESGCM(cipher._key)
        try:
            packet = self._aead.decrypt(cipher._iv, sealed, header)
        except InvalidTag:
            return False
        if packet[1] != MSG_CHANNEL_DATA or len(packet) < _DATA_OFFSET:
            return False
        channel = ssh._channels.get(int.from_bytes(packet[2:6], "big"))
        size = int.from_bytes(packet[6:10], "big")
        whole = _DATA_OFFSET + size + packet[0] == len(packet)
        if channel is None or not whole or channel._recv_state != "open" or size > channel._recv_window:
            return False
        cipher._update_iv()
        ssh._recv_seq = (ssh._recv_seq + 1) & 0xFFFFFFFF
        channel._accept_data(packet[_DATA_OFFSET : _DATA_OFFSET + size])
        return True
