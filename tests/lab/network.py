"""The shop's network with its firewall and its faults, as tests hold it: what `network.sh` builds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.lab.machine import COMMAND_SECONDS, HERE, script

SCRIPT = HERE / "network.sh"
ROOT = HERE.parents[1]
PREFIX = os.environ.get("LAB_PREFIX", "pl-")
SHOP, LAN, CLOUD = "10.77.1.10", "10.77.1.20", "10.77.2.1"
"""Where the agent is, where the shop's web server is, where the relay is."""
CLOUD_IPV6 = "fd77:2::1"


class Network:
    """Four namespaces: shop and lan behind the firewall fw, and the cloud."""

    def up(self) -> None:
        """Build it, whatever an interrupted run left; the firewall lets HTTPS and the relay's SSH port out."""
        self("down")
        self("up")
        self("port", "2222", "on")

    def down(self) -> None:
        self("down")

    def heal(self) -> None:
        """End every fault that can be ended."""
        self("heal")
        self("port", "2222", "on")

    def __call__(self, *words: str) -> str:
        """One command of `network.sh`, such as `"hole", "on"`."""
        return self._script(*words).stdout

    def run(self, namespace: str, *command: str, check: bool = True, seconds: float = COMMAND_SECONDS) -> str:
        """What a command of this machine says when it runs in a namespace."""
        return self._script("sh", namespace, *command, check=check, seconds=seconds).stdout

    def spawn(self, namespace: str, *command: str, log: Path) -> subprocess.Popen[str]:
        """Start a program of this machine in a namespace; its standard input and output are pipes. It ends with us."""
        with log.open("w") as file:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", str(SCRIPT), "sh", namespace, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                cwd=ROOT,
            )

    def python(self, namespace: str, *words: str, log: Path) -> subprocess.Popen[str]:
        """The same with this very Python."""
        return self.spawn(namespace, sys.executable, *words, log=log)

    def watch_shop(self) -> None:
        """Count what leaves the shop's machine, apart from what the agent is there for."""
        self.run("shop", "nft", f"""
            table inet watch {{
              counter allowed {{ }}
              counter elsewhere {{ }}
              chain output {{
                type filter hook output priority filter;
                oifname "lo" accept
                ip daddr {CLOUD} tcp dport {{ 443, 2222 }} counter name allowed accept
                ip6 daddr {CLOUD_IPV6} tcp dport {{ 443, 2222 }} counter name allowed accept
                meta l4proto ipv6-icmp accept
                ip daddr {LAN} tcp dport 80 counter name allowed accept
                counter name elsewhere
              }}
            }}""")  # fmt: skip

    def left_shop(self, counter: str) -> int:
        """Packets counted by `watch_shop`: `allowed` or `elsewhere`."""
        return self._counter("shop", "watch", counter)

    def forgive_shop(self) -> None:
        """Count again from nothing, after a test sent something elsewhere itself."""
        self.run("shop", "nft", "reset", "counters", "table", "inet", "watch")

    def dropped(self, counter: str) -> int:
        """Packets that the firewall dropped: `inbound_dropped`, `outbound_dropped`, …"""
        return self._counter("fw", "fw", counter)

    def _counter(self, namespace: str, table: str, counter: str) -> int:
        told = json.loads(self.run(namespace, "nft", "-j", "list", "counter", "inet", table, counter))
        return int(next(part["counter"]["packets"] for part in told["nftables"] if "counter" in part))

    def _script(
        self, *words: str, check: bool = True, seconds: float = COMMAND_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        return script(SCRIPT, *words, check=check, seconds=seconds)
