"""A PrestaShop is asked directly and through the relay, and neither it nor its caller can tell which it was."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.store.jpeg import picture
from tests.store_conformance.replay import UNRECORDED, WEBSERVICE_OFF_FROM, Exchange, load
from tests.transparency.asking import Body, Call, Caller, Shown, odd_chunks
from tests.transparency.making import calls, cuts, headers, is_refused
from tests.transparency.shops import Shops, compare_shown
from tests.transparency.wire import Message

EXAMPLES = 100
JSON = b"Output-Format: JSON"

# Recorded requests that show no credential, or one that no connection has: the relay answers them itself.
WITHOUT_A_KEY = {"001", "004", "008", "030", "254"}


def test_recorded_requests(shops: Shops) -> None:
    """All 70 in their order: shop and caller see the same on both roads, or the relay refuses for want of a key."""
    answered = 0
    for exchange in load():
        if exchange.number in UNRECORDED:
            method, target, body = UNRECORDED[exchange.number]
            shops.same(Call(target.encode(), method.encode(), body=Body.counted(body.encode())))
        shops.set(webservice="on" if exchange.number < WEBSERVICE_OFF_FROM else "off")
        if exchange.number in WITHOUT_A_KEY:
            check_without_a_key(shops, exchange)
        else:
            compare_shown(*tell(shops, exchange))
            answered += 1
    assert answered == 70 - len(WITHOUT_A_KEY)


def tell(shops: Shops, exchange: Exchange) -> tuple[Shown, Shown]:
    """The recorded request on both roads; only the relayed one has `ws_key`, where the recording has it."""
    call = recorded(exchange)
    both = shops.both(key_of(exchange))
    in_query = re.search(rb"([?&])ws_key=\w+", call.target)
    plain = replace(call, target=call.target.replace(in_query[0], b"") if in_query else call.target)
    through = call.target.replace(b"ws_key=FULL", b"ws_key=" + both.relayed.key)
    has_basic = any(name == "Authorization" for name, _ in exchange.headers)
    both = both if has_basic else replace(both, relayed=replace(both.relayed, key=b""))
    return both.tell(
        lambda caller: [caller.ask(plain if caller.road is both.direct else replace(call, target=through))]
    )


def recorded(exchange: Exchange) -> Call:
    """As it was recorded, less Host and credential, which are the road's."""
    lines = [f"{name}: {value}".encode() for name, value in exchange.headers if name not in {"Host", "Authorization"}]
    return Call(exchange.path.encode(), exchange.method.encode(), lines, Body(b"", exchange.body))


def key_of(exchange: Exchange) -> str:
    found = re.findall(r"Basic (\w+):", dict(exchange.headers).get("Authorization", ""))
    return found[0] if found else "FULL"


def check_without_a_key(shops: Shops, exchange: Exchange) -> None:
    """The relay's own 401; the shop hears nothing."""
    both = shops.both()
    both.relayed_store.clear()
    shown = dict(exchange.headers).get("Authorization", "")
    lines = [b"Authorization: " + shown.encode()] if shown else []
    call = recorded(exchange)
    with Caller(replace(both.relayed, key=b"")) as caller:
        answer = caller.ask(replace(call, fields=[*lines, *call.fields]))
    assert (answer.status, answer.values(b"postern-error")) == (401, [b"unauthenticated"])
    assert both.relayed_store.seen(0) == []


_resources = st.sampled_from(
    ["orders", "products", "customers/1", "orders/1", "products/9999", "images/products/1/1", "nosuch", "", "search"]
)
_slashes = st.sampled_from(["/", "/", "//"])
_parameters = st.lists(
    st.sampled_from(
        [
            "display=full", "display=[id,name]", "display=%5Bid%5D", "limit=2", "limit=0,2", "sort=[id_DESC]", "date=1",
            "filter[id]=[1|3]", "filter%5Bid%5D=%5B1%2C3%5D", "filter[name]=%[mug]%", "filter[name]=%25%5Bmug%5D%25",
            "schema=blank", "language=2", "output_format=JSON", "id_shop=1", "id_shop=99", "", "limit", "x=+%20%zz",
        ]
    ),
    max_size=4,
)  # fmt: skip
_shop_targets = st.builds(
    lambda first, resource, second, beside, parameters: (
        first + "api" + (second + resource if resource else "") + ("&" if beside else "?") + "&".join(parameters)
    ).encode(),
    _slashes,
    _resources,
    _slashes,
    st.booleans(),
    _parameters,
)
_bodies = st.sampled_from(
    [
        b"<prestashop><product><id>5</id><price>1.5</price></product></prestashop>",
        b"<prestashop><customer><lastname>A</lastname></customer></prestashop>",
        b"<prestashop/>",
        b"{}",
        b"\xff\x00<not>",
    ]
).map(Body.counted) | st.sampled_from([b"<prestashop/>", b"<a>"]).map(lambda data: Body.chunked(*odd_chunks(data)))


@st.composite
def _sensible(draw: st.DrawFn) -> Call:
    method = draw(
        st.sampled_from([b"GET", b"GET", b"GET", b"HEAD", b"OPTIONS", b"FOO", b"POST", b"PUT", b"PATCH", b"DELETE"])
    )
    body = draw(_bodies) if method in {b"POST", b"PUT", b"PATCH"} else Body()
    fields = draw(headers) + draw(
        st.lists(st.sampled_from([JSON, b"io-format:XML", b"Accept-Encoding: gzip"]), max_size=2)
    )
    return Call(draw(_shop_targets), method, fields, body, cuts=draw(cuts))


@given(st.lists(_sensible() | calls().filter(lambda call: not is_refused(call.target)), min_size=1, max_size=3))
@settings(max_examples=EXAMPLES, deadline=None)
def test_whatever_a_shop_is_asked(lasting_shops: Shops, calls: list[Call]) -> None:
    """Reads and writes, sensible or not, one after another: the same answers, and two shops in the same state."""

    for call in calls:
        lasting_shops.same(call)


KNOBS: list[dict[str, object]] = [
    {},
    {"header_case": "lower"},
    {"transfer": "gzip"},
    {"transfer": "length"},
    {"noise": "bom"},
    {"noise": "script"},
    {"fatal": "on"},
    {"hostile": "on"},
    {"version": "1.7.4"},
    {"auth_stripped": "on"},
    {"maintenance": "on", "ssl": "on"},
    {"webservice": "off"},
    {"rewrite": "missing"},
    {"waf": "brackets"},
    {"waf": "challenge"},
    {"waf": "rate"},
    {"moved_to": "https://www.shop.example"},
    {"first_byte_delay": "0.2"},
    {"keepalive_max": "1"},
]
ASKED = [
    Call(b"/api", fields=[b"Accept-Encoding: gzip"]),
    Call(b"/api/products?display=full", fields=[b"Accept-Encoding: gzip", JSON]),
    Call(b"/api/orders", b"HEAD"),
    Call(b"/api/products?filter[id]=[1|3]&display=%5Bid%5D"),
    Call(b"/api/orders/99999"),
    Call(b"/api/orders%2F1"),
    Call(
        b"/api/products/5",
        b"PATCH",
        body=Body.counted(b"<prestashop><product><id>5</id><price>2</price></product></prestashop>"),
    ),
    Call(b"/api/customers?sendemail=1", b"POST", body=Body.chunked(b"<prestashop>", b"<customer/></prestashop>")),
    Call(b"/api/products/9999", b"DELETE"),
]


@pytest.mark.parametrize("knobs", KNOBS, ids=str)
def test_a_shop_with_troubles(shops: Shops, knobs: dict[str, object]) -> None:
    """However the shop writes its answers and whatever is wrong with it, it is the same on both roads."""
    shops.set(**knobs)
    for call in ASKED:
        shops.same(call)


def test_an_answer_that_the_shop_cuts(shops: Shops) -> None:
    """Half an answer is half an answer, directly and through the relay."""
    call = Call(b"/api/products?display=full")
    (whole,) = shops.same(call)
    shops.set(transfer="cut")
    for shown in shops.both().tell(lambda caller: [caller.ask(call)]):
        (answer,) = shown.answers
        assert (answer.status, answer.whole) == (200, False)
        assert whole.body.startswith(answer.body)


def test_empty_answers(shops: Shops) -> None:
    """An empty 404, DELETE, 304 and HEAD in one conversation: no body, no type, no length is invented."""
    (listed,) = shops.same(Call(b"/api/orders"))
    created = CUSTOMER % b"empty@example.com"
    (made,) = shops.same(Call(b"/api/customers", b"POST", body=Body.counted(created)))
    (number,) = re.findall(rb"<id><!\[CDATA\[(\d+)", made.body)
    answers = shops.same(
        Call(b"/api/orders/99999"),
        Call(b"/api/orders/99999", b"HEAD", [JSON]),
        Call(b"/api/orders", b"HEAD"),
        Call(b"/api/orders", fields=[b"Local-Content-Sha1: " + listed.values(b"content-sha1")[0]]),
        Call(b"/api/customers/" + number, b"DELETE"),
        Call(b"/api/customers/" + number),
    )
    assert [answer.status for answer in answers] == [404, 404, 200, 304, 200, 404]
    assert all(answer.body == b"" for answer in answers)


CUSTOMER = (
    b"<prestashop><customer><passwd>Sup3r-Secret-Pw!</passwd><lastname>Both</lastname><firstname>Ways</firstname>"
    b"<email>%s</email></customer></prestashop>"
)


@pytest.mark.parametrize("chunked", [False, True], ids=["counted", "chunked"])
def test_a_body_that_waits_for_100(shops: Shops, chunked: bool) -> None:
    """The shop's own 100 comes through, and then the customer is made."""
    created = CUSTOMER % b"waits@example.com"
    body = Body.chunked(*odd_chunks(created)) if chunked else Body.counted(created)
    call = Call(b"/api/customers", b"POST", [b"Expect: 100-continue"], body)

    def story(caller: Caller) -> Sequence[Message]:
        caller.send([call.head(caller.road)])
        asked = caller.reader.head()
        assert asked
        caller.send([body.framed])
        answer = caller.reader.answer()
        return [replace(answer, interim=(asked, *answer.interim))]

    (answer,) = shops.same_story(story)
    assert (answer.status, len(answer.interim)) == (201, 1)


@pytest.mark.parametrize("chunked", [False, True], ids=["counted", "chunked"])
def test_a_picture_as_multipart(shops: Shops, chunked: bool) -> None:
    """A picture of half a megabyte goes up as multipart, comes back as bytes, and is deleted again."""
    boundary = b"--=_b/o'u:n d?ary"
    filler = b"\xff\xfe" + (2 + 60_000).to_bytes(2, "big") + b"\r\n--\x00\xff\xd9" * 7500
    data = picture(7)[:2] + filler * 8 + picture(7)[2:]
    head = b'Content-Disposition: form-data; name="image"; filename="\xc3\xa9.jpg"\r\nContent-Type: image/jpeg'
    form = b"--%s\r\n%s\r\n\r\n%s\r\n--%s--\r\n" % (boundary, head, data, boundary)
    up = Call(
        b"/api/images/products/2",
        b"POST",
        [b'content-type: multipart/form-data; boundary="%s"' % boundary],
        Body.chunked(*odd_chunks(form)) if chunked else Body.counted(form),
    )
    (sent,) = shops.same(up)
    assert (sent.status, b"<position" in sent.body) == (200, True)
    got, gone = shops.same(Call(b"/api/images/products/2/24"), Call(b"/api/images/products/2/24", b"DELETE"))
    assert len(got.body) > len(data)
    assert (gone.status, gone.body) == (200, b"")


@pytest.mark.parametrize("query", [b"", b"?length=1"], ids=["chunked", "counted"])
def test_megabytes(shops: Shops, query: bytes) -> None:
    """8 MiB down and 3 MiB up."""
    shops.set(huge=8 << 20)
    (down,) = shops.same(Call(b"/api/__huge" + query))
    assert len(down.body) == 8 << 20
    shops.same(Call(b"/api/__huge", b"PUT", body=Body.counted(down.body[: 3 << 20])))


@pytest.mark.parametrize("line", [b"X-A: 1", b"Connection: keep-alive"])
def test_http_1_0(shops: Shops, line: bytes) -> None:
    """The shop speaks HTTP/1.1 with the relay; its caller of HTTP/1.0 gets what it would have got directly."""
    call = Call(b"/api/products?display=full", fields=[line], version=b"1.0")
    both = shops.both()
    compare_shown(*both.tell(lambda caller: [caller.ask(call)]), version=b"1.0")
