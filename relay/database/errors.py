"""How the database says no: a handful of errors that the command line and the API each translate once."""

from __future__ import annotations

from typing import Any

from agent.wire.refusal import EnrolmentRefusal


class DatabaseError(Exception):
    """Any refusal of this package; `str()` is a plain sentence that may be shown to the person who asked."""

    code = "failed"


class NotFound(DatabaseError):  # noqa: N818 - reads as what it says at the place that catches it
    """No such row, or one of another account: the two are never told apart."""

    code = "not_found"

    def __init__(self, noun: str, subject: str) -> None:
        super().__init__(f"there is no {noun} {subject[:80]!r}")
        self.noun = noun


class Invalid(DatabaseError):  # noqa: N818
    """A value that cannot be taken; `field` is its name in the record, such as `store_url`."""

    code = "invalid"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Conflict(DatabaseError):  # noqa: N818
    """Not while things stand as they do; `code` is a stable word, such as `agent_in_use`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class NameTaken(Conflict):
    """Another of its kind has the name, in the same account."""

    def __init__(self, noun: str, name: str) -> None:
        super().__init__("name_taken", f"there is already one called {name!r} among the {noun}s: choose another name")


class DatabaseUnavailable(DatabaseError):  # noqa: N818
    """The database does not answer now; trying again later helps."""

    code = "database_unavailable"


class DatabaseUnusable(DatabaseError):  # noqa: N818
    """Files, rights or settings that no retry can mend (exit status 78)."""

    code = "database_unusable"


class EnrolmentRefused(DatabaseError):  # noqa: N818
    """An enrolment's refusal; `extras` are further members of the problem, such as `skew_seconds`."""

    def __init__(self, refusal: EnrolmentRefusal, message: str, **extras: Any) -> None:
        super().__init__(message)
        self.refusal = refusal
        self.code = refusal.value
        self.extras = extras
