"""The webservice's coded errors: which HTTP status each raises, and the one exception that carries them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.store.php import closest

if TYPE_CHECKING:
    from collections.abc import Iterable

# The status of every code that differs from 400.
STATUS = {
    3: 500, 15: 500, 17: 401, 18: 401, 20: 401, 21: 401, 22: 503, 23: 405, 25: 405, 26: 401, 46: 500, 49: 405,
    50: 405, 51: 405, 52: 405, 55: 405, 67: 405, 77: 405, 87: 404, 88: 500, 92: 404, 97: 500, 101: 405, 124: 501,
    127: 500, 131: 404, 132: 403, 133: 500, 140: 500, 141: 500, 999: 500,
}  # fmt: skip

QUERY_CODES = range(28, 40)
SCRIPT = "/var/www/html/classes/webservice/WebserviceRequest.php"


@dataclass(frozen=True, slots=True)
class Coded:
    """One `<error>`."""

    code: int
    message: str

    @property
    def status(self) -> int:
        return STATUS.get(self.code, 400)


class Failure(Exception):  # noqa: N818 - the webservice's word would be "error", which it has several of
    """The call ends with these errors, in order of occurrence; the last one's status is the answer's."""

    def __init__(self, *errors: Coded) -> None:
        super().__init__(*errors)
        self.errors = errors


class Fatal(Exception):  # noqa: N818 - PHP's word for it
    """PHP itself gives up; what it would say in debug mode."""


class BareText(Exception):  # noqa: N818 - it is an answer, not a fault of the stand-in
    """Releases before 8 end a call with a text that is neither XML nor JSON."""


class PlainUnauthorized(Exception):  # noqa: N818 - the name of the answer
    """No usable credential: the 401 without a code."""


class Redirected(Exception):  # noqa: N818 - it is an answer
    """The front controller sends the caller to the front office."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.location = location


def fail(code: int, message: str) -> Failure:
    return Failure(Coded(code, message))


def did_you_mean(label: str, value: str, known: Iterable[str]) -> str:
    names = list(known)
    listed = '", "'.join(names)
    full = f' The full list is: "{listed}"' if len(names) > 1 else ""
    return f'{label}. Did you mean: "{closest(value, names)}"?{full}'


def php_warning(text: str, line: int) -> Coded:
    return Coded(3, f"[PHP Warning #2] {text} ({SCRIPT}, line {line})")


def trailing_warnings() -> list[Coded]:
    """What PHP >= 7.4 adds after a failed reading of the query."""
    return [php_warning("Trying to access array offset on value of type bool", line) for line in range(1299, 1303)]
