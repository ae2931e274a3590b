"""Assertions 74 to 76: pictures."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from tests.store.jpeg import picture
from tests.store_conformance.asking import ask, get

if TYPE_CHECKING:
    from tests.store_conformance.asking import Response, Shop

BOUNDARY = "----------------------------4cc50f77906866a3"


async def upload(shop: Shop, target: str, field: str, data: bytes, *, json: bool = False) -> Response:
    body = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="a.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    ).encode()
    body += data + f"\r\n--{BOUNDARY}--\r\n".encode()
    kind = ("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
    return await ask(shop, target, method="POST", headers=[kind], body=body, json=json)


async def test_74_lists_and_unknown_pictures(shop: Shop) -> None:
    """74. The declinations of a product; unknown id 400/57; unknown size 400/58; no picture: 404 empty."""
    image = (await get(shop, "/api/images/products/1")).xml[0]
    assert (image.tag, image.get("id"), [one.get("id") for one in image]) == ("image", "1", ["1", "2"])
    unknown = await get(shop, "/api/images/products/1/999")
    assert (unknown.status, unknown.errors) == (400, [(57, "This image id does not exist")])
    of_another = await get(shop, "/api/images/products/1/3")
    assert (of_another.status, of_another.codes) == (400, [57])
    size = await get(shop, "/api/images/products/1/1/no_size")
    assert (size.status, size.codes) == (400, [58])
    assert "large_default" in size.errors[0][1]
    for target in ("/api/images/products/20", "/api/images/products/999"):
        none = await get(shop, target)
        assert (none.status, none.body, none.header("Content-Type")) == (404, b"", None)


async def test_75_a_picture(shop: Shop) -> None:
    """75. image/jpeg, Content-Sha1 of the bytes, cacheable; Range is ignored."""
    answer = await get(shop, "/api/images/products/1/1")
    assert (answer.status, answer.header("Content-Type")) == (200, "image/jpeg")
    assert answer.body.startswith(b"\xff\xd8\xff")
    assert answer.header("Content-Sha1") == answer.sha1
    assert answer.header("Cache-Control") == "max-age=2592000"
    part = await get(shop, "/api/images/products/1/1", headers=[("Range", "bytes=0-9")])
    assert (part.status, part.body) == (200, answer.body)
    assert (await get(shop, "/api/images/products/1/1/large_default")).status == 200


async def test_76_upload_and_delete(shop: Shop) -> None:
    """76. POST `image`: 200 XML with the picture; JSON: the bytes; no such field 400/76; DELETE: 200 empty, then 57."""
    answer = await upload(shop, "/api/images/products/2", "image", picture(200))
    assert answer.status == 200
    image = answer.xml.find("image")
    assert image is not None
    assert (image.findtext("id"), image.findtext("id_product"), image.findtext("position")) == ("24", "2", "2")
    stored = base64.b64decode(answer.xml.findtext("content") or "")
    assert (await get(shop, "/api/images/products/2/24")).body == stored
    assert stored != picture(200)
    as_json = await upload(shop, "/api/images/products/2", "image", picture(200), json=True)
    assert (as_json.status, as_json.header("Content-Type")) == (200, "image/jpeg")
    assert as_json.body.startswith(b"\xff\xd8")
    for field, data, target in (
        ("file", picture(1), "/api/images/products/2"),
        ("image", b"no picture", "/api/images/products/2"),
        ("image", picture(1), "/api/images/products/999"),
    ):
        refused = await upload(shop, target, field, data)
        assert (refused.status, refused.codes) == (400, [76])
    gone = await ask(shop, "/api/images/products/2/24", method="DELETE")
    assert (gone.status, gone.body, gone.header("Content-Type")) == (200, b"", None)
    assert (await ask(shop, "/api/images/products/2/24", method="DELETE")).codes == [57]
