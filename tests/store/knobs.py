"""Which troubles the stand-in store can be told to have, and what each may be set to."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, get_args, get_origin, get_type_hints

# What `PSWS-Version` says, per release that can be played.
RELEASES = {
    "1.6.1": "1.6.1.24",
    "1.7.4": "1.7.4.4",
    "1.7.8": "1.7.8.11",
    "8.1": "8.1.7",
    "9.1": "9.1.4",
}
NUMBERS = {version: tuple(int(part) for part in version.split(".")) for version in RELEASES}


class KnobError(ValueError):
    """A knob that does not exist, or a value it cannot take; the text says which ones there are."""


@dataclass(slots=True)
class Knobs:
    """The settings of a store; all may be changed while it runs, and hold from the next request on."""

    # the shop
    version: Literal["1.6.1", "1.7.4", "1.7.8", "8.1", "9.1"] = "9.1"
    php_types: Literal["auto", "native", "strings"] = "auto"  # auto: native from 8.1 on (PHP >= 8.1)
    error_mode: Literal["production", "debug"] = "production"
    shops: int = 1  # 2: a second shop under /second/, with products 1 to 3, of the full key only
    domain: str = ""  # empty: the address it listens on
    base_path: str = ""  # such as /prestashop
    ssl: bool = False  # PS_SSL_ENABLED: decides the scheme of hrefs and of the wrong-Host redirect
    canonical: int = 1  # PS_CANONICAL_REDIRECT: 1 answers a wrong Host with 302, 0 and 2 with 301
    friendly_urls: bool = True
    maintenance: bool = False  # front office only
    webservice: bool = True
    auth_stripped: bool = False  # Authorization never reaches PHP
    mail: Literal["sink", "failing"] = "sink"
    hook_warning: bool = False  # a module's hook raises a PHP deprecation after every write: 500, although it is saved

    # the web server around it
    rewrite: Literal["ok", "missing", "nginx"] = "ok"
    waf: Literal["off", "verbs", "verbs_405", "brackets", "challenge", "rate"] = "off"
    moved_to: str = ""  # a merchant's own 301: every request is sent to this prefix plus its target
    header_case: Literal["apache", "lower"] = "apache"
    keepalive_timeout: float = 5.0  # seconds, Apache's KeepAliveTimeout
    keepalive_max: int = 100  # requests per connection, Apache's MaxKeepAliveRequests; 0: no limit
    max_body: int = 64 << 20  # bytes; above it 413

    # answers that go wrong
    noise: Literal["none", "warning", "bom", "blank", "script"] = "none"
    fatal: bool = False  # every webservice call ends in a PHP fatal
    fatal_cells: int = 0  # memory_limit: rows x fields above this end in a PHP fatal; 0: no limit
    fatal_after: float = 0.0  # max_execution_time: a call that would take longer ends in a PHP fatal; 0: no limit
    transfer: Literal["chunked", "length", "gzip", "cut"] = "chunked"
    first_byte_delay: float = 0.0  # seconds between the request's end and the answer's first byte
    early_answer: bool = False  # the answer is sent before the body is read, as by a page that no program makes
    hang_up: Literal["never", "before_answer", "reset", "after_answer"] = "never"  # the work itself is done
    hostile: bool = False  # HTML, cookies and service worker headers instead of the webservice
    raw_answer: bytes = b""  # exactly these bytes are the answer
    raw_then: Literal["close", "keep", "hold"] = "close"  # what happens to the connection after raw_answer
    huge: int = 0  # bytes that GET /api/__huge streams; not 0 also opens POST and PUT /api/__huge

    # load
    latency: float = 0.0  # seconds of work per request
    workers: int = 0  # requests served at once; 0: no limit

    @property
    def release(self) -> tuple[int, ...]:
        return NUMBERS[self.version]

    @property
    def psws_version(self) -> str:
        return RELEASES[self.version]

    @property
    def native_types(self) -> bool:
        if self.php_types == "auto":
            return self.release >= (8, 1)
        return self.php_types == "native"

    @property
    def warnings_become_500(self) -> bool:
        """PHP >= 7.4 in production: errors 28 to 39 are followed by code 3 and answered with 500."""
        return self.error_mode == "production" and self.release >= (1, 7, 8)

    @property
    def base(self) -> str:
        """The path of the shop, such as `` or `/prestashop`."""
        return "/" + self.base_path.strip("/") if self.base_path.strip("/") else ""

    def set(self, name: str, text: str) -> None:
        """Set one knob from text, as the command line and the control address do; KnobError explains a refusal."""
        kinds = get_type_hints(Knobs)
        if name not in {field.name for field in dataclasses.fields(self)}:
            names = ", ".join(sorted(field.name for field in dataclasses.fields(self)))
            raise KnobError(f"there is no knob {name!r}; there are: {names}")
        setattr(self, name, _value(name, kinds[name], text))

    def update(self, **values: object) -> None:
        """Set several knobs at once from Python values; KnobError for an unknown name."""
        for name, value in values.items():
            if isinstance(value, str):
                self.set(name, value)
            elif name in {field.name for field in dataclasses.fields(self)}:
                setattr(self, name, value)
            else:
                raise KnobError(f"there is no knob {name!r}")

    def as_json(self) -> dict[str, object]:
        shown = dataclasses.asdict(self)
        return shown | {"raw_answer": self.raw_answer.decode("latin-1")}


def _value(name: str, kind: object, text: str) -> object:
    if get_origin(kind) is Literal:
        if text in get_args(kind):
            return text
        raise KnobError(f"knob {name} cannot be {text!r}; it can be: {', '.join(get_args(kind))}")
    if kind is bool:
        return _switch(name, text)
    if kind is bytes:
        return text.encode("latin-1").decode("unicode_escape").encode("latin-1")
    try:
        return kind(text) if kind in (int, float) else text
    except ValueError:
        raise KnobError(f"knob {name} needs a number, not {text!r}") from None


def _switch(name: str, text: str) -> bool:
    switches = {"on": True, "true": True, "1": True, "yes": True, "off": False, "false": False, "0": False, "no": False}
    if text.lower() not in switches:
        raise KnobError(f"knob {name} is a switch: on or off, not {text!r}")
    return switches[text.lower()]
