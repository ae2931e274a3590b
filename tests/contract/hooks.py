"""What Schemathesis is told of this surface: read by the program itself, in a process of its own."""

from __future__ import annotations

import json
import os
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, GenerationMode, HookContext, Response

OWN_TOKEN = os.environ.get("POSTERN_OWN_TOKEN", "")
"""The id of the token that the run shows, which it must not end; empty for a run with a wrong one."""
KNOWN: dict[str, str] = json.loads(os.environ.get("POSTERN_KNOWN", "{}"))
"""Ids that are there, by the name of the parameter."""
ENDS = ("/revoke", "/release")


@schemathesis.hook
def before_call(_context: HookContext, case: Case[Any], _kwargs: dict[str, Any]) -> None:
    """Ask for records that are there, but do not end them, and not the token of the run, wherever its id is from."""
    given = case.path_parameters or {}
    if case.meta and case.meta.generation.mode is GenerationMode.POSITIVE and not _ends(case):
        given.update({name: id_ for name, id_ in KNOWN.items() if name in given})
    if OWN_TOKEN and given.get("token") == OWN_TOKEN:
        given["token"] = "tok_aaaaaaaaaaaaaaaa"


@schemathesis.hook
def map_body(_context: HookContext, body: Any) -> Any:
    """Nobody outside this machine is called: cloud connections lead to an address that the relay refuses."""
    if isinstance(body, dict) and body.get("mode") == "cloud" and isinstance(body.get("store_url"), str):
        return {**body, "store_url": "http://127.0.0.1"}
    return body


def only_401(_context: CheckContext, response: Response, _case: Case[Any]) -> None:
    """Whatever is asked with a wrong token is answered with the same refusal."""
    assert response.status_code == 401, f"{response.status_code} instead of 401"
    assert response.json()["code"] == "unauthenticated"
    assert response.headers["www-authenticate"][0].startswith("Bearer")


def _ends(case: Case[Any]) -> bool:
    return case.method.upper() == "DELETE" or case.path.endswith(ENDS)


if not OWN_TOKEN:
    schemathesis.check(only_401)
