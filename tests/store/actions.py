"""What a call does once it is let through: the root, a read, a write, pictures or the search."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.store import output_json, output_xml
from tests.store.failures import Coded, Failure, Fatal
from tests.store.images import Images
from tests.store.output import Style
from tests.store.prices import add_prices
from tests.store.reading import NotThere, View, read
from tests.store.root import granted_names, root_document
from tests.store.search import found_document
from tests.store.writing import Writing

if TYPE_CHECKING:
    from tests.store.call import Call
    from tests.store.knobs import Knobs
    from tests.store.messages import Headers
    from tests.store.schema import Resource
    from tests.store.shop import Shop


HOOK_WARNING = Coded(
    15,
    "[PHP Unknown error #8192] strlen(): Passing null to parameter #1 ($string) of type string is deprecated "
    "(/var/www/html/modules/pretty/pretty.php, line 12)",
)


@dataclass(slots=True)
class Outcome:
    """Status and document; `sha1` is the value of Content-Sha1, None where the header is absent."""

    status: int
    body: bytes
    content_type: str | None
    sha1: str | None
    server: Headers = field(default_factory=list)


class Actions:
    """Runs calls against one shop."""

    def __init__(self, shop: Shop, knobs: Knobs) -> None:
        self.shop = shop
        self.knobs = knobs
        self.writing = Writing(shop, knobs)
        self.images = Images(shop, knobs)

    def run(self, call: Call) -> Outcome:
        """Failure, Fatal and BareText pass through to the caller."""
        if call.resource is None:
            return self._root(call)
        if call.resource.name == "images":
            return self._images(call)
        if call.resource.name == "search":
            return self._done(200, *found_document(call, self.shop, self.style(call)))
        if call.resource.name == "attachments":
            return self._done(200, output_xml.document("<attachments>\n</attachments>\n"), output_xml.TYPE)
        return self._entities(call, call.resource)

    def style(self, call: Call) -> Style:
        return Style(
            call.base_url,
            call.languages or list(self.shop.languages),
            one_language=call.languages is not None and len(call.languages) == 1,
            native=self.knobs.native_types,
            drop_empty=self.knobs.release >= (8,),
            cdata_when_empty=self.knobs.release >= (8,),
        )

    def _root(self, call: Call) -> Outcome:
        if call.verb not in ("GET", "HEAD"):
            raise Fatal("Call to a member function on null")
        if call.wanted == "XML":
            return self._done(200, root_document(call, self.shop, self.knobs), output_xml.TYPE)
        if self.knobs.release >= (8,):
            raise Fatal("Unsupported operand types: string + array")
        return self._done(200, output_json.encoded(granted_names(call, self.knobs)), output_json.TYPE)

    def _entities(self, call: Call, resource: Resource) -> Outcome:
        match call.verb:
            case "GET" | "HEAD":
                try:
                    view = read(call, resource, self.shop, self.knobs)
                except NotThere:
                    return Outcome(404, b"", None, None)
                if call.prices:
                    add_prices(view, call, self.shop)
                return self._shown(200, call, view)
            case "DELETE":
                self.writing.delete(call, resource)
                return Outcome(200, b"", None, None)
            case _:
                view = self.writing.write(call, resource)
                if self.knobs.hook_warning:
                    raise Failure(HOOK_WARNING)
                return self._shown(201 if call.verb == "POST" else 200, call, view)

    def _images(self, call: Call) -> Outcome:
        body, kind, server = self.images.run(call, self.style(call))
        if kind is None and call.verb != "DELETE":
            return Outcome(404, b"", None, None)
        outcome = self._done(200, body, kind or None)
        outcome.server = server
        return outcome

    def _shown(self, status: int, call: Call, view: View) -> Outcome:
        style = self.style(call)
        if call.wanted == "JSON":
            return self._done(status, output_json.view_document(view, self.shop, style), output_json.TYPE)
        return self._done(status, output_xml.view_document(view, self.shop, style), output_xml.TYPE)

    def _done(self, status: int, body: bytes, content_type: str | None) -> Outcome:
        return Outcome(status, body, content_type, hashlib.sha1(body).hexdigest())  # noqa: S324 - PrestaShop's choice
