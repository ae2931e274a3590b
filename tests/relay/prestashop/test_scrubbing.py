"""The store's key in a store's answer: taken out in every form in which it had travelled."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from relay.gateway.call import Answer
from relay.prestashop.scrubbing import Scrubber

KEY = "STOREKEYSTOREKEYSTOREKEYSTOREKEY"
BASIC = base64.b64encode(f"{KEY}:".encode()).decode()
SCRUBBER = Scrubber(SecretStr(KEY))


@given(st.text(max_size=20), st.sampled_from([KEY, KEY.lower(), BASIC, BASIC[:40] + "xyz="]), st.text(max_size=20))
def test_no_form_of_it_stays(before: str, form: str, after: str) -> None:
    """Plain, in small letters, as HTTP Basic, wherever it stands."""
    cleaned = SCRUBBER.text(before + form + after)
    assert form not in cleaned
    assert "[key]" in cleaned
    given_back = SCRUBBER.answer(
        Answer(200, form, (("Location", f"/?ws_key={form}"),), (before + form).encode("utf-8", "replace"), 0.1)
    )
    assert form not in repr(given_back)
    assert "[key]" in given_back.fields[0][1]


@given(st.text(max_size=40))
def test_nothing_in_a_text_acts_on_a_terminal(text: str) -> None:
    """Escapes, line ends, lone surrogates and the like become blanks; the rest stays."""
    cleaned = Scrubber(SecretStr("")).text(text)
    assert cleaned.isprintable()
    assert len(cleaned) == len(text)
    cleaned.encode()


def test_short_keys_and_none() -> None:
    """A key that is too short is hidden as well; no key hides nothing."""
    assert Scrubber(SecretStr("SHORT")).text("a SHORT one") == "a [key] one"
    assert Scrubber(SecretStr("")).text("as it was") == "as it was"
