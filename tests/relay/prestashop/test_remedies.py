"""The sentences."""

from __future__ import annotations

import re

import pytest

from relay.prestashop.remedies import NOTES, REMEDIES, UNVERIFIED, Remedy, note_remedy, remedy

TABLE = {**REMEDIES, **NOTES}


def test_the_sentence_for_everything_else() -> None:
    """Exactly this one, whatever the particulars."""
    assert remedy("store_error", "451 No") == UNVERIFIED
    assert UNVERIFIED.en == (
        "Unable to verify Store URL and Webservice Key. Please ensure you have entered the correct details and that "
        "the store's Webservice is enabled."
    )


@pytest.mark.parametrize("code", TABLE)
def test_each_is_whole_in_both_languages(code: str) -> None:
    """Plain sentences that end, neither language left out; particulars in both or in neither; stable codes."""
    assert re.fullmatch(r"[a-z_]+", code)
    one = TABLE[code]
    assert one.en != one.fr
    assert one.en.count("{detail}") == one.fr.count("{detail}")
    for about in (one.about("THIS"), one.about("")):
        for text in (about.en, about.fr):
            assert text.strip() == text
            assert text[0].isupper()
            assert "{" not in text
            assert "  " not in text
            assert "( )" not in text
            assert text.endswith(".")


def test_particulars() -> None:
    """They stand where the text says; without them their brackets are gone."""
    assert remedy("firewall_blocks", "403").en.startswith("A firewall of the web server blocks this request (403).")
    assert remedy("firewall_blocks").en.startswith("A firewall of the web server blocks this request.")
    assert note_remedy("json_fails", "x").fr.startswith("La boutique répond en XML, mais pas en JSON (x).")
    assert Remedy("{detail}", "{detail}").about("{x}") == Remedy("{x}", "{x}")
