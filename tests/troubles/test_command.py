"""`postern-relay connections test` as a technician uses it."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from relay.prestashop.remedies import REMEDIES
from tests.relay.gateway.certificates import authority, certificate
from tests.store import Store
from tests.system.programs import RELAY, Finished, finish, free_ports, problem_of
from tests.troubles.cells import SHOP, raw
from tests.troubles.premise import Premise

HOPS = ["agent", "online", "published", "name", "tcp", "tls", "http", "webservice", "key", "permissions"]
LINE = re.compile(r"([a-z]+) +(ok|FAILED|-)(?: +([0-9.]+) ms)?")


async def run(premise: Premise, *words: str, **environment: str) -> Finished:
    """The command on the road's relay, while this process serves the store."""
    command = [RELAY, "connections", "test", *words, *premise.road.options]
    variables = {"LC_ALL": "", "LANG": "C.UTF-8", **environment}
    return await asyncio.to_thread(finish, *command, variables=variables)


def hops(out: str) -> list[tuple[str, str]]:
    return [(found[1], found[2]) for line in out.splitlines()[:10] if (found := LINE.fullmatch(line))]


async def test_a_connection_that_works(premise: Premise) -> None:
    """A line per hop with its time, the shop, exit status 0; by name as by id."""
    async with Store.serve(port=premise.port, domain=SHOP) as store:
        made = premise.road.connect(premise.agent.entry.id, f"http://{SHOP}", store.keys["full"], name="By name")
        for word in (made.id, "By name"):
            ran = await run(premise, word)
            assert (ran.status, ran.err) == (0, ""), ran
            assert hops(ran.out) == [(hop, "-" if hop == "tls" else "ok") for hop in HOPS]
            assert re.search(r"^tcp +ok +[0-9.]+ ms$", ran.out, re.MULTILINE)
            assert f"shop         {store.shop.name}, PrestaShop 9.1.4" in ran.out
            assert "not granted" not in ran.out


async def test_a_connection_that_does_not(premise: Premise) -> None:
    """The hop that failed, what to do, the command that accepts the offer; exit status 1; French where it is spoken."""
    async with Store.serve(port=premise.port, domain=SHOP, auth_stripped=True) as store:
        made = premise.road.connect(premise.agent.entry.id, f"http://{SHOP}", store.keys["full"])
        ran = await run(premise, made.id)
        assert (ran.status, ran.err) == (1, ""), ran
        assert hops(ran.out)[-2:] == [("key", "FAILED"), ("permissions", "-")]
        remedy = REMEDIES["authorization_stripped"]
        assert remedy.en in ran.out
        assert f"postern-relay connections update {made.id} --key-place ws_key" in ran.out
        for name in ("LANG", "LC_MESSAGES", "LC_ALL"):
            french = await run(premise, made.id, **{name: "fr_FR.UTF-8"})
            assert remedy.fr in french.out
            assert hops(french.out) == hops(ran.out)
        assert remedy.en in (await run(premise, made.id, LC_ALL="C.UTF-8", LANG="fr_FR.UTF-8")).out
        accepted = premise.road.command("connections", "update", made.id, "--key-place", "ws_key")
        assert accepted.status == 0
        assert (await run(premise, made.id)).status == 0


async def test_findings_are_printed(premise: Premise) -> None:
    """What the key may not, and the notes; what the store says cannot act on the terminal."""
    async with Store.serve(port=premise.port, domain=SHOP, noise="bom") as store:
        store.shop.name = "Casa \x9b31m Lola"
        made = premise.road.connect(premise.agent.entry.id, f"http://{SHOP}", store.keys["products_get_only"])
        ran = await run(premise, made.id)
        assert ran.status == 0
        assert "not granted  order_histories: GET, HEAD, POST" in ran.out
        assert "byte_order_mark: " in ran.out
        assert "\x9b" not in ran.out


async def test_what_it_learns_of_the_key_is_kept(premise: Premise) -> None:
    """As after a test from the API; a test that did not come to the key takes nothing back."""
    async with Store.serve(port=premise.port, domain=SHOP) as store:
        made = premise.road.connect(premise.agent.entry.id, f"http://{SHOP}", store.keys["full"])
        shown = premise.road.cli("connections", "show", made.id)
        assert (shown["key_works"], shown["key_checked_at"]) == (None, None)
        stripped, off = {"auth_stripped": True}, {"auth_stripped": False, "webservice": False}
        for knobs, works in (({}, True), (off, True), (stripped | {"webservice": True}, False), (off, False)):
            store.knobs.update(**knobs)
            assert (await run(premise, made.id)).status == (1 if knobs else 0)
            shown = premise.road.cli("connections", "show", made.id)
            assert shown["key_works"] is works, knobs
            assert shown["key_checked_at"] >= shown["key_set_at"]


async def test_forwarding_follows_the_offers_that_were_accepted(premise: Premise) -> None:
    """The printed commands, run as printed: requests go to the shop's folder, with the key in the address."""
    async with Store.serve(port=premise.port, domain=SHOP, moved_to=f"http://{SHOP}/boutique") as store:
        key, orders = store.keys["full"], "/api/orders?limit=1"
        made = premise.road.connect(premise.agent.entry.id, f"http://{SHOP}", key)
        offered = offer_in((await run(premise, made.id)).out)
        assert offered == ["connections", "update", made.id, "--store-url", f"http://{SHOP}/boutique", "--api-key-file"]
        store.knobs.update(moved_to="", base_path="/boutique", auth_stripped=True)
        assert premise.road.command(*offered, "-", text=key).status == 0
        offered = offer_in((await run(premise, made.id)).out)
        assert offered == ["connections", "update", made.id, "--key-place", "ws_key"]
        assert premise.road.command(*offered).status == 0
        assert (await run(premise, made.id)).status == 0
        assert (await premise.ask(f"/to/{made.id}{orders}", method="GET")).status == 200
        assert store.requests[-1].target == f"/boutique{orders}&ws_key={key}".encode()


async def test_machine_output(premise: Premise) -> None:
    """`--json` prints the report of the surface in one line, with the same exit status."""
    async with Store.serve(port=premise.port, domain=SHOP, webservice=False) as store:
        made = premise.road.connect(premise.agent.entry.id, f"http://{SHOP}", store.keys["full"])
        ran = await run(premise, made.id, "--json")
        assert ran.status == 1
        report = json.loads(ran.out)
        assert set(report) == {"ok", "steps", "shop", "permissions", "notes", "offer"}
        assert ran.out.count("\n") == 1
        assert [step["name"] for step in report["steps"]] == HOPS
        assert store.keys["full"] not in ran.out


async def test_the_token_of_the_call_is_gone_afterwards(premise: Premise) -> None:
    """Made for the one call, to live for a minute, and deleted, whatever became of the call."""
    before = premise.road.cli("tokens", "list")
    made = premise.road.connect(premise.agent.entry.id, "http://other.test", "K" * 32)
    assert (await run(premise, made.id)).status == 1
    assert premise.road.cli("tokens", "list") == before
    events = premise.road.cli("audit", "list", "--limit", "10")["items"]
    (begun, ended) = [event for event in events if event["action"].startswith("api_token.")][1::-1]
    assert (begun["action"], ended["action"]) == ("api_token.create", "api_token.delete")
    assert begun["subject"] == ended["subject"]
    assert (begun["details"]["scope"], begun["details"]["name"]) == ("manage", "connections test")
    assert begun["details"]["expires_at"] - begun["at"] == 60


async def test_without_a_relay_that_serves(premise: Premise) -> None:
    """A plain sentence and exit status 1; also where something else answers, or nobody could be asked."""
    made = premise.road.connect(premise.agent.entry.id, "http://other.test", "K" * 32)
    state = ["--state-dir", str(premise.road.state_dir)]
    (free,) = free_ports(1)
    command = [RELAY, "connections", "test", made.id, *state]
    ran = await asyncio.to_thread(finish, *command, "--http", f"127.0.0.1:{free}")
    assert ran.status == 1
    assert f"no relay serves at http://127.0.0.1:{free}: start it with postern-relay serve" in problem_of(
        ran, "postern"
    )
    ran = await asyncio.to_thread(finish, *command, "--http", "127.0.0.1:0")
    assert (ran.status, "port 0" in problem_of(ran, "postern")) == (1, True)
    async with Store.serve() as store:
        ran = await asyncio.to_thread(finish, *command, "--http", store.authority)
        assert (ran.status, "is no relay on this database" in problem_of(ran, "postern")) == (1, True)
    via = f"http://127.0.0.1:{premise.road.http_port}"
    async with Store.serve() as store:
        for away in (f"127.0.0.1:{free}", store.authority):  # nobody there, somebody else there: PUBLIC_URL is asked
            ran = await asyncio.to_thread(finish, *command, "--http", away, "--public-url", via)
            assert (ran.status, "store_not_published" in ran.out) == (1, True), ran
    wrong = await run(premise, "no such connection")
    assert (wrong.status, "there is no connection" in problem_of(wrong, "postern")) == (1, True)


async def test_a_relay_that_speaks_tls_itself(premise: Premise, tmp_path: Path) -> None:
    """It is asked by its name and nowhere else, and known by the certificate that it shows, whoever issued that."""
    issued = certificate(authority("nobody's"), "localhost")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_text(issued.pem)
    key.write_bytes(issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    made = premise.road.connect(premise.agent.entry.id, "http://other.test", "K" * 32)
    passed = {"status": "passed", "ms": None, "code": None, "detail": "", "remedy": None}
    report = {
        "ok": True,
        "steps": [{"name": hop, **passed} for hop in HOPS],
        "shop": {"name": "said by the stub", "version": None},
        "permissions": {"granted": {}, "missing": {}},
        "notes": [],
        "offer": None,
    }
    knobs = raw("200 OK", json.dumps(report), kind="application/json")
    command = [RELAY, "connections", "test", made.id, "--state-dir", str(premise.road.state_dir)]
    async with Store.serve(tls=issued.server(), knobs=knobs) as stub, Store.serve() as plain:
        command += ["--http", plain.authority, "--public-url", f"https://localhost:{stub.port}"]
        ran = await asyncio.to_thread(finish, *command, "--tls-cert-file", str(chain), "--tls-key-file", str(key))
        assert (ran.status, "said by the stub" in ran.out) == (0, True), ran
        assert plain.connections_total == 0
        (asked,) = stub.requests
        assert asked.target == f"/v1/connections/{made.id}/test".encode()
        strange = await asyncio.to_thread(finish, *command)
        assert (strange.status, len(stub.requests)) == (1, 1)
        assert f"https://localhost:{stub.port} is not known here" in problem_of(strange, "postern")


def offer_in(out: str) -> list[str]:
    """The words of the command that is printed as the offer, without the program's name and `FILE`."""
    (line,) = [line for line in out.splitlines() if line.startswith("  postern-relay ")]
    return line.removesuffix(" FILE").split()[1:]
