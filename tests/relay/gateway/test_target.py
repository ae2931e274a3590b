"""Targets: what is not plainly under the store's /api is refused; of what passes, no byte changes but `ws_key`."""

from __future__ import annotations

from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.gateway.target import DECODING_ROUNDS, RefusedTargetError, Target, asks_for_json, judge

TO = b"/to/con_aaaaaaaaaaaaaaaa"


def judged(below: bytes) -> Target:
    return judge(TO + below)


def encoded(text: bytes, rounds: int = 1) -> bytes:
    """Every byte as %XX; again and again, the percent signs themselves."""
    text = b"".join(b"%%%02x" % byte for byte in text)
    for _ in range(rounds - 1):
        text = text.replace(b"%", b"%25")
    return text


UNTOUCHED = [
    b"/api", b"/api/", b"//api/orders", b"///api//orders//", b"/api?", b"/api/?", b"/api?&", b"/api??",
    b"/api/orders/5&id_shop=2",
    b"/api&display=full", b"/api/orders?filter[id]=[1|2]&display=[id,name]", b"/api/orders?filter%5Bid%5D=%5B1%7C2%5D",
    b"/api/orders?sort=[date_upd_ASC,id_ASC]&limit=0,50", b"/api/orders?a=1&a=2&&=&b",
    b"/api/orders?x=a+b%20c;d:e@f!$'()*,~",
    b"/api/orders?filter[date_upd]=>[2024-01-01%2000:00:00]", b"/api/orders?q=%", b"/api/orders?q=%zz%2",
    b"/api/orders/%C3%A9",
    b"/api/images/products/1/2?x=..", b"/api/orders?x=/../..", b"/api/orders?x=%2e%2e%2f", b"/api/a..b/...",
    b"/api/.a/a.",
    b"/api/orders?x=\\", b"/api/orders?x=%00%0a", b"/api/orders?ws_keys=1&xws_key=2&ws-key=3&wskey=4&ws__key=5",
    b"/api/orders?a=b?ws_key=c", b"/api/orders?x=ws_key=1", b"/api/orders?x=%26ws_key=1", b"/api/orders;v=1/2",
    b"/api/orders?psmethods", b"/api/orders?urls=1&curl=2&url_x=3", b'/api/orders|1"<>^`{}',
]  # fmt: skip


@pytest.mark.parametrize("below", UNTOUCHED, ids=repr)
def test_nothing_about_the_bytes_changes(below: bytes) -> None:
    """Slashes, brackets, `&` in the path, empty and repeated parameters, odd encodings: passed on as they came."""
    target = judged(below)
    assert (target.path, target.ws_key) == (below, None)
    assert target.connection == "con_aaaaaaaaaaaaaaaa"


tails = st.text("aZ09/&?=[]%+;:.,|~-_", max_size=30).map(str.encode)


@given(tail=tails)
def test_what_passes_without_a_key_passes_unchanged(tail: bytes) -> None:
    """Whatever is let through is let through as it is."""
    try:
        target = judged(b"/api" + tail)
    except RefusedTargetError:
        return
    if target.ws_key is None:
        assert target.path == b"/api" + tail


DOTS = [b"..", b".", b"..;", b"..;a=b", b".;x"]


@pytest.mark.parametrize("rounds", range(5))
@pytest.mark.parametrize("segment", DOTS)
@pytest.mark.parametrize(
    "form", [b"/api/%s/admin", b"/api/%s", b"/api/orders/%s/%s/admin", b"/api//%s//x", b"/api/%s?x=1", b"/api/%s&x=1"]
)
def test_dot_segments_are_refused_in_every_encoding(form: bytes, segment: bytes, rounds: int) -> None:
    """Raw, encoded once, twice, three times: none of it reaches a store that might decode it so often."""
    dots = encoded(segment, rounds) if rounds else segment
    with pytest.raises(RefusedTargetError):
        judged(form.replace(b"%s", dots))


@pytest.mark.parametrize("hidden", [b"%3F", b"%3f", b"%253F", b"%23", b"%2523"])
def test_an_encoded_question_mark_hides_no_dot_segment(hidden: bytes) -> None:
    """The path ends at the raw `?` alone: what stands behind an encoded one is path to the store."""
    for dots in (b"..", b"%2e%2e", b"%2E.", b"%252e%252e"):
        with pytest.raises(RefusedTargetError):
            judged(b"/api/x%s/%s/%s/admin" % (hidden, dots, dots))
        with pytest.raises(RefusedTargetError):
            judged(b"/api/x%s%%2f%s%%2fadmin" % (hidden, dots))


@pytest.mark.parametrize("byte", [*range(0x21), 0x5C, 0x7F])
@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_control_bytes_and_backslash_in_the_path_are_refused(byte: int, rounds: int) -> None:
    """0x00 to 0x1F, DEL and backslash, however often encoded; the blank passes."""
    below = b"/api/a%sb" % encoded(bytes([byte]), rounds)
    if byte == 0x20:
        assert judged(below).path == below
    else:
        with pytest.raises(RefusedTargetError):
            judged(below)


@pytest.mark.parametrize(
    "below",
    [
        b"",
        b"/",
        b"/apis",
        b"/api%2Forders",
        b"/%61pi",
        b"/API",
        b"/admin",
        b"/x/api",
        b"/api.php",
        b"/webservice/dispatcher.php?url=x",
        b"?/api",
        b"/&/api",
        b"/api%3Fx",
        b"/.api",
        b"/./api",
        b"/../api",
        b"/a/../api",
        b"/api\\x",
        b"/api;x",
    ],
)
def test_what_is_not_under_api_is_refused(below: bytes) -> None:
    """`/api` itself, spelled plainly, then nothing, `/`, `&` or `?`."""
    with pytest.raises(RefusedTargetError):
        judged(below)


@pytest.mark.parametrize(
    "target",
    [
        b"/to/",
        b"/to/con_",
        b"/to/con_aaaaaaaaaaaaaaa/api",
        b"/to/con_aaaaaaaaaaaaaaaaa/api",
        b"/to/con_aaaaaaaaaaaaaaa1/api",
        b"/to/agt_aaaaaaaaaaaaaaaa/api",
        b"/to/con_aaaaaaaaaaaaaaaa%2Fapi",
        b"/to//con_aaaaaaaaaaaaaaaa/api",
        b"/to/con_aaaaaaaaaaaaaaaa/api#x",
        b"x",
        b"//to/con_aaaaaaaaaaaaaaaa/api",
        b"http://a/b/to/con_aaaaaaaaaaaaaaaa/api",
        b"ftp://a/to/con_aaaaaaaaaaaaaaaa/api",
    ],
)
def test_what_names_no_connection_is_refused(target: bytes) -> None:
    """The address is `/to/`, one id, and what is below it; in absolute form the host does not matter."""
    with pytest.raises(RefusedTargetError):
        judge(target)


def test_absolute_form_is_read() -> None:
    """`http://host/to/…` is the same target as `/to/…`."""
    assert judge(b"http://any.example:99" + TO + b"/api/x?y") == judged(b"/api/x?y")


def test_endless_encodings_are_refused() -> None:
    """A target that still changes in the last round of decoding is refused, in path and query."""
    deepest = encoded(b"a", DECODING_ROUNDS - 1)
    assert judged(b"/api/" + deepest).path == b"/api/" + deepest
    for below in (b"/api/", b"/api?x="):
        with pytest.raises(RefusedTargetError):
            judged(below + encoded(b"a", DECODING_ROUNDS))


PS_METHOD = [b"ps_method", b"ps.method", b"ps+method", b"ps%20method", b"ps%2Emethod", b"ps%5Fmethod", b"ps[method",
             b"ps%5Bmethod",
             b"%70s_method", b"ps_metho%64", b"ps%255Fmethod", b"ps%25255Bmethod", b"+ps_method", b"%20ps_method",
             b"+%20ps.method",
             b"ps_method%00x", b"ps_method[]", b"PS_METHOD"]  # fmt: skip


@pytest.mark.parametrize("name", PS_METHOD, ids=repr)
@pytest.mark.parametrize(
    "form",
    [
        b"/api/orders?%s=DELETE",
        b"/api/orders?a=b&%s=DELETE&c",
        b"/api/orders&%s=DELETE",
        b"/api/orders%%26%s=DELETE",
        b"/api/orders?%s",
    ],
)
def test_every_spelling_of_ps_method_overrides(form: bytes, name: bytes) -> None:
    """Each name that PHP reads as `ps_method`, in the query and, by `&`, in the path: it is not only reading."""
    below = form.replace(b"%s", name).replace(b"%%", b"%")
    if b"%00" in name and b"?" not in form:
        with pytest.raises(RefusedTargetError):
            judged(below)
        return
    target = judged(below)
    assert target.overrides_method
    assert not target.only_reads


@pytest.mark.parametrize(
    "name",
    [
        b"url",
        b"+url",
        b"%20url",
        b"++url",
        b"%75rl",
        b"u%72l",
        b"%2575rl",
        b"url[]",
        b"url%5B0%5D",
        b"url%00x",
        b"url%00",
    ],
    ids=repr,
)
@pytest.mark.parametrize(
    "form", [b"/api/orders?%s=customers/1", b"/api/orders?a=b&%s=c", b"/api/orders?%s", b"/api/orders?%s&x=y"]
)
def test_every_spelling_of_the_parameter_url_is_seen(form: bytes, name: bytes) -> None:
    """The rewrite rule's own parameter: whoever gives it reads another resource than the path says."""
    target = judged(form.replace(b"%s", name))
    assert target.names_url
    assert not target.only_reads


@pytest.mark.parametrize(
    "below", [b"/api/orders&url=customers", b"/api/orders%26url=customers", b"/api/orders%2526url=customers"]
)
def test_the_parameter_url_is_seen_in_the_path(below: bytes) -> None:
    """By `&`, raw or encoded, the rewrite rule turns the path into parameters."""
    assert judged(below).names_url


@pytest.mark.parametrize(
    "below",
    [b"/api/orders", b"/api/url", b"/api/orders?display=full", b"/api/orders?filter[url]=x", b"/api/orders?q=curl"],
)
def test_plain_reading_is_plain_reading(below: bytes) -> None:
    """Nothing in these overrides anything."""
    assert judged(below).only_reads


WS_KEY = [b"ws_key", b"ws.key", b"ws+key", b"ws%20key", b"ws%2ekey", b"ws%5Fkey", b"ws[key", b"ws%5Bkey",
          b"%77s_key", b"+ws_key",
          b"%20ws_key", b"+%20+ws.key", b"ws%255Fkey", b"ws_key%00", b"ws_key%00junk"]  # fmt: skip


@pytest.mark.parametrize("name", WS_KEY, ids=repr)
@pytest.mark.parametrize(
    ("form", "left"),
    [(b"/api?%s=KEY", b"/api"), (b"/api/orders?%s=KEY&a=b", b"/api/orders?a=b"), (b"/api/orders?a=b&%s=KEY",
     b"/api/orders?a=b"),
     (b"/api/orders?a=b&%s=KEY&c=d", b"/api/orders?a=b&c=d"), (b"/api/orders?a&%s=KEY&", b"/api/orders?a&"),
     (b"/api/orders&%s=KEY", b"/api/orders"), (b"/api/orders&%s=KEY&a=b", b"/api/orders&a=b"),
     (b"/api/orders&%s=KEY?a=b", b"/api/orders?a=b"), (b"/api&%s=KEY?a=b", b"/api?a=b"), (b"/api/orders&x=y?%s=KEY",
     b"/api/orders&x=y"),
     (b"/api/orders?&&%s=KEY&a=b?c&a=b", b"/api/orders?&&a=b?c&a=b"), (b"/api/orders?%s=OLD&%s=KEY", b"/api/orders")],
)  # fmt: skip
def test_every_spelling_of_ws_key_is_taken_out(form: bytes, left: bytes, name: bytes) -> None:
    """Each name that PHP reads as `ws_key` goes, with its separator; all else stays; the last value counts."""
    if b"%00" in name and b"?" not in form.partition(b"%s")[0]:
        with pytest.raises(RefusedTargetError):
            judged(form.replace(b"%s", name))
        return
    target = judged(form.replace(b"%s", name))
    assert (target.path, target.ws_key) == (left, b"KEY")


def test_the_query_counts_before_the_path() -> None:
    """The rewrite rule appends the query, and PHP takes the last: a key in the query hides one in the path."""
    target = judged(b"/api/orders&ws_key=PATH?ws_key=QUERY")
    assert (target.path, target.ws_key) == (b"/api/orders", b"QUERY")


@pytest.mark.parametrize(
    "below",
    [
        b"/api/orders%26ws_key=KEY",
        b"/api/orders%26ws%5Fkey%3DKEY",
        b"/api/orders%2526ws.key=KEY",
        b"/api&x%26+ws_key=KEY?a=b",
    ],
)
def test_a_key_hidden_in_the_path_is_refused(below: bytes) -> None:
    """An encoded `&` in the path becomes a real one on its way to PHP: such a key would reach the store."""
    with pytest.raises(RefusedTargetError):
        judged(below)


def test_the_key_stays_as_it_was_encoded() -> None:
    """It may be put back into a header, so it is never decoded into CR, LF or anything else."""
    assert judged(b"/api?ws_key=a%0d%0aSet-Cookie:x").ws_key == b"a%0d%0aSet-Cookie:x"


@given(
    kept=st.lists(
        st.sampled_from([b"a=b", b"a", b"", b"filter[x]=[1]", b"a=b?c", b"%5B=%5D", b"+", b"x;y"]), max_size=5
    ),
    keys=st.lists(st.tuples(st.integers(0, 5), st.sampled_from(WS_KEY)), max_size=3),
)
def test_taking_keys_out_leaves_exactly_the_others(kept: list[bytes], keys: list[tuple[int, bytes]]) -> None:
    """Put among any parameters, keys go without a trace."""
    parameters = list(kept)
    for at, name in keys:
        parameters.insert(at, name + b"=K")
    expected = b"/api/orders" + (b"?" + b"&".join(kept) if kept else b"")
    if not parameters:
        return
    target = judged(b"/api/orders?" + b"&".join(parameters))
    assert target.path == expected
    assert target.ws_key == (b"K" if keys else None)


@given(raw=st.binary(max_size=40))
def test_any_bytes_are_judged_or_refused(raw: bytes) -> None:
    """Nothing else comes out than a target or a refusal with its reason, quoted or not."""
    for below in (raw, b"/api/" + raw, b"/api?" + raw, b"/api/" + quote_from_bytes(raw).encode()):
        try:
            path = judged(below).path
        except RefusedTargetError as error:
            assert error.detail or error.unknown  # noqa: PT017 - one of the two outcomes, and neither is wanted more
        else:
            assert path.startswith(b"/api")


def test_long_targets_are_judged_like_short_ones() -> None:
    """What is too long to be remembered gives the same."""
    long = b"/api/orders?x=" + b"a" * 5000
    assert judged(long + b"&ws_key=K").path == long
    assert judged(long) == judged(long)


def test_a_target_does_not_print_its_key() -> None:
    """A record's text shows no credential."""
    assert "SECRET" not in repr(judged(b"/api?ws_key=SECRET"))


@pytest.mark.parametrize(
    ("query", "json"),
    [(b"", False), (b"?output_format=JSON", True), (b"?io_format=JSON", True), (b"?output_format=XML&io_format=JSON",
     False),
     (b"?io_format=XML&output_format=JSON", True), (b"?output_format=json", False),
     (b"?output_format=XML&output_format=JSON", True),
     (b"?output_format=", False), (b"?%6Futput_format=%4ASON", True), (b"?x=%ff&output_format=JSON", True)],
)  # fmt: skip
def test_which_format_the_query_asks_for(query: bytes, *, json: bool) -> None:
    """PrestaShop's order: `output_format` before `io_format`, the exact value `JSON`, the last of each."""
    assert asks_for_json(TO + b"/api/orders" + query) is json
