"""One process that plays many agents: each enrols with a key of its own and keeps one idle tunnel to the relay.

`python -m tests.bench.agents JOB` takes a `Job` as JSON, prints ENROLLED and then STANDING when all are so far, and
ends when a tunnel is lost.
"""

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from agent.enrolment import Admission, Enrolment, EnrolmentError
from agent.https import Link
from agent.identity import Identity
from agent.racing import Won
from agent.resolver import Resolver
from agent.transports import TcpDialer
from agent.tunnel import Tunnel
from agent.wire.destination import Store
from agent.wire.token import AccessToken

AT_ONCE = 16  # agents that enrol or dial at the same moment
ENROLLED, STANDING = "all are enrolled", "all tunnels stand"
ASKED = 20  # how often an agent asks before it gives up


@dataclass(frozen=True, slots=True)
class Job:
    """What to open: so many tunnels, each by an instance of its own, shared among the agents of these tokens."""

    relay: str
    tokens: list[str]
    store: str
    tunnels: int
    directory: str  # for the keys of all instances


async def keep(job: Job) -> None:
    """Open them all, say so, and stay until one is lost."""
    link, resolver, door = Link(job.relay, None), Resolver(), asyncio.Semaphore(AT_ONCE)
    tokens, store = [AccessToken.parse(token) for token in job.tokens], Store.parse(job.store)

    async def enrol(number: int) -> Admission:
        async with door:
            identity, token = Identity.open(Path(job.directory, str(number))), tokens[number % len(tokens)]
            return await _admission(Enrolment(job.relay, identity, lambda: token, link), store)

    async def dial(admission: Admission) -> Tunnel:
        async with door:
            endpoint = next(endpoint for endpoint in admission.endpoints if endpoint.transport == "tcp")
            won = Won(await TcpDialer(resolver).dial(endpoint), endpoint)
            return await Tunnel.open(admission, won, resolver)

    admissions = await asyncio.gather(*map(enrol, range(job.tunnels)))
    print(ENROLLED, flush=True)
    tunnels = await asyncio.gather(*map(dial, admissions))
    print(STANDING, flush=True)
    lost = [asyncio.ensure_future(tunnel.lost()) for tunnel in tunnels]
    done, _ = await asyncio.wait(lost, return_when=asyncio.FIRST_COMPLETED)
    raise SystemExit(f"lost: {done.pop().result()}")


async def _admission(enrolment: Enrolment, store: Store) -> Admission:
    """What a real agent does when the relay takes agents at its own pace: it waits and asks again."""
    for _ in range(ASKED):
        try:
            return await enrolment.enrol((store,))
        except EnrolmentError as error:
            if error.retry_after is None:
                raise
            await asyncio.sleep(error.retry_after)
    raise SystemExit(f"not admitted after {ASKED} requests")


def main() -> None:
    asyncio.run(keep(Job(**json.loads(sys.argv[1]))))


if __name__ == "__main__":
    main()
