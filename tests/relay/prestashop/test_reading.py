"""XML from stores that mean no good, and from those that only have a bad day."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.prestashop.reading import Fault, NotXmlError, around, faults, parse, read_root

BOM = b"\xef\xbb\xbf"
DECLARED = b'<?xml version="1.0" encoding="UTF-8"?>\n'
BILLION_LAUGHS = (
    b'<!DOCTYPE a [<!ENTITY a "ha">'
    + b"".join(b'<!ENTITY %c "&%c;&%c;&%c;">' % (98 + n, 97 + n, 97 + n, 97 + n) for n in range(20))
    + b"]><a>&u;</a>"
)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b" ",
        b"\0" * 1000,
        b"<",
        b"<a>",
        b"<a></b>",
        b"<a/><b/>",
        b"<a b=1/>",
        b"<a>&nosuch;</a>",
        b"<a>\xff\xfe</a>",
        b"<!DOCTYPE html><html></html>",
        BILLION_LAUGHS,
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "http://127.0.0.1/">]><a>&x;</a>',
        b"<a>" * 65 + b"</a>" * 65,
        b"<a>" * 500_000,
        b"<a>" + b"<b/>" * 20_000 + b"</a>",
    ],
    ids=lambda document: repr(document[:40]),
)
def test_what_is_no_plain_xml_is_refused(document: bytes) -> None:
    """By NotXmlError and nothing else, with a reason; doctypes before anything in them is looked at."""
    with pytest.raises(NotXmlError) as refused:
        parse(document)
    assert str(refused.value)


@pytest.mark.parametrize(
    "encoding", ["utf-7", "shift_jis", "idna", "rot13", "nosuch", "base64", "undefined", "x" * 300]
)
def test_a_declared_encoding_changes_nothing(encoding: str) -> None:
    """PrestaShop writes UTF-8: no codec that a store names gets to work, and none that is unknown breaks anything."""
    document = f'<?xml version="1.0" encoding="{encoding}"?><a>é</a>'.encode()
    assert parse(document).text == "é"


@given(st.binary(max_size=400))
def test_no_bytes_break_the_readers(body: bytes) -> None:
    """Whatever comes: an element or NotXmlError, a list of faults, three parts that make up the whole."""
    for document in (body, DECLARED + body, b"<prestashop>" + body + b"</prestashop>"):
        with contextlib.suppress(NotXmlError):
            read_root(parse(document))
        assert isinstance(faults(document), list)
        parts = around(document)
        assert parts.before + parts.document + parts.after == document


def test_reading_is_quick_whatever_it_is() -> None:
    """Half a MiB that is made to be slow takes well under a second: other tenants share the loop."""
    size = 512 * 1024
    for unit in (b"<a>", b"<a/>", b"x<a/>", b"<a>x</a>", b"</prestashop ", b"<?xml ", b"&#65;", b"<![CDATA[]]>"):
        body = b"<prestashop>" + unit * (size // len(unit))
        began = time.perf_counter()
        around(body)
        faults(body)
        assert time.perf_counter() - began < 1, unit
    attributes = b"<a " + b" ".join(b'x%d=""' % n for n in range(40_000)) + b"/>"
    began = time.perf_counter()
    parse(attributes)
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"<errors><error><code><![CDATA[20]]></code><message>No</message></error></errors>", [Fault(20, "No")]),
        (b"<errors><error><message>No</message></error></errors>", [Fault(None, "No")]),
        (b"<errors><error> Internal error </error></errors>", [Fault(None, "Internal error")]),
        (b"<errors><error><code>%b</code></error></errors>" % (b"9" * 5000), [Fault(None, "")]),
        ("<errors><error><code>٣</code><message>x</message></error></errors>".encode(), [Fault(None, "x")]),
        (
            b"<errors><error><code>-1</code></error><error><code>21</code></error></errors>",
            [Fault(None, ""), Fault(21, "")],
        ),
        (b"<errors/>", []),
        (b"<api/>", []),
    ],
)
def test_faults_in_xml(body: bytes, told: list[Fault]) -> None:
    """Code and message in their order; a code that is no small number is none."""
    document = DECLARED + b"<prestashop>" + body + b"</prestashop>"
    assert faults(document) == told
    assert faults(BOM + b"\n<b>Warning</b>" + document + b"\n<script/>\n") == told


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"errors":[{"code":27,"message":"x"}]}', [Fault(27, "x")]),
        (b'\xef\xbb\xbf {"errors":[{"code":"27","message":"x"}]}', [Fault(27, "x")]),
        (b'{"errors":[{"code":Infinity,"message":"x"}]}', [Fault(None, "x")]),
        (b'{"errors":[{"code":1e999,"message":null}]}', [Fault(None, "None")]),
        (b'{"errors":{"code":1}}', []),
        (b'{"errors":[1]}', []),
        (b'{"errors":null}', []),
        (b"{" * 100_000, []),
        (b'{"a":' * 50_000, []),
        (b"{}", []),
    ],
    ids=lambda body: repr(body[:40]),
)
def test_faults_in_json(body: bytes, told: list[Fault]) -> None:
    """The same from JSON; what is none, or nested without end, has none."""
    assert faults(body) == told


def test_the_root() -> None:
    """Name in the spelling of all versions, grants by resource; names that are none of a resource are left out."""
    api = (
        b'<prestashop><api shopName="Caf\xc3\xa9"><orders get="true" put="false" post="TRUE" head="true"/>'
        b'<Evil--x get="true"/><carts/></api></prestashop>'
    )
    root = read_root(parse(api))
    assert root.shop_name == "Café"
    assert root.grants == {"orders": ("GET", "HEAD"), "carts": ()}
    assert read_root(parse(api.replace(b"shopName", b"shop_name"))).shop_name == "Café"
    assert read_root(parse(b"<prestashop><api/></prestashop>")).shop_name == ""
    with pytest.raises(NotXmlError):
        read_root(parse(b"<prestashop><products/></prestashop>"))


def test_a_root_is_bounded() -> None:
    """However many resources and however long a name: what is kept of it is small."""
    many = b"".join(b'<r%d get="true"/>' % n for n in range(9_000))
    root = read_root(parse(b'<p><api shopName="%b">%b</api></p>' % (b"x" * 100_000, many)))
    assert len(root.shop_name) == 200
    assert len(root.grants) == 500


@pytest.mark.parametrize(
    ("before", "after", "noise", "mark", "blank"),
    [
        (b"", b"", b"", False, False),
        (b"", b"\n\n", b"", False, False),
        (b"\n", b"", b"", False, True),
        (BOM, b"", b"", True, False),
        (BOM + BOM + b"\r\n", b"\n", b"", True, True),
        (b"\n" + BOM, BOM, b"", True, True),
        (b"<b>Warning</b>\n", b"", b"<b>Warning</b>", False, False),
        (b"", b"<script></script>", b"<script></script>", False, False),
        (BOM, b"x", b"x", True, False),
    ],
)
def test_what_stands_around(before: bytes, after: bytes, noise: bytes, mark: bool, blank: bool) -> None:
    """Marks and blanks are told from noise; the document comes out whole."""
    document = DECLARED + b"<prestashop><api/></prestashop>"
    parts = around(before + document + after)
    assert parts.document == document
    assert (parts.noise, parts.byte_order_mark, parts.blank) == (noise, mark, blank)
