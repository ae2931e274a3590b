"""How the webservice reads the XML of a write: SimpleXML's view of it, and its complaints."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.store.failures import Coded, Failure, php_warning
from tests.store.php import integer

if TYPE_CHECKING:
    from tests.store.call import Call

XML_LINE = 1510  # of WebserviceRequest.php, where the body is parsed


@dataclass(slots=True)
class Sent:
    """One entity of the body: texts and translations by field name, association rows by name."""

    texts: dict[str, str] = field(default_factory=dict)
    translations: dict[str, dict[int, str]] = field(default_factory=dict)
    associations: dict[str, list[dict[str, str]]] = field(default_factory=dict)

    @property
    def id_text(self) -> str:
        return self.texts.get("id", "")


def read_entities(call: Call) -> list[Sent]:
    """The children of the root element; Failure 127 when the body is no XML."""
    body = call.request.body if call.body_readable else b""
    body = body.removeprefix(b"xml=")
    try:
        root = ET.fromstring(body)  # noqa: S314 - the clients are this project's own tests
    except (ET.ParseError, ValueError) as error:
        raise _not_xml(body, error) from None
    return [_entity(child) for child in root]


def _entity(element: ET.Element) -> Sent:
    sent = Sent()
    for child in element:
        name = _local(child.tag)
        if name == "associations":
            sent.associations = {_local(one.tag): [_cells(row) for row in one] for one in child}
        elif name not in sent.texts:
            sent.texts[name] = _text(child)
            languages = [one for one in child if _local(one.tag) == "language"]
            if languages:
                sent.translations[name] = {integer(one.get("id", "0")): _text(one) for one in languages}
    return sent


def _cells(row: ET.Element) -> dict[str, str]:
    return {_local(cell.tag): _text(cell) for cell in row}


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _text(element: ET.Element) -> str:
    return (element.text or "") + "".join(child.tail or "" for child in element)


def _not_xml(body: bytes, error: Exception) -> Failure:
    text = body.decode("utf-8", "replace")
    echo = Coded(127, f"XML error : String could not be parsed as XML\nXML length : {len(body)}\nOriginal XML : {text}")
    if not body:
        return Failure(echo)
    reason = "Start tag expected, '<' not found" if not text.lstrip().startswith("<") else str(error)
    start = "SimpleXMLElement::__construct(): "
    line = text.split("\n", 1)[0][:80]
    warnings = [f"Entity: line 1: parser error : {reason}", line, "^"]
    return Failure(*(php_warning(start + one, XML_LINE) for one in warnings), echo)
