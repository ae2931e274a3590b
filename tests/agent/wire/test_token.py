"""The access token: written and read back, recognised when mistyped, silent about its secret."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wire.token import PREFIX, AccessToken, TokenMistypedError, new_id

FINGERPRINT = bytes(range(16))


def test_a_token_reads_back_as_it_was_written() -> None:
    """Id, secret and fingerprint survive the round trip, blanks around the text included."""
    token = AccessToken.generate(FINGERPRINT)
    assert AccessToken.parse(f"  {token.reveal()}\n") == token
    assert token.ca_fingerprint == FINGERPRINT
    assert token.id.startswith("atk_")


@given(st.integers(min_value=0), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_one_wrong_character_is_noticed(position: int, character: str) -> None:
    """Every single mistyped character is noticed before any network."""
    text = AccessToken.generate(FINGERPRINT).reveal()
    at = len(PREFIX) + position % (len(text) - len(PREFIX) - 1)  # the last one carries bits that no byte needs
    if text[at] == character:
        return
    with pytest.raises(TokenMistypedError):
        AccessToken.parse(text[:at] + character + text[at + 1 :])


@given(st.text(max_size=200))
def test_any_other_text_is_refused_in_words(text: str) -> None:
    """Whatever is no token raises TokenMistypedError and nothing else."""
    for candidate in (text, PREFIX + text):
        with pytest.raises(TokenMistypedError):
            AccessToken.parse(candidate)


def test_a_truncated_token_says_that_it_is_not_complete() -> None:
    """A token cut short while copying is told so."""
    with pytest.raises(TokenMistypedError, match="not complete"):
        AccessToken.parse(AccessToken.generate(FINGERPRINT).reveal()[:-16])


def test_a_token_does_not_print_its_secret() -> None:
    """Neither repr nor str of a token shows the secret."""
    token = AccessToken.generate(FINGERPRINT)
    assert repr(token.secret) not in repr(token)
    assert token.secret.hex() not in f"{token}{token!r}"


def test_ids_do_not_repeat() -> None:
    """A thousand ids are a thousand different ones."""
    assert len({new_id("agt") for _ in range(1000)}) == 1000
