"""The resource `images`: lists, pictures, uploads and deletions."""

from __future__ import annotations

import base64
import re
from email.utils import formatdate
from time import time
from typing import TYPE_CHECKING, cast

from tests.store import output_xml
from tests.store.failures import Failure, did_you_mean, fail, php_warning
from tests.store.jpeg import kind_of, picture, reencoded
from tests.store.php import integer, whole

if TYPE_CHECKING:
    from tests.store.call import Call
    from tests.store.knobs import Knobs
    from tests.store.messages import Headers
    from tests.store.output import Style
    from tests.store.schema import Row
    from tests.store.shop import Shop

TYPES = ("general", "products", "categories", "manufacturers", "suppliers", "stores", "customizations")
SIZES = (
    "cart_default", "small_default", "medium_default", "home_default", "large_default", "category_default",
    "stores_default",
)  # fmt: skip
MIMETYPES = "image/gif, image/jpg, image/jpeg, image/pjpeg, image/png, image/webp, image/x-png"
OLD_LIMIT = 3_000_000  # bytes of an upload before 8.1
LIMIT = 8 << 20  # bytes from 8.1 on, a setting there
PICTURE_SECONDS = 2592000  # the web server's max-age for pictures

NO_UPLOAD = 'Please set an "image" parameter with image data for value'
# body, content type (empty: an answer without one; None: nothing there), headers of the web server
Shown = tuple[bytes, str | None, "Headers"]


class Images:
    """The pictures of one shop."""

    def __init__(self, shop: Shop, knobs: Knobs) -> None:
        self.shop = shop
        self.knobs = knobs

    def run(self, call: Call, style: Style) -> Shown:
        """Content type None means an empty answer: 404, or the 200 of a DELETE."""
        kind = call.id_text
        if not kind:
            return self._types(call, style)
        if kind not in TYPES:
            raise fail(48, did_you_mean(f'Image of type "{kind}" does not exist', kind, TYPES))
        if kind != "products":
            return self._document("<images>\n</images>\n", call) if len(call.segments) == 2 else (b"", None, [])
        if len(call.segments) == 2:
            return self._products(call, style)
        product = integer(call.segments[2])
        if call.verb in ("POST", "PUT"):
            return self._upload(call, style, product)
        if len(call.segments) == 3:
            return self._of_product(call, style, product)
        return self._picture(call, product)

    def _types(self, call: Call, style: Style) -> Shown:
        if call.wanted == "JSON":
            return b"", "", []
        verbs = 'get="true" put="true" post="true" patch="true" delete="true" head="true"'
        listed = "".join(
            f'<{kind} xlink:href="{style.base_url}images/{kind}" {verbs} upload_allowed_mimetypes="{MIMETYPES}"/>\n'
            for kind in TYPES
        )
        return output_xml.document(f"<image_types>\n{listed}</image_types>\n"), output_xml.TYPE, []

    def _products(self, call: Call, style: Style) -> Shown:
        sizes = "".join(
            f'<image_type id="{number}" name="{name}" xlink:href="{style.base_url}image_types/{number}"/>\n'
            for number, name in enumerate(SIZES, 1)
        )
        ids = sorted({cast("int", image["id_product"]) for image in self.shop["images"]})
        listed = "".join(f'<image id="{key}" xlink:href="{style.base_url}images/products/{key}"/>\n' for key in ids)
        return self._document(f"<image_types>\n{sizes}</image_types>\n<images>\n{listed}</images>\n", call)

    def _of_product(self, call: Call, style: Style, product: int) -> Shown:
        images = self.shop["images"].where("id_product", product)
        if not images:
            return b"", None, []
        address = f"{style.base_url}images/products/{product}"
        listed = "".join(f'<declination id="{one["id"]}" xlink:href="{address}/{one["id"]}"/>\n' for one in images)
        return self._document(f'<image id="{product}">\n{listed}</image>\n', call)

    def _document(self, content: str, call: Call) -> Shown:
        if call.wanted == "JSON":
            raise Failure(php_warning('Undefined array key "image"', 96))
        return output_xml.document(content), output_xml.TYPE, []

    def _picture(self, call: Call, product: int) -> Shown:
        text = call.segments[3]
        if not whole(text):
            raise fail(60, 'The image id is invalid. Please set a valid id or the "default" value')
        image = self.shop["images"].get(int(text))
        if image is None or image["id_product"] != product:
            raise fail(57, "This image id does not exist")
        if len(call.segments) > 4 and call.segments[4] not in SIZES:
            raise fail(58, did_you_mean("This image size does not exist", call.segments[4], SIZES))
        if call.verb == "DELETE":
            self.shop["images"].delete(int(text))
            self.shop.pictures.pop(int(text), None)
            return b"", None, []
        return self._bytes(image), "image/jpeg", _picture_headers()

    def _bytes(self, image: Row) -> bytes:
        key = cast("int", image["id"])
        return self.shop.pictures.get(key) or picture(key)

    def _upload(self, call: Call, style: Style, product: int) -> Shown:
        data = multipart_field(call.request.header("content-type") or "", call.request.body, "image")
        readable = call.request.method == "POST" and data is not None and kind_of(data) is not None
        if not readable or data is None or self.shop["products"].get(product) is None:
            raise fail(76, NO_UPLOAD)
        limit = LIMIT if self.knobs.release >= (8, 1) else OLD_LIMIT
        if len(data) > limit:
            raise fail(72, f"The image size is too large (maximum allowed is {limit // 1000} KB)")
        stored = reencoded(data) if kind_of(data) == "image/jpeg" else picture(len(data))
        image = self._replaced(call) if call.verb == "PUT" else self._added(product)
        self.shop.pictures[cast("int", image["id"])] = stored
        if call.wanted == "JSON":
            return stored, "image/jpeg", []
        return output_xml.document(self._described(image, stored, style)), output_xml.TYPE, []

    def _added(self, product: int) -> Row:
        position = len(self.shop["images"].where("id_product", product)) + 1
        cover = 1 if position == 1 else None
        key = self.shop.insert("images", id_product=product, position=position, cover=cover)
        return self.shop.row("images", key)

    def _replaced(self, call: Call) -> Row:
        text = call.segments[3] if len(call.segments) > 3 else ""
        image = self.shop["images"].get(integer(text))
        if image is None:
            raise fail(57, "This image id does not exist")
        return image

    def _described(self, image: Row, stored: bytes, style: Style) -> str:
        names = ("id", "id_product", "position", "cover")
        texts = "".join(
            f"<{name}><![CDATA[{'' if image[name] is None else image[name]}]]></{name}>\n" for name in names
        )
        legend = output_xml.translated({}, style)
        coded = base64.b64encode(stored).decode()
        return (
            f"<image>\n{texts}<legend>{legend}</legend>\n</image>\n"
            f'<content encode="base64"><![CDATA[{coded}]]></content>\n'
        )


def multipart_field(content_type: str, body: bytes, name: str) -> bytes | None:
    """The content of one field of a multipart/form-data body; None when it is not there."""
    found = re.search(r'boundary="?([^";]+)"?', content_type)
    if not content_type.startswith("multipart/form-data") or not found:
        return None
    for part in (b"\r\n" + body).split(b"\r\n--" + found[1].encode("latin-1"))[1:]:
        head, _, content = part.partition(b"\r\n\r\n")
        if re.search(rb'[; ]name="?' + re.escape(name.encode()) + rb'"?(;|\r|$)', head):
            return content
    return None


def _picture_headers() -> Headers:
    expires = formatdate(time() + PICTURE_SECONDS, usegmt=True)
    return [("Cache-Control", f"max-age={PICTURE_SECONDS}"), ("Expires", expires)]
