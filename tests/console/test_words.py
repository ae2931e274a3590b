"""The catalogues of sentences, and what the scripts ask of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from relay.alert_records import AlertKind
from relay.api.problems import KINDS
from relay.api.sessions import MARK_HEADER
from relay.console.languages import CATALOGUES
from relay.gateway.errors import Origin
from relay.prestashop.diagnosis import Step
from relay.records import KeyPlace, Mode, Scope

CONSOLE = Path(__file__).parents[2] / "relay" / "console"
SCRIPTS = {path.name: path.read_text() for path in (CONSOLE / "static").glob("*.js")}
ENGLISH, FRENCH = CATALOGUES["en"], CATALOGUES["fr"]
FORBIDDEN = (
    r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function|\.style\b|cssText|[\"']style[\"']"
)
PLURALS = ("one", "other")
# what stands behind the `${…}` of a name
VARIANTS = {
    "state": ("online", "degraded", "offline", "never", "revoked"),
    "hop": [step.value for step in Step],
    "mode": [mode.value for mode in Mode],
    "key_place": [place.value for place in KeyPlace],
    "scope": [scope.value for scope in Scope],
    "status": ("passed", "failed", "skipped", "waiting"),
    "station": ("relay", "agent", "store", "shop", "key"),
    "store": ("unreachable", "not_answering", "key_refused", "answering", "reachable", "unknown"),
    "origin": [origin.value for origin in Origin],
    "pulse": ("live", "polling", "lost"),
    "new_agent": ("run", "service", "run_hint", "service_hint"),
}


def said() -> Iterator[str]:
    """Names that scripts and pages ask for."""
    for text in SCRIPTS.values():
        yield from re.findall(r'\bsay\(\s*(?:[^"`()]*\?\s*)?"([a-z_.-]+)"', text)
        for room in re.findall(r"\bsay\(`([a-z_]+)\.\$\{", text):
            yield from (f"{room}.{variant}" for variant in VARIANTS[room])
    for path in (CONSOLE / "templates").glob("*.html"):
        yield from re.findall(r"say\[[\"']([a-z_.]+)[\"']\]", path.read_text())


def test_every_sentence_that_is_asked_for_is_there() -> None:
    """In English; a plural with its two forms."""
    missing = {
        name for name in said() if name not in ENGLISH and not all(f"{name}.{form}" in ENGLISH for form in PLURALS)
    }
    assert len(set(said())) > 150
    assert missing == set()


def test_every_action_on_record_has_its_words() -> None:
    """The audit page shows no code's own name, nor words for what never happens."""
    nouns = (
        "account|agent|agent_token|agent_key|instance|connection|access_key|api_token|trigger|trigger_event|alert|order"
    )
    literal = re.compile(rf'"((?:{nouns}|authority|keys)\.[a-z_]+)"')
    found = {name for path in CONSOLE.parent.rglob("*.py") for name in literal.findall(path.read_text())}
    happenings = {kind.value for kind in AlertKind} | {"agent.degraded"}
    told = {name.removeprefix("action.") for name in ENGLISH if name.startswith("action.")}
    assert told == found - happenings


def test_french_has_the_same_sentences_with_the_same_gaps() -> None:
    """None is missing, none is left over, none is empty; what is put in stands in both."""
    assert FRENCH.keys() == ENGLISH.keys()
    for name, text in ENGLISH.items():
        assert min(len(text.strip()), len(FRENCH[name].strip())) > 0, name
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", FRENCH[name])), name


def test_problems_that_are_told_in_own_words_exist() -> None:
    """Their codes are the typed surface's, or its own conflicts'."""
    own = {"lost", "two_tokens_valid", "two_keys_valid", "agent_in_use"}
    told = {name.removeprefix("trouble.") for name in ENGLISH if name.startswith("trouble.")}
    assert told - own <= KINDS.keys()


def test_catalogues_are_text() -> None:
    """No markup, and nothing but sentences by name."""
    for language in CATALOGUES:
        content = json.loads((CONSOLE / "static" / f"{language}.json").read_text())
        assert all(isinstance(text, str) and "<" not in text for text in content.values())


def test_scripts_make_no_markup_and_load_only_each_other() -> None:
    """No innerHTML and its kin, no style attributes, no import from elsewhere, no address but the relay's own."""
    for name, text in SCRIPTS.items():
        assert re.findall(FORBIDDEN, text) == [], name
        imported = re.findall(r'from "([^"]+)"', text)
        assert all(path.startswith("/console/static/") and path.rsplit("/", 1)[1] in SCRIPTS for path in imported), name
        addresses = re.findall(r"https?://[a-z]+\.[a-z.]+", text)
        assert {address for address in addresses if "shop.lan" not in address} <= {"http://www.w"}, name


def test_both_ends_name_the_mark_alike() -> None:
    """The header that the page sends is the one that the relay reads."""
    assert f'headers["{MARK_HEADER}"]' in SCRIPTS["api.js"]
