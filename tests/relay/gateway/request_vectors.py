"""The vectors of request smuggling and their neighbours: what is refused, with which status, and what is legal."""

from __future__ import annotations

from tests.relay.gateway.scene import ACCESS_KEY, API, basic, request

CHUNKED_END = b"0\r\n\r\n"
TARGET = f"{API}/products"


def post(*fields: str, body: bytes = b"hello", version: str = "1.1") -> bytes:
    return request(*fields, method="POST", body=body, version=version)


def raw(line: bytes, *fields: bytes, host: bytes | None = b"Host: relay.example") -> bytes:
    """A request of exact lines; the fields that let it through stand behind those given."""
    lines = [line, *fields, b"Authorization: " + basic(ACCESS_KEY).encode()]
    lines += [host] if host is not None else []
    return b"\r\n".join([*lines, b"", b""])


def get(*fields: bytes, host: bytes | None = b"Host: relay.example") -> bytes:
    return raw(b"GET %s HTTP/1.1" % TARGET.encode(), *fields, host=host)


LENGTHS = {
    "CL and TE": post("Content-Length: 5", "Transfer-Encoding: chunked", body=CHUNKED_END),
    "TE and CL": post("Transfer-Encoding: chunked", "Content-Length: 5", body=CHUNKED_END),
    "two different CL": post("Content-Length: 5", "Content-Length: 6"),
    "two equal CL": post("Content-Length: 5", "Content-Length: 5"),
    "CL as a list": post("Content-Length: 5, 5"),
    **{
        f"CL {value!r}": post(f"Content-Length: {value}")
        for value in ("+5", "-0", "-5", "0x5", "5_0", "05", "00", '"5"', '"5 "', "5 5", "5,", ",5", "5.0", "5e0", "",
                      " ", str(2**64), str(2**63), "9" * 30, "\xef\xbc\x95", "\xb2", "5\x0b", "\x0c5", "5\xa0")
    },
}  # fmt: skip

CODINGS = {
    **{
        f"TE {value!r}": post(f"Transfer-Encoding: {value}", body=CHUNKED_END)
        for value in ("xchunked", "chunkedx", "chunked, identity", "identity", ", chunked", "chunked,",
                      "chunked, chunked", '"chunked"', "'chunked'", "chunked;q=1", "chunked; q=1", "chunked\x0b",
                      "\x0bchunked", "chunked\x0c", "\x0cchunked", "chunked\x00", "\x00chunked", "chunked\xa0",
                      "\xa0chunked", "chunked\x85", "\x85chunked", "", "chun ked", "chunked chunked", "c\xc4\xa7unked")
    },
    "TE twice": post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=CHUNKED_END),
    "TE chunked, then identity": post("Transfer-Encoding: chunked", "Transfer-Encoding: identity", body=CHUNKED_END),
    "TE identity, then chunked": post("Transfer-Encoding: identity", "Transfer-Encoding: chunked", body=CHUNKED_END),
    "TE with a space before the colon": post("Transfer-Encoding : chunked", body=CHUNKED_END),
    "TE with a tab before the colon": post("Transfer-Encoding\t: chunked", body=CHUNKED_END),
    "TE behind a space as first field":
        raw(b"POST %s HTTP/1.1" % TARGET.encode(), b" Transfer-Encoding: chunked") + CHUNKED_END,
    "TE behind a tab as first field":
        raw(b"POST %s HTTP/1.1" % TARGET.encode(), b"\tTransfer-Encoding: chunked") + CHUNKED_END,
    "TE folded": post("Transfer-Encoding:\r\n chunked", body=CHUNKED_END),
    "TE in HTTP/1.0": post("Transfer-Encoding: chunked", body=CHUNKED_END, version="1.0"),
}  # fmt: skip

FIELDS = {
    "obs-fold with a space": get(b"X-Note: one\r\n two"),
    "obs-fold with a tab": get(b"X-Note: one\r\n\ttwo"),
    "obs-fold before the first field": get(b" folded"),
    "empty folded line": get(b"X-Note: one\r\n "),
    "name with a space": get(b"X Note: one"),
    "name with a NUL": get(b"X\x00Note: one"),
    "name outside ASCII": get(b"X-N\xf6te: one"),
    "name with a colon first": get(b": one"),
    "empty name": get(b":"),
    "name in brackets": get(b"X(Note): one"),
    "line without a colon": get(b"X-Note"),
    "space before the colon": get(b"X-Note : one"),
    "NUL in a value": get(b"X-Note: o\x00ne"),
    "bell in a value": get(b"X-Note: o\x07ne"),
    "DEL in a value": get(b"X-Note: o\x7fne"),
    "bare CR in a value": get(b"X-Note: one\rtwo"),
    "bare CR that hides a field": get(b"X-Note: one\rTransfer-Encoding: chunked"),
    "bare CR at the end of a value": get(b"X-Note: one\r"),
    "bare CR instead of CRLF": get(b"X-Note: one").replace(b"one\r\n", b"one\r"),
    "bare LF in a value": get(b"X-Note: one\nX-Other: two"),
    "bare LF that hides a field": get(b"X-Note: one\nTransfer-Encoding: chunked"),
    "LF CR": get(b"X-Note: one\n\rX-Other: two"),
    "CR CR LF": get(b"X-Note: one\r\r\nX-Other: two"),
    "bare LF behind the request line": get().replace(b"HTTP/1.1\r\n", b"HTTP/1.1\n"),
    "bare LF everywhere": get().replace(b"\r\n", b"\n"),
    "bare CR everywhere": get().replace(b"\r\n", b"\r") + b"\r\n\r\n",
    "bare LF as empty line": get()[:-2] + b"\n",
    **{
        f"{name.decode()} in disguise": get(name + b": 5")
        for name in (b"Content_Length", b"content_length", b"CONTENT_LENGTH", b"Transfer_Encoding", b"Keep_Alive",
                     b"Proxy_Connection", b"Proxy_Authorization")
    },
}  # fmt: skip

HOSTS = {
    "Host missing": get(host=None),
    "two Hosts": get(b"Host: relay.example"),
    "two different Hosts": get(b"Host: other.example"),
    **{
        f"Host {value!r}": get(host=b"Host: " + value)
        for value in (b"a@b", b"a/b", b"a\\b", b"", b" ", b"a, b", b"a,b", b"a b", b"a?b", b"a#b", b"[::1", b"a:b",
                      b"a:80:80", b"a:", b":80", b"a:8080808", b"\xe4", b"a%00b")
    },
}  # fmt: skip

TARGETS = {
    "GET *": raw(b"GET * HTTP/1.1"),
    "POST *": raw(b"POST * HTTP/1.1"),
    "CONNECT authority": raw(b"CONNECT shop.example:80 HTTP/1.1"),
    "CONNECT path": raw(b"CONNECT %s HTTP/1.1" % TARGET.encode()),
    "TRACE": raw(b"TRACE %s HTTP/1.1" % TARGET.encode()),
    "trace in lower case": raw(b"trace %s HTTP/1.1" % TARGET.encode()),
    "TRACE *": raw(b"TRACE * HTTP/1.1"),
}

REQUEST_LINES = {
    line.decode("latin-1"): raw(line.replace(b"TARGET", TARGET.encode()))
    for line in (b"GET  TARGET HTTP/1.1", b"GET TARGET  HTTP/1.1", b"GET TARGET\tHTTP/1.1", b"GET\tTARGET HTTP/1.1",
                 b" GET TARGET HTTP/1.1", b"GET TARGET HTTP/1.1 ", b"GET TARGET HTTP/1.10", b"GET TARGET HTTP/1.2",
                 b"GET TARGET HTTP/2.0", b"GET TARGET HTTP/2", b"GET TARGET HTTP/0.9", b"GET TARGET HTTP/01.1",
                 b"GET TARGET HTTP/1.01", b"GET TARGET http/1.1", b"GET TARGET HTTP 1.1", b"GET TARGET HTTPS/1.1",
                 b"GET TARGET", b"GET", b"GET TARGET x HTTP/1.1", b"GET TAR\x00GET HTTP/1.1",
                 b"GET TARGET\xe9 HTTP/1.1",
                 b"GET TARGET\x7f HTTP/1.1", b"G(T TARGET HTTP/1.1", b"G\x00T TARGET HTTP/1.1",
                 b"G\xc9T TARGET HTTP/1.1",
                 b" TARGET HTTP/1.1", b"GET TARGET HTTP/1.1\rX: y", b"\x16\x03\x01\x02\x00", b"SSH-2.0-OpenSSH_9.2")
}  # fmt: skip

NOMINATED = {
    f"Connection: {value}": request(f"Connection: {value}")
    for value in ("close, content-length", "content-length", "Content-Length", "transfer-encoding", "host", "HOST",
                  "authorization", "x-forwarded-for, authorization", "close, Host", "keep-alive,host")
}  # fmt: skip

REFUSED = LENGTHS | CODINGS | FIELDS | HOSTS | TARGETS | REQUEST_LINES | NOMINATED

OTHER_STATUS = {
    "request line of 64 KiB": (414, request(target=TARGET + "?" + "a" * 65536)),
    "request line of 64 KiB without an end": (414, b"GET /" + b"a" * 65536),
    "101 fields": (431, request(*[f"X-{n}: {n}" for n in range(101)])),
    "65 KiB of fields": (431, request(*[f"X-{n}: " + "a" * 1000 for n in range(66)])),
    "65 KiB of fields without an end": (431, request(*[f"X-{n}: " + "a" * 1000 for n in range(66)])[:-4]),
    "unknown coding before chunked": (501, post("Transfer-Encoding: gzip, chunked", body=CHUNKED_END)),
    "unknown expectation": (417, post("Expect: 200-ok", "Content-Length: 5")),
}

PASSING = {
    "absolute-form with another Host": (request(target=f"http://other.example{TARGET}"), b"/api/products"),
    "absolute-form with https": (request(target=f"https://relay.example:8443{TARGET}"), b"/api/products"),
    "request line of 8,000 octets": (
        request(target=TARGET + "?" + "a" * (8000 - len(f"GET {TARGET}? HTTP/1.1"))),
        b"/api/products?" + b"a" * (8000 - len(f"GET {TARGET}? HTTP/1.1")),
    ),
    "100 fields": (request(*[f"X-{n}: {n}" for n in range(98)]), b"/api/products"),
    "a tab before the coding": (post("Transfer-Encoding:\tchunked", body=CHUNKED_END), b"/api/products"),
    "the coding in capitals": (post("TRANSFER-ENCODING: CHUNKED", body=CHUNKED_END), b"/api/products"),
    "blanks around the length": (post("Content-Length: \t5 \t"), b"/api/products"),
    "other names with _": (request("X_Note: one", "_: two"), b"/api/products"),
    "every token character in a name": (request("!#$%&'*+-.^_`|~09azAZ: one"), b"/api/products"),
    "empty values": (request("X-Note:", "X-Other: "), b"/api/products"),
    "values outside ASCII": (request("X-Note: \xe9\xff"), b"/api/products"),
    "an empty line before the request line": (b"\r\n" + request(), b"/api/products"),
    "HTTP/1.0 without Host": (
        b"GET %s HTTP/1.0\r\nAuthorization: %s\r\n\r\n" % (TARGET.encode(), basic(ACCESS_KEY).encode()),
        b"/api/products",
    ),
    "Connection names TE": (request("Connection: TE, close", "TE: trailers"), b"/api/products"),
    "Host with a port": (get(host=b"Host: relay.example:8443"), b"/api/products"),
    "Host is an IPv6 address": (get(host=b"Host: [2001:db8::1]:8443"), b"/api/products"),
}

CHUNKS = {
    "size 0x5": b"0x5\r\nhello\r\n0\r\n\r\n",
    "size +5": b"+5\r\nhello\r\n0\r\n\r\n",
    "size -1": b"-1\r\nhello\r\n0\r\n\r\n",
    "size 5_": b"5_\r\nhello\r\n0\r\n\r\n",
    "size behind a space": b" 5\r\nhello\r\n0\r\n\r\n",
    "size before a space": b"5 \r\nhello\r\n0\r\n\r\n",
    "empty size": b"\r\nhello\r\n0\r\n\r\n",
    "size of an extension only": b";a=b\r\nhello\r\n0\r\n\r\n",
    "no hexadecimal digit": b"g\r\nhello\r\n0\r\n\r\n",
    "17 hexadecimal digits": b"00000000000000005\r\nhello\r\n0\r\n\r\n",
    "17 large hexadecimal digits": b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "bare LF behind the size": b"5\nhello\r\n0\r\n\r\n",
    "bare CR behind the size": b"5\rhello\r\n0\r\n\r\n",
    "CR in an extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "LF in an extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "NUL in an extension": b"5;a\x00b\r\nhello\r\n0\r\n\r\n",
    "extension of 64 KiB": b"5;" + b"a" * 65536 + b"\r\nhello\r\n0\r\n\r\n",
    "data not followed by CRLF": b"5\r\nhelloX\r\n0\r\n\r\n",
    "data followed by LF": b"5\r\nhello\n0\r\n\r\n",
    "data followed by CR": b"5\r\nhello\r0\r\n\r\n",
    "data longer than its size": b"3\r\nhello\r\n0\r\n\r\n",
    "data shorter than its size": b"7\r\nhello\r\n0\r\n\r\n",
    "trailer without a colon": b"5\r\nhello\r\n0\r\nX-Note\r\n\r\n",
    "trailer folded": b"5\r\nhello\r\n0\r\nX-Note: a\r\n b\r\n\r\n",
    "trailer with a space before the colon": b"5\r\nhello\r\n0\r\nX-Note : a\r\n\r\n",
    "trailer with a bare CR": b"5\r\nhello\r\n0\r\nX-Note: a\rb\r\n\r\n",
    "trailer with a bare LF": b"5\r\nhello\r\n0\r\nX-Note: a\n\r\n",
    "bare LF as last line": b"5\r\nhello\r\n0\r\n\n",
    "second size -0": b"5\r\nhello\r\n-0\r\n\r\n",
}
