"""What the parts of a running agent know of each other: the admission, the tunnels that stand, the last trouble."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Coroutine
from typing import Any

from agent.enrolment import Admission
from agent.reconnect import second_pause
from agent.tunnel import PROCESS, Tunnel
from agent.wire.control import Suspect


class Board:
    """What the slots and the enrolment tell each other."""

    def __init__(self) -> None:
        self.admission: Admission | None = None
        self.wanted = False
        """Somebody needs a new admission before the old one is due."""
        self.tunnels: dict[int, Tunnel] = {}
        """The tunnel that each slot relies on."""
        self.ways: dict[int, tuple[str, str]] = {}
        """Node and transport on which each slot stands; while it dials, the transport is empty."""
        self.second_due = 0.0
        """When, monotonic, the slots may dial that follow the first one."""
        self.process = PROCESS
        """What tells our tunnels from those of another process with the same key."""
        self.trouble: tuple[float, str] | None = None
        """The last failure (unix seconds, sentence)."""
        self._change = asyncio.Event()

    @property
    def standing(self) -> int:
        return sum(tunnel.standing for tunnel in self.tunnels.values())

    @property
    def draining(self) -> set[str]:
        """Nodes that have said that they will be gone."""
        return {tunnel.endpoint.node for tunnel in self.tunnels.values() if tunnel.draining_since is not None}

    def stands(self, slot: int, tunnel: Tunnel, login_seconds: float) -> None:
        if not self.standing:
            self.second_due = time.monotonic() + second_pause(login_seconds, random.random)
        self.tunnels[slot] = tunnel
        self.changed()

    def suspected(self, slot: int, generation: int) -> None:
        """The relay has found that tunnel dead: look at it."""
        tunnel = self.tunnels.get(slot)
        if tunnel and tunnel.place.generation == generation:
            tunnel.suspect()

    def accuse(self, dead: Tunnel) -> None:
        """Tell the relay through the others that this one does not answer: it may not have noticed.

        The others are asked at once: what killed this one may have killed them, and only who is alone dials in haste.
        """
        for tunnel in self.tunnels.values():
            if tunnel is not dead:
                tunnel.say(Suspect(slot=dead.place.slot, generation=dead.place.generation))
                tunnel.suspect()

    def take_another_name(self) -> None:
        """The relay takes us for a copy: should the other one bear the same name, it is to be told from us."""
        self.process = secrets.token_hex(8)

    def want_admission(self) -> None:
        self.wanted = True
        self.changed()

    def note_trouble(self, sentence: str) -> None:
        self.trouble = (time.time(), sentence)
        self.changed()

    def changed(self) -> None:
        """Wake everybody who waits for a change."""
        self._change.set()
        self._change = asyncio.Event()

    def change(self) -> Coroutine[Any, Any, bool]:
        """Wait for the next change after this call, whenever the waiting itself begins."""
        return self._change.wait()
