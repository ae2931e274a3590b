"""Reads what PrestaShop's webservice sends: XML without surprises, errors, the root that lists a key's grants."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from xml.parsers import expat

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_ELEMENTS = 200_000
"""Elements of one document; a full-access root has some 300."""
_DEPTH = 64
_BOM = b"\xef\xbb\xbf"


class NotXmlError(Exception):
    """The bytes are not one XML document that may be read; the text says why."""


@dataclass(slots=True)
class Element:
    """An XML element; `text` is its own character data, in one piece."""

    name: str
    attributes: dict[str, str]
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def find(self, name: str) -> Element | None:
        return next((child for child in self.children if child.name == name), None)


def parse(document: bytes) -> Element:
    """The root element. A doctype is refused before anything in it is expanded. Raises NotXmlError."""
    reader = _Reader()
    try:
        reader.parser.Parse(document, True)
    except expat.ExpatError as error:
        raise NotXmlError(str(error)) from None
    if reader.root is None:
        raise NotXmlError("there is no element in it")
    return reader.root


class _Reader:
    def __init__(self) -> None:
        self.root: Element | None = None
        self._open: list[Element] = []
        self._count = 0
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._data
        self.parser.StartDoctypeDeclHandler = self._refuse_doctype

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > _ELEMENTS or len(self._open) >= _DEPTH:
            raise NotXmlError("it has too many elements, or too deep ones")
        element = Element(name, attributes)
        if self._open:
            self._open[-1].children.append(element)
        else:
            self.root = element
        self._open.append(element)

    def _end(self, _name: str) -> None:
        self._open.pop()

    def _data(self, text: str) -> None:
        if self._open:
            self._open[-1].text += text

    def _refuse_doctype(self, *_declaration: object) -> None:
        raise NotXmlError("it has a doctype")


@dataclass(frozen=True, slots=True)
class Fault:
    """One of PrestaShop's own errors; `code` is None for versions that hide it (1.7.0, 1.6.1 up to .11)."""

    code: int | None
    message: str


def faults(body: bytes) -> list[Fault]:
    """The errors in an answer, in the order in which they happened: XML or JSON; empty where there are none."""
    text = body.removeprefix(_BOM).strip()
    if text.startswith(b"{"):
        return _json_faults(text)
    start = text.find(b"<?xml")
    try:
        root = parse(text[start:] if start >= 0 else text)
    except NotXmlError:
        return []
    errors = root.find("errors")
    return [_xml_fault(error) for error in errors.children] if errors else []


def _json_faults(text: bytes) -> list[Fault]:
    try:
        errors = json.loads(text).get("errors", [])
        return [Fault(int(error["code"]), str(error["message"])) for error in errors]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return []


def _xml_fault(error: Element) -> Fault:
    code, message = error.find("code"), error.find("message")
    number = code.text.strip() if code else ""
    return Fault(int(number) if number.isdecimal() else None, message.text.strip() if message else "")


@dataclass(frozen=True, slots=True)
class Root:
    """What `GET /api` says: the shop's name, and per resource the methods that the key may use."""

    shop_name: str
    grants: dict[str, tuple[str, ...]]


def read_root(document: bytes) -> Root:
    """Raises NotXmlError where it is not the root of a webservice."""
    api = parse(document).find("api")
    if api is None:
        raise NotXmlError("it is not the list of resources that /api answers with")
    name = api.attributes.get("shopName", api.attributes.get("shop_name", ""))
    return Root(name, {resource.name: _granted(resource) for resource in api.children})


def _granted(resource: Element) -> tuple[str, ...]:
    return tuple(method for method in METHODS if resource.attributes.get(method.lower()) == "true")


@dataclass(frozen=True, slots=True)
class Noise:
    """What stands around the document. BOM and blanks are tolerated; anything else stock clients cannot parse."""

    before: bytes
    after: bytes
    document: bytes

    @property
    def harmful(self) -> bool:
        return bool(self.before.removeprefix(_BOM).strip() or self.after.strip())

    @property
    def harmless(self) -> bool:
        return not self.harmful and bool(self.before)


_CLOSED = re.compile(rb"</prestashop\s*>")


def noise(body: bytes) -> Noise:
    """Cut what a debug warning, a module or a file's stray blank line put around the XML."""
    start = max(0, body.find(b"<?xml"))
    ends = [match.end() for match in _CLOSED.finditer(body)]
    end = ends[-1] if ends else len(body)
    return Noise(body[:start], body[end:], body[start:end])
