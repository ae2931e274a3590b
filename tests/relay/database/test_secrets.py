"""What is sealed opens where it was sealed, and nowhere else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.database.errors import Conflict, DatabaseUnusable
from relay.database.secrets import DoesNotOpen, KeyFile, Keyring, MasterKey, Place, UnknownMasterKey, sealed_with

PLACE = Place("connections", "con_a", "key_sealed", ("acc_a", "on-premise", "agt_a", "http://shop.lan"))
RING = Keyring((MasterKey.generate(), MasterKey.generate()))

words = st.text(max_size=20)
places = st.builds(Place, words, words, words, st.lists(words, max_size=4).map(tuple))


@given(secret=st.binary(max_size=200), place=places)
def test_opens_where_it_was_sealed(secret: bytes, place: Place) -> None:
    """A sealed secret opens at its own place, whatever both are made of."""
    assert RING.open(RING.seal(secret, place), place).get_secret_value() == secret


@given(here=places, there=places)
def test_moved_ciphertext_does_not_open(here: Place, there: Place) -> None:
    """At any other place it does not open, not even one whose words only divide differently."""
    sealed = RING.seal(b"secret", here)
    if here == there:
        RING.open(sealed, there)
    else:
        with pytest.raises(DoesNotOpen):
            RING.open(sealed, there)


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(PLACE, row="con_b"),
        dataclasses.replace(PLACE, column="ca_pem"),
        dataclasses.replace(PLACE, table="authorities"),
        *(
            dataclasses.replace(PLACE, bound=(*PLACE.bound[:n], "other", *PLACE.bound[n + 1 :]))
            for n in range(len(PLACE.bound))
        ),
        dataclasses.replace(PLACE, bound=("acc_aon-premise", "", *PLACE.bound[2:])),
    ],
    ids=str,
)
def test_every_part_of_the_place_counts(other: Place) -> None:
    """Row, column, table, account, mode, agent and store: each of them alone keeps the key shut."""
    with pytest.raises(DoesNotOpen):
        RING.open(RING.seal(b"secret", PLACE), other)


@given(data=st.data())
def test_altered_ciphertext_does_not_open(data: st.DataObject) -> None:
    """One character changed anywhere: an error with a name, never another secret."""
    sealed = RING.seal(b"secret", PLACE)
    index = data.draw(st.integers(0, len(sealed) - 1))
    other = data.draw(st.characters(min_codepoint=33, max_codepoint=126).filter(lambda c: c != sealed[index]))
    with pytest.raises((DoesNotOpen, UnknownMasterKey)):
        RING.open(sealed[:index] + other + sealed[index + 1 :], PLACE)


@given(text=st.text(max_size=100))
def test_nonsense_does_not_open(text: str) -> None:
    """Whatever stands in the column: an error with a name."""
    with pytest.raises((DoesNotOpen, UnknownMasterKey)):
        RING.open(text, PLACE)


def test_key_id_of_another_key_does_not_open() -> None:
    """A ciphertext that claims to be sealed with another key of the ring does not open."""
    version, _, nonce, ciphertext = RING.seal(b"secret", PLACE).split(".")
    with pytest.raises(DoesNotOpen):
        RING.open(f"{version}.{RING.keys[1].id}.{nonce}.{ciphertext}", PLACE)


def test_unknown_master_key_is_named() -> None:
    """A key id that is not in the file is told from a secret that does not open."""
    with pytest.raises(UnknownMasterKey, match=RING.current.id):
        Keyring((MasterKey.generate(),)).open(RING.seal(b"secret", PLACE), PLACE)


def test_every_nonce_is_fresh() -> None:
    """The same secret at the same place is sealed differently each time."""
    assert len({RING.seal(b"secret", PLACE) for _ in range(100)}) == 100


def test_form_of_a_sealed_secret() -> None:
    """`v1.<key id>.<nonce>.<ciphertext>`, sealed with the first key."""
    sealed = RING.seal(b"secret", PLACE)
    assert sealed.startswith(f"v1.{RING.current.id}.")
    assert sealed_with(sealed) == RING.current.id


def test_nothing_prints_itself(keys: KeyFile) -> None:
    """No representation of a key, a ring or an opened secret shows it."""
    keys.create()
    secret = keys.keyring.current.secret
    opened = keys.open(keys.seal(b"canary", PLACE), PLACE)
    shown = repr((keys, keys.keyring, keys.keyring.current, opened)) + str(opened)
    assert "canary" not in shown
    assert repr(secret)[2:-1] not in shown


def test_made_for_its_owner_alone(keys: KeyFile) -> None:
    """The file is made 0600 in a directory 0700, once."""
    keys.create()
    before = keys.path.read_text()
    keys.create()
    assert keys.path.read_text() == before
    assert keys.path.stat().st_mode & 0o777 == 0o600
    assert keys.path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("mode", "credential", "taken"),
    [
        (0o600, False, True),
        (0o400, False, True),
        (0o640, False, False),
        (0o604, False, False),
        (0o400, True, True),
        (0o440, True, True),
        (0o640, True, True),
        (0o444, True, False),
        (0o460, True, False),
    ],
)
def test_rights_of_the_key_file(tmp_path: Path, mode: int, credential: bool, taken: bool) -> None:
    """Others may not read the keys; the group may read a credential, as systemd sets it up."""
    path = tmp_path / "master.keys"
    path.write_text(MasterKey.generate().line)
    path.chmod(mode)
    file = KeyFile(path, credential=credential)
    if taken:
        assert file.keyring.keys
    else:
        with pytest.raises(DatabaseUnusable, match="chmod 600"):
            file.read()


def test_open_directory_is_refused(keys: KeyFile) -> None:
    """A directory that others may look into gets no keys."""
    keys.path.parent.mkdir(mode=0o755)
    with pytest.raises(DatabaseUnusable, match="chmod 700"):
        keys.create()


@pytest.mark.parametrize(
    "text",
    ["", "\n", "abc", "abc !!!!", f"a.b {'A' * 43}=", "id QUJD", MasterKey("a", b"x" * 32).line * 2, "\x00 \x00"],
)
def test_damaged_key_file(tmp_path: Path, text: str) -> None:
    """A file that is not keys is refused in a sentence that does not quote it."""
    path = tmp_path / "master.keys"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(DatabaseUnusable, match=r"master\.keys is damaged") as error:
        KeyFile(path).read()
    said = str(error.value).rpartition("is damaged: ")[2]
    assert not text.strip() or text.strip() not in said


def test_another_process_added_a_key(keys: KeyFile) -> None:
    """A running relay reads the file again when it meets a key id that it does not know."""
    keys.create()
    running = KeyFile(keys.path)
    running.open(running.seal(b"before", PLACE), PLACE)
    keys.add_key()
    assert running.open(keys.seal(b"after", PLACE), PLACE).get_secret_value() == b"after"


def test_new_secrets_are_sealed_with_the_newest_key(keys: KeyFile) -> None:
    """Once another process has added a key, a running relay seals with it: the older one may be taken away."""
    keys.create()
    running = KeyFile(keys.path)
    older = running.seal(b"before", PLACE)
    added = keys.add_key()
    sealed = running.seal(b"after", PLACE)
    assert sealed_with(sealed) == added.id
    keys.path.write_text(added.line)
    assert running.open(sealed, PLACE).get_secret_value() == b"after"
    with pytest.raises(UnknownMasterKey, match="replace-lost"):
        KeyFile(keys.path).open(older, PLACE)


def test_a_running_relay_opens_without_the_file(keys: KeyFile) -> None:
    """What it has read serves on while the file is away; it seals nothing new with keys that may be lost."""
    keys.create()
    running = KeyFile(keys.path)
    sealed = running.seal(b"before", PLACE)
    keys.path.unlink()
    assert running.open(sealed, PLACE).get_secret_value() == b"before"
    with pytest.raises(DatabaseUnusable, match="cannot read the key file"):
        running.seal(b"after", PLACE)


def test_provided_keys_are_left_alone(keys: KeyFile) -> None:
    """A credential is neither made nor changed here; the refusal says what to do."""
    credential = KeyFile(keys.path, credential=True)
    with pytest.raises(DatabaseUnusable, match="does not exist"):
        credential.create()
    keys.create()
    with pytest.raises(Conflict, match="first line"):
        credential.add_key()
