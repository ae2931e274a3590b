"""What is written of the rounds: RESULTS.md.

    python -m tests.lab.report < LAB_DIR/rounds.jsonl

That file has every round that this lab ever played, one JSON object a line. It is read for rounds that were played in
several runs; `make lab FULL=1` writes of its own ones.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from tests.lab.connector import RATE
from tests.lab.faults import FAULTS, IDLE_NOTICE_SECONDS, NOTICE_SECONDS, RECOVER_SECONDS, misses
from tests.lab.verdict import Verdict, failures, table

ROUNDS = 5
LONG_SECONDS = 60.0
"""A fault that lasts longer has one round only."""

REPORT = """\
# What faults cost

Measured {date} by `make lab FULL=1` on {cores} cores, Linux {kernel}. {rounds} rounds of each fault, one of those that
last longer than {long:.0f} s; the median, and the worst in brackets where it differs. A connector asks {rate} times a
second, half GET, half POST, each on a connection of its own, through nginx, relay, tunnels and agent, all under
systemd, over the lab's network. Seconds count from the fault's beginning, `first answer` from its end where it lasts.

{table}

first answer: to the first request that began after the fault. all well: the end of the last request that failed, or
was held (answered well after more than a second). `tunnel_lost`: POSTs whose bytes had left when their path died, so
that nobody sends them again. failed otherwise: no answer of 2xx for another reason. POST twice: it reached the shop
more than once. untrue: the answer said `not_sent`, and the shop has seen the request. What was in a relay or in a shop
when that was killed fails with it, and what waits for longer than the hold of 10 s, or is too much to be held.

How requests failed, the least and the most in a round:

{failures}

The bars: no POST twice; no GET failed where another tunnel stands or the fault heals within the hold, and a POST only
as `tunnel_lost`; a dead path noticed by both ends within {notice:.0f} s under traffic, {idle:.0f} s without; all well
within {recover:.0f} s after the path is back, or after it was noticed to be dead where there is another (10 s where a
process starts anew). Rounds that missed one:

{missed}

The rounds of a fault follow each other within 15 to 30 s, so that the agent's growing pauses after quick losses are in
these figures.

Clocks: kernels have one for all namespaces, so that the agent runs under libfaketime in those rows. The proxies are
`outlet.py` on the shop's LAN, the one way out of it: with a password, for the relay's port 443 alone; one shows a
certificate of its own and reads along. Names are in `/etc/hosts`, and gone when they are taken out there.
"""


def note(verdict: Verdict, file: Path) -> None:
    """Append a round to those of this lab."""
    with file.open("a") as lines:
        lines.write(json.dumps(asdict(verdict)) + "\n")


def report(rounds: Sequence[Verdict]) -> str:
    return REPORT.format(
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        cores=os.cpu_count(),
        kernel=platform.release().split("-")[0],
        rounds=ROUNDS,
        long=LONG_SECONDS,
        rate=RATE,
        table=table(rounds),
        failures=failures(rounds),
        notice=NOTICE_SECONDS,
        idle=IDLE_NOTICE_SECONDS,
        recover=RECOVER_SECONDS,
        missed=_missed(rounds),
    )


def _missed(rounds: Sequence[Verdict]) -> str:
    """A line for each fault with the bars it missed, and in how many rounds."""
    lines = []
    for fault in FAULTS:
        missed = [misses(fault, verdict) for verdict in rounds if verdict.fault == fault.name]
        if words := [text for each in missed for text in each]:
            lines.append(f"- {fault.name}, {sum(map(bool, missed))} of {len(missed)}: {'; '.join(words)}")
    return "\n".join(lines) or "None."


if __name__ == "__main__":
    print(report([Verdict(**json.loads(line)) for line in sys.stdin]), end="")
