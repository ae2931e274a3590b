"""One process that plays many agents: each enrols with a key of its own and keeps one idle tunnel to the relay.

`python -m tests.bench.agents JOB` takes a `Job` as JSON, prints one line of JSON when all tunnels stand, and ends when
one is lost.
"""

import asyncio
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from agent.enrolment import Enrolment
from agent.https import Link
from agent.identity import Identity
from agent.resolver import Resolver
from agent.transports import TcpDialer
from agent.tunnel import Tunnel
from agent.wire.destination import Store
from agent.wire.token import AccessToken

AT_ONCE = 16  # agents that enrol or dial at the same moment


@dataclass(frozen=True, slots=True)
class Job:
    """What to open: so many tunnels, each by an instance of its own, shared among the agents of these tokens."""

    relay: str
    tokens: list[str]
    store: str
    tunnels: int


async def keep(job: Job, directory: Path) -> None:
    """Open them all, say so, and stay until one is lost."""
    link, resolver, door = Link(job.relay, None), Resolver(), asyncio.Semaphore(AT_ONCE)
    tokens, store = [AccessToken.parse(token) for token in job.tokens], Store.parse(job.store)

    async def one(number: int) -> Tunnel:
        async with door:
            identity = Identity.open(directory / str(number))
            token = tokens[number % len(tokens)]
            admission = await Enrolment(job.relay, identity, lambda: token, link).enrol((store,))
            endpoint = next(endpoint for endpoint in admission.endpoints if endpoint.transport == "tcp")
            return await Tunnel.open(admission, endpoint, TcpDialer(resolver), resolver)

    tunnels = await asyncio.gather(*map(one, range(job.tunnels)))
    print(json.dumps({"tunnels": len(tunnels)}), flush=True)
    lost = [asyncio.ensure_future(tunnel.lost()) for tunnel in tunnels]
    done, _ = await asyncio.wait(lost, return_when=asyncio.FIRST_COMPLETED)
    raise SystemExit(f"lost: {done.pop().result()}")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="postern-agents-") as directory:
        asyncio.run(keep(Job(**json.loads(sys.argv[1])), Path(directory)))


if __name__ == "__main__":
    main()
