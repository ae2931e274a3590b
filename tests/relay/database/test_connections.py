"""The connection form, and the store's key, which is written and never read out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydantic import SecretStr
from sqlalchemy import update

from relay.database import access_keys, agents, connections, tokens, uses
from relay.database.connection_form import ConnectionPatch
from relay.database.credentials import access_key_digest, api_token_digest, digest, new_access_key, new_api_token
from relay.database.engine import Database
from relay.database.errors import Conflict, Invalid, NameTaken
from relay.database.secrets import DoesNotOpen
from relay.database.tables import ConnectionRow
from relay.records import KeyPlace, Mode, Scope, Trust
from tests.relay.database.scene import BY, NOW, STORE_KEY, Clock, form, written

OTHER_KEY = SecretStr("OTHERSTOREKEYOTHERSTOREKEY012345")


async def test_hot_path_gets_everything(database: Database, account: str) -> None:
    """Loaded for use: the store as it was meant, the key opened, the digests of the access keys."""
    agent = (await agents.create(database, account, "shop", by=BY)).agent.id
    pin = "AB:" * 31 + "CD"
    made = await connections.create(
        database,
        account,
        form(
            mode=Mode.ON_PREMISE,
            agent=agent,
            store_url=" https://Shop.LAN:8443/presta/api/ ",
            api_key=SecretStr(f" {STORE_KEY}\n"),
            key_place=KeyPlace.WS_KEY,
            trust=Trust(pinned_spki_sha256=pin),
            concurrency=8,
        ),
        by=BY,
    )
    loaded = await connections.load(database, made.connection.id)
    assert loaded is not None
    assert (loaded.account, loaded.name, loaded.mode, loaded.agent) == (account, "Shop", Mode.ON_PREMISE, agent)
    assert str(loaded.store) == "https://shop.lan:8443/presta"
    assert loaded.api_key.get_secret_value() == STORE_KEY
    assert (loaded.key_place, loaded.concurrency) == (KeyPlace.WS_KEY, 8)
    assert loaded.trust == Trust(pinned_spki_sha256="ab" * 31 + "cd")
    key = made.access_key.get_secret_value()
    assert loaded.access_keys == ((made.connection.access_keys[0].id, digest(key)),)
    assert access_key_digest(key) == digest(key)


async def test_needs_no_agent_online_and_no_store(database: Database, account: str) -> None:
    """A connection can be made before its agent has ever dialled in; only the agent's entry must exist."""
    agent = (await agents.create(database, account, "shop", by=BY)).agent.id
    await connections.create(database, account, form(mode=Mode.ON_PREMISE, agent=agent), by=BY)
    with pytest.raises(Invalid, match="no agent") as refused:
        await connections.create(database, account, form(name="b", mode=Mode.ON_PREMISE, agent="agt_x"), by=BY)
    assert refused.value.field == "agent"


async def test_agent_of_another_account(database: Database, account: str, stranger: str) -> None:
    """Another account's agent is refused in the words for one that does not exist."""
    agent = (await agents.create(database, stranger, "shop", by=BY)).agent.id
    with pytest.raises(Invalid, match="there is no agent"):
        await connections.create(database, account, form(mode=Mode.ON_PREMISE, agent=agent), by=BY)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"mode": Mode.ON_PREMISE}, "agent"),
        ({"agent": "agt_aaaaaaaaaaaaaaaa"}, "agent"),
        ({"name": " "}, "name"),
        ({"store_url": "ftp://shop.lan"}, "store_url"),
        ({"api_key": SecretStr("short")}, "api_key"),
        ({"api_key": SecretStr("x" * 33)}, "api_key"),
        ({"api_key": SecretStr("x" * 31 + "/")}, "api_key"),
        ({"api_key": SecretStr("É" * 32)}, "api_key"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": 1025}, "concurrency"),
        ({"answer_timeout": 0}, "answer_timeout"),
        ({"answer_timeout": 901}, "answer_timeout"),
        ({"trust": Trust(ca_pem="nonsense")}, "ca_pem"),
        ({"trust": Trust(pinned_spki_sha256="ab")}, "pinned_spki_sha256"),
    ],
)
def test_form_that_is_refused(changed: dict[str, Any], field: str) -> None:
    """Each mistake names its field, and no message repeats the key."""
    with pytest.raises(Invalid) as refused:
        connections.draft("acc_x", form(**changed))
    assert refused.value.field == field
    if "api_key" in changed:
        assert changed["api_key"].get_secret_value() not in str(refused.value)


def test_draft_is_a_connection() -> None:
    """What the form says can be tried before it is saved."""
    draft = connections.draft("acc_x", form())
    assert (draft.id, draft.account, draft.api_key.get_secret_value()) == ("con_draft", "acc_x", STORE_KEY)


async def test_another_target_needs_the_key_again(database: Database, account: str, clock: Clock) -> None:
    """Store address, mode or agent changed without the key: refused, and nothing is changed."""
    agent, other = [(await agents.create(database, account, name, by=BY)).agent.id for name in "ab"]
    made = await connections.create(database, account, form(mode=Mode.ON_PREMISE, agent=agent), by=BY)
    id_ = made.connection.id
    for patch in (
        {"store_url": "https://evil.example.com/prestashop"},
        {"store_url": "http://www.example.com/prestashop"},
        {"store_url": "https://www.example.com/other"},
        {"agent": other},
        {"mode": Mode.CLOUD, "agent": None},
    ):
        with pytest.raises(Invalid, match="again") as refused:
            await connections.update(database, account, id_, ConnectionPatch(**patch), by=BY)
        assert refused.value.field == "api_key"
    clock.now += 60
    await connections.update(database, account, id_, ConnectionPatch(name="B", concurrency=2), by=BY)
    loaded = await connections.load(database, id_)
    assert loaded is not None
    assert (loaded.name, loaded.agent, loaded.api_key.get_secret_value()) == ("B", agent, STORE_KEY)
    patch_all = ConnectionPatch(mode=Mode.CLOUD, agent=None, store_url="http://x.example.com", api_key=OTHER_KEY)
    record = await connections.update(database, account, id_, patch_all, by=BY)
    assert (record.key_set_at, record.updated_at, record.created_at) == (NOW + 60, NOW + 60, NOW)
    assert record.access_keys == made.connection.access_keys
    loaded = await connections.load(database, id_)
    assert loaded is not None
    assert loaded.api_key == OTHER_KEY


async def test_same_address_in_other_words(database: Database, account: str) -> None:
    """An address that means the same store does not ask for the key."""
    made = await connections.create(database, account, form(), by=BY)
    patch = ConnectionPatch(store_url="https://WWW.example.com:443/prestashop/api/")
    assert (await connections.update(database, account, made.connection.id, patch, by=BY)).store_url == (
        "https://www.example.com/prestashop"
    )


async def test_row_altered_behind_our_back(database: Database, account: str, stranger: str) -> None:
    """Whoever can write the database, but has no master key, cannot send a key elsewhere."""
    agent = (await agents.create(database, account, "shop", by=BY)).agent.id
    first = (await connections.create(database, account, form(name="a"), by=BY)).connection.id
    second = (await connections.create(database, account, form(name="b", api_key=OTHER_KEY), by=BY)).connection.id
    async with database.reading() as session:
        sealed = (await session.get_one(ConnectionRow, second)).key_sealed
    for altered in (
        {"store_url": "https://evil.example.com"},
        {"mode": "on-premise", "agent": agent},
        {"key_sealed": sealed},
    ):
        statement = update(ConnectionRow).where(ConnectionRow.id == first)
        async with database.writing() as session:
            before = await session.get_one(ConnectionRow, first)
            restored = {name: getattr(before, name) for name in altered}
            await session.execute(statement.values(**altered))
        with pytest.raises(DoesNotOpen):
            await connections.load(database, first)
        async with database.writing() as session:
            await session.execute(statement.values(**restored))
    assert await connections.load(database, first)


async def test_access_keys_rotate_without_a_gap(database: Database, account: str) -> None:
    """Two may be valid; a third is refused until one is revoked."""
    made = await connections.create(database, account, form(), by=BY)
    id_, first = made.connection.id, made.connection.access_keys[0].id
    second = await access_keys.rotate(database, account, id_, by=BY)
    with pytest.raises(Conflict, match=first) as refused:
        await access_keys.rotate(database, account, id_, by=BY)
    assert refused.value.code == "two_keys_valid"
    await access_keys.revoke(database, account, id_, first, by=BY)
    loaded = await connections.load(database, id_)
    assert loaded is not None
    assert loaded.access_keys == ((second.key.id, digest(second.text.get_secret_value())),)
    await access_keys.rotate(database, account, id_, by=BY)


async def test_names_of_connections(database: Database, account: str, stranger: str) -> None:
    """Unique in an account, free in another, and good for finding one."""
    made = await connections.create(database, account, form(), by=BY)
    with pytest.raises(NameTaken):
        await connections.create(database, account, form(), by=BY)
    await connections.create(database, stranger, form(), by=BY)
    assert (await connections.find(database, account, "Shop")).id == made.connection.id
    assert {each.id for each in (await connections.page(database, account)).items} == {made.connection.id}


def test_own_authority_is_kept_clean() -> None:
    """Of a pasted CA file only the certificates stay: no comments, and no private key."""
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shop CA")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    pem = builder.sign(key, None).public_bytes(Encoding.PEM).decode()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    draft = connections.draft("acc_x", form(trust=Trust(ca_pem=f"# ours\n{pem}\n{private}{pem}")))
    assert draft.trust.ca_pem == pem + pem


async def test_whether_the_key_works_is_remembered(database: Database, account: str, clock: Clock) -> None:
    """What a test has found stays until another key is given; what was learnt of an older key is passed over."""
    made = (await connections.create(database, account, form(), by=BY)).connection

    async def known() -> tuple[int | None, bool | None]:
        record = await connections.find(database, account, made.id)
        return record.key_checked_at, record.key_works

    assert await known() == (None, None)
    await connections.note_key(database, made.id, works=True, at=NOW + 5)
    assert await known() == (NOW + 5, True)
    clock.now += 60
    await connections.update(database, account, made.id, ConnectionPatch(name="B"), by=BY)
    assert await known() == (NOW + 5, True)
    await connections.update(database, account, made.id, ConnectionPatch(api_key=OTHER_KEY), by=BY)
    assert await known() == (None, None)
    await connections.note_key(database, made.id, works=True, at=NOW + 30)
    await connections.note_key(database, "con_aaaaaaaaaaaaaaaa", works=True, at=NOW + 60)
    assert await known() == (None, None)
    await connections.note_key(database, made.id, works=False, at=NOW + 60)
    assert await known() == (NOW + 60, False)


async def test_how_long_a_store_may_be_silent(database: Database, account: str) -> None:
    """Five minutes, unless the form or a change says otherwise; the hot path gets it."""
    made = (await connections.create(database, account, form(), by=BY)).connection
    assert made.answer_timeout == 300
    await connections.update(database, account, made.id, ConnectionPatch(answer_timeout=900), by=BY)
    loaded = await connections.load(database, made.id)
    assert loaded is not None
    assert loaded.answer_timeout == 900
    assert connections.draft(account, form(answer_timeout=1)).answer_timeout == 1


async def test_last_use_is_noted(database: Database, account: str) -> None:
    """Of API tokens and access keys, by their digests, in one go; others stay as they were, and no node hears of it."""
    made = await connections.create(database, account, form(), by=BY)
    second = await access_keys.rotate(database, account, made.connection.id, by=BY)
    token = await tokens.create(database, account, "t", [Scope.READ], by=BY)
    other = await tokens.create(database, account, "u", [Scope.READ], by=BY)
    before = await written(database)
    used = [digest(each.get_secret_value()) for each in (made.access_key, token.text)]
    await uses.note(database, [*used, *(f"{n:064x}" for n in range(2 * uses.DIGESTS_AT_ONCE))], NOW + 7)
    await uses.note(database, [], NOW + 8)
    assert await written(database) == before
    keys = (await connections.find(database, account, made.connection.id)).access_keys
    assert {key.id: key.last_used_at for key in keys} == {
        made.connection.access_keys[0].id: NOW + 7,
        second.key.id: None,
    }
    assert (await tokens.find(database, account, token.token.id)).last_used_at == NOW + 7
    assert (await tokens.find(database, account, other.token.id)).last_used_at is None


def test_credentials_are_recognised() -> None:
    """A token with one character changed, or half of it, is not even looked up."""
    text = new_api_token().get_secret_value()
    assert api_token_digest(text) == digest(text)
    for index in range(len(text)):
        other = "a" if text[index] != "a" else "b"
        assert api_token_digest(text[:index] + other + text[index + 1 :]) is None
    for wrong in ("", "ptk_", text[:-1], text + "a", text.upper(), f" {text}", text + "\n"):
        assert api_token_digest(wrong) is None
    key = new_access_key().get_secret_value()
    for wrong in ("", key.lower(), key[:-1], key + "A", key + "\n", "ptk_"):
        assert access_key_digest(wrong) is None
