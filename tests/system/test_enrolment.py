"""How an agent becomes one: what the relay believes of an enrolment, and what the agent believes of a relay."""

from __future__ import annotations

import asyncio
import time

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.wire.token import AccessToken
from tests.system import caller, hostile
from tests.system.caller import Answer
from tests.system.lan import Lan
from tests.system.programs import AGENT, finish, problem_of
from tests.system.road import Road

CONFIGURATION = 78


def code(answer: Answer) -> tuple[int, str]:
    assert answer.header("Content-Type") == "application/problem+json"
    return answer.status, answer.json["code"]


def test_an_enrolment_is_taken_once(road: Road) -> None:
    """The same bytes again, and again in another connection: refused as seen before, for as long as they are young."""
    signed = hostile.sign(road, road.new_agent().token, Ed25519PrivateKey.generate())
    assert hostile.post(road, signed).status == 200
    for _ in range(2):
        assert code(hostile.post(road, signed)) == (409, "nonce_reused")


def test_of_many_copies_at_once_one_is_taken(road: Road) -> None:
    """Sent in parallel, one and the same enrolment wins once."""
    signed = hostile.sign(road, road.new_agent().token, Ed25519PrivateKey.generate())

    async def all_at_once() -> list[Answer]:
        return await asyncio.gather(*(asyncio.to_thread(hostile.post, road, signed) for _ in range(8)))

    statuses = sorted(answer.status for answer in asyncio.run(all_at_once()))
    assert statuses[0] == 200
    assert all(status in {409, 503} for status in statuses[1:]), statuses


def test_nothing_of_it_can_be_changed(road: Road) -> None:
    """Another body, time, nonce or token under the same signatures: refused, and the original is still good."""
    entry, other = road.new_agent(), road.new_agent()
    signed = hostile.sign(road, entry.token, Ed25519PrivateKey.generate())
    changed = signed.body.replace(b"by-hand", b"by-hook")
    assert changed != signed.body
    spoiled = {
        "body": hostile.post(road, signed, body=changed),
        "time": hostile.post(road, signed, {"Postern-Time": str(signed.time + 1)}),
        "nonce": hostile.post(road, signed, {"Postern-Nonce": "0" * 32}),
        "token": hostile.post(road, signed, {"Postern-Token": AccessToken.parse(other.token).id}),
    }
    assert {name: code(answer) for name, answer in spoiled.items()} == dict.fromkeys(
        spoiled, (403, "signature_invalid")
    )
    assert hostile.post(road, signed).status == 200


def test_both_keys_must_sign(road: Road) -> None:
    """A token whose signature is another's, or an instance key that did not sign: refused."""
    mine, theirs = road.new_agent(), road.new_agent()
    key = Ed25519PrivateKey.generate()
    own, foreign = hostile.sign(road, mine.token, key), hostile.sign(road, theirs.token, key)
    mixed = {"Postern-Token": own.headers["Postern-Token"]}
    assert code(hostile.post(road, foreign, mixed)) == (403, "signature_invalid")
    stranger = hostile.sign(road, mine.token, Ed25519PrivateKey.generate())
    stolen = {"Postern-Instance-Signature": stranger.headers["Postern-Instance-Signature"]}
    assert code(hostile.post(road, own, stolen)) == (403, "signature_invalid")


def test_an_enrolment_is_for_one_relay_and_one_hour(road: Road) -> None:
    """Signed for another address, or with a clock that is off by more than an hour: refused, and told by how much."""
    token, key = road.new_agent().token, Ed25519PrivateKey.generate()
    elsewhere = hostile.post(road, hostile.sign(road, token, key, relay="https://other.example.com"))
    assert elsewhere.status in {400, 403}
    for skew in (-4000, 4000):
        answer = hostile.post(road, hostile.sign(road, token, key, time=int(time.time()) + skew))
        assert code(answer) == (400, "clock_skew")
        assert abs(answer.json["skew_seconds"] - skew) <= 2
    assert hostile.post(road, hostile.sign(road, token, key, time=int(time.time()) - 3000)).status == 200


def test_unknown_tokens_and_instances(road: Road) -> None:
    """A well-formed token of nobody, and a renewal by a key that never enrolled: refused by name."""
    known = AccessToken.parse(road.new_agent().token)
    nobody = AccessToken.generate(known.ca_fingerprint).reveal()
    assert code(hostile.post(road, hostile.sign(road, nobody, Ed25519PrivateKey.generate())))[1] == "token_unknown"
    assert code(hostile.post(road, hostile.sign(road, None, Ed25519PrivateKey.generate())))[1] == "instance_unknown"


def test_a_second_machine_is_an_instance_too_many(road: Road) -> None:
    """While the agent's one place is held by an instance that is online, another key is refused, token or not."""
    entry = road.new_agent()
    agent = road.start_agent(entry, ["http://shop.test=127.0.0.1:9"])
    assert (
        code(hostile.post(road, hostile.sign(road, entry.token, Ed25519PrivateKey.generate())))[1] == "instance_limit"
    )
    agent.program.stop()


def test_what_is_not_an_enrolment_is_refused_without_a_fuss(road: Road) -> None:
    """Rubbish, huge bodies, wrong methods: 4xx problems, and the relay lives."""
    path = "/v1/agent/enrolment"
    for body, headers in (
        (b"", []),
        (b"{}", []),
        (b"\xff\xfe", [("Postern-Time", "1"), ("Postern-Nonce", "0" * 32)]),
        (b"[" * 20000, [("Postern-Time", "9" * 400), ("Postern-Nonce", "x" * 32)]),
        (b'{"public_key": "' + b"a" * 100_000 + b'"}', []),
    ):
        answer = caller.ask(road.http_port, "POST", path, headers, body)
        assert 400 <= answer.status < 500, answer
    assert 400 <= road.ask(path).status < 500
    assert road.ask("/readyz").status == 200


def test_the_token_of_a_revoked_agent(road: Road, lan: Lan) -> None:
    """An agent that starts with it ends with 78 and one sentence that says what happened and what to do."""
    entry = road.new_agent()
    road.cli("agents", "revoke", entry.id)
    token_file = road.home / "revoked.token"
    token_file.write_text(entry.token)
    token_file.chmod(0o600)
    done = finish(
        AGENT, "run", "--relay", road.url, "--store", "http://shop.test", "--token-file", str(token_file),
        "--state-dir", str(road.home / "revoked.state"),
    )  # fmt: skip
    assert done.status == CONFIGURATION
    assert "revoked" in problem_of(done, "postern-agent").splitlines()[-1]
