"""Takes a store's key out of whatever the store sends back, so that no report repeats it."""

from __future__ import annotations

import base64
import dataclasses
import re

from pydantic import SecretStr

from relay.gateway.call import Answer

_ALIGNED = 30
"""Characters of a key whose base64 form does not depend on what follows them: 10 groups of 3 (a key has 32)."""
_HIDDEN = "[key]"


class Scrubber:
    """Knows one key in the forms in which it travels: plain, and as the user of HTTP Basic."""

    def __init__(self, key: SecretStr) -> None:
        text = key.get_secret_value()
        aligned = text[: min(_ALIGNED, len(text) // 3 * 3)]
        forms = [re.escape(text)] if text else []
        forms += [re.escape(base64.b64encode(aligned.encode()).decode()) + "[A-Za-z0-9+/]*=*"] if aligned else []
        self._text = re.compile("|".join(forms) or r"(?!)", re.IGNORECASE)
        self._bytes = re.compile(self._text.pattern.encode(), re.IGNORECASE)

    def text(self, text: str) -> str:
        """Without the key, and with nothing in it that acts on a terminal or is no character."""
        plain = "".join(c if c.isprintable() else " " for c in text)
        return self._text.sub(_HIDDEN, plain)

    def answer(self, answer: Answer) -> Answer:
        """The answer before anything is cut out of it: half a key would not be found again."""
        return dataclasses.replace(
            answer,
            reason=self._text.sub(_HIDDEN, answer.reason),
            fields=tuple((name, self._text.sub(_HIDDEN, value)) for name, value in answer.fields),
            body=self._bytes.sub(_HIDDEN.encode(), answer.body),
        )
