"""Reads what PrestaShop's webservice sends: XML without surprises, errors, the root that lists a key's grants."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from xml.parsers import expat

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_ELEMENTS = 20_000
"""Elements of one document; a full-access root has some 300. Reading so many takes some 10 ms."""
_DEPTH = 64
_RESOURCES = 500
"""Resources that are read from a root; PrestaShop 9.1.4 has 64, and modules add some."""
_NAME_CHARACTERS = 200
"""What is kept of the shop's name."""
_RESOURCE_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_CODE = re.compile(r"[0-9]{1,6}\Z")
_BOM = b"\xef\xbb\xbf"


class NotXmlError(Exception):
    """The bytes are not one XML document that may be read; the text says why."""


@dataclass(slots=True)
class Element:
    """An XML element with its own character data in pieces."""

    name: str
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.pieces).strip()

    def find(self, name: str) -> Element | None:
        return next((child for child in self.children if child.name == name), None)


def parse(document: bytes, *, elements: int = _ELEMENTS) -> Element:
    """The root element. A doctype is refused before anything in it is expanded. Raises NotXmlError."""
    reader = _Reader(elements)
    try:
        reader.parser.Parse(document, True)
    except expat.ExpatError as error:
        raise NotXmlError(str(error)) from None
    if reader.root is None:
        raise NotXmlError("there is no element in it")
    return reader.root


class _Reader:
    """UTF-8 whatever the document declares, as PrestaShop writes it: another codec never gets to work."""

    def __init__(self, elements: int) -> None:
        self.root: Element | None = None
        self._open: list[Element] = []
        self._left = elements
        self.parser = expat.ParserCreate("UTF-8")
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._data
        self.parser.StartDoctypeDeclHandler = self._refuse_doctype

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._left -= 1
        if self._left < 0 or len(self._open) >= _DEPTH:
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
            self._open[-1].pieces.append(text)

    def _refuse_doctype(self, *_declaration: object) -> None:
        raise NotXmlError("it has a doctype")


@dataclass(frozen=True, slots=True)
class Fault:
    """One of PrestaShop's own errors; `code` is None for versions that hide it (1.7.0, 1.6.1 up to .11)."""

    code: int | None
    message: str


def faults(body: bytes) -> list[Fault]:
    """The errors in an answer, in the order in which they happened: XML or JSON; empty where there are none."""
    text = body.replace(_BOM, b"", 1).strip()
    if text.startswith(b"{"):
        return _json_faults(text)
    try:
        return faults_of(parse(around(body).document))
    except NotXmlError:
        return []


def faults_of(root: Element) -> list[Fault]:
    """The errors that an XML document tells of."""
    errors = root.find("errors")
    return [_xml_fault(error) for error in errors.children] if errors else []


def _json_faults(text: bytes) -> list[Fault]:
    try:
        errors = json.loads(text).get("errors", [])
        return [Fault(_code(str(error["code"])), str(error["message"])) for error in errors]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return []


def _xml_fault(error: Element) -> Fault:
    code, message = error.find("code"), error.find("message")
    return Fault(_code(code.text) if code else None, message.text if message else error.text)


def _code(text: str) -> int | None:
    return int(text) if _CODE.match(text) else None


@dataclass(frozen=True, slots=True)
class Root:
    """What `GET /api` says: the shop's name, and per resource the methods that the key may use."""

    shop_name: str
    grants: dict[str, tuple[str, ...]]


def read_root(root: Element) -> Root:
    """Raises NotXmlError where it is not the root of a webservice."""
    api = root.find("api")
    if api is None:
        raise NotXmlError("it is not the list of resources that /api answers with")
    name = api.attributes.get("shopName", api.attributes.get("shop_name", ""))
    named = [resource for resource in api.children if _RESOURCE_NAME.match(resource.name)]
    return Root(name[:_NAME_CHARACTERS], {each.name: _granted(each) for each in named[:_RESOURCES]})


def _granted(resource: Element) -> tuple[str, ...]:
    return tuple(method for method in METHODS if resource.attributes.get(method.lower()) == "true")


@dataclass(frozen=True, slots=True)
class Around:
    """A document and what stands around it."""

    before: bytes
    after: bytes
    document: bytes

    @property
    def noise(self) -> bytes:
        """What stock clients cannot parse: anything but byte order marks and blanks, which can be tolerated."""
        return _bare(self.before) or _bare(self.after)

    @property
    def byte_order_mark(self) -> bool:
        return _BOM in self.before

    @property
    def blank(self) -> bool:
        """Whether blanks stand before the XML declaration, where XML does not allow them."""
        return bool(self.before.replace(_BOM, b"")) and not _bare(self.before)


_CLOSED = re.compile(rb"</prestashop\s*>")


def around(body: bytes) -> Around:
    """Cut what a debug warning, a module or a file's stray blank line put around the XML."""
    start = max(0, body.find(b"<?xml"))
    ends = [match.end() for match in _CLOSED.finditer(body, start)]
    end = ends[-1] if ends else len(body)
    return Around(body[:start], body[end:], body[start:end])


def _bare(part: bytes) -> bytes:
    return part.replace(_BOM, b"").strip()
