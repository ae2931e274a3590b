"""What a hosted connector does, from its two forms to the first list of products, with Postern's API alone.

    python connector.py https://relay.example.com api.token http://shop.lan store.key agent.token

`api.token` holds an API token of the scope `manage`, `store.key` the shop's webservice key. What is written to
`agent.token` the merchant gives to the agent, which this waits for.
"""

from __future__ import annotations

import sys
import time
import uuid
from pathlib import Path
from typing import Any

import httpx

WAIT_SECONDS = 600  # for the merchant to start the agent


def main(relay: str, token_file: str, store_url: str, key_file: str, agent_file: str) -> None:
    headers = {"Authorization": f"Bearer {read(token_file)}"}
    with httpx.Client(base_url=relay, headers=headers, timeout=90) as api:
        agent = create(api, "/v1/agents", {"name": "Shop Lyon"})
        Path(agent_file).touch(mode=0o600)
        Path(agent_file).write_text(agent["token"], encoding="ascii")
        print(f"agent {agent['id']}: start it with\n  postern-agent run --relay {relay} --token-file {agent_file} …")
        wait_until_online(api, agent["id"])
        options = told(api.get("/v1/agents", params={"as": "options"}))
        print("agents to choose from:", ", ".join(option["label"] for option in options))
        form = {"name": "Shop Lyon", "mode": "on-premise", "agent": agent["id"], "store_url": store_url}
        connection = create(api, "/v1/connections", form | {"api_key": read(key_file)})
        print(f"connection {connection['id']} to {connection['store_url']}", *connection["understood"], sep="\n  ")
        report = told(api.post(f"/v1/connections/{connection['id']}/test"))
        for step in report["steps"]:
            print(f"  {step['name']}: {step['status']}", step["remedy"]["en"] if step["remedy"] else "")
        if not report["ok"]:
            sys.exit(1)
    query = {"display": "[id,reference]", "limit": "5", "output_format": "JSON"}
    answer = httpx.get(f"{connection['url']}/api/products", params=query, auth=(connection["access_key"], ""))
    print("products:", answer.raise_for_status().text)


def create(api: httpx.Client, path: str, form: dict[str, str]) -> Any:
    """Sent twice if the first answer is lost, and carried out once."""
    key = {"Idempotency-Key": str(uuid.uuid4())}
    try:
        return told(api.post(path, json=form, headers=key))
    except httpx.TransportError:
        return told(api.post(path, json=form, headers=key))


def wait_until_online(api: httpx.Client, agent: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while told(api.get(f"/v1/agents/{agent}"))["state"] != "online":
        if time.monotonic() > deadline:
            sys.exit("the agent has not come online: postern-agent check says why")
        time.sleep(1)


def told(answer: httpx.Response) -> Any:
    """The answer's JSON; a problem (RFC 9457) ends the program with its sentence."""
    if answer.is_error:
        sys.exit(f"{answer.json()['code']}: {answer.json()['detail']}")
    return answer.json()


def read(file: str) -> str:
    return Path(file).read_text(encoding="ascii").strip()


if __name__ == "__main__":
    main(*sys.argv[1:])
