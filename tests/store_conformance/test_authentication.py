"""Assertions 1 to 21: who is let in, and in which order the webservice looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.store_conformance.asking import ask, basic, get, get_json

if TYPE_CHECKING:
    from tests.store import Store
    from tests.store_conformance.asking import Shop

REALM = (
    'Basic realm="Welcome to PrestaShop Webservice, please enter the authentication key as the login. '
    'No password required."'
)
UNKNOWN = "A" * 32


async def test_1_no_credential_is_the_plain_401(shop: Shop) -> None:
    """1. GET /api, no credential: 401, text/html, body exactly `401 Unauthorized`, the realm, no PSWS-Version."""
    answer = await get(shop, "/api", key=None)
    assert (answer.status, answer.body) == (401, b"401 Unauthorized")
    assert answer.header("Content-Type") == "text/html; charset=utf-8"
    assert answer.header("WWW-Authenticate") == REALM
    assert answer.header("PSWS-Version") is None


async def test_2_no_credential_in_json_mode_is_the_same(shop: Shop) -> None:
    """2. The same with Output-Format: JSON: identical body, not JSON."""
    answer = await get_json(shop, "/api", key=None)
    assert (answer.status, answer.body) == (401, b"401 Unauthorized")
    assert answer.header("Content-Type") == "text/html; charset=utf-8"


async def test_3_head_without_credential_has_no_body(shop: Shop) -> None:
    """3. HEAD /api without credential: 401, no body."""
    answer = await ask(shop, "/api", method="HEAD", key=None)
    assert (answer.status, answer.body) == (401, b"")
    assert answer.header("Content-Length") is None
    assert answer.header("Transfer-Encoding") is None


async def test_4_short_key_is_code_18(shop: Shop) -> None:
    """4. Basic SHORT: 401, code 18, XML, WWW-Authenticate, PSWS-Version 0."""
    answer = await get(shop, "/api", key="SHORT")
    assert answer.status == 401
    assert answer.errors == [(18, "Invalid authentication key format")]
    assert answer.header("Content-Type") == "text/xml;charset=utf-8"
    assert answer.header("WWW-Authenticate") == REALM
    assert ("PSWS-Version", "0") in answer.headers


async def test_5_short_key_in_json(shop: Shop) -> None:
    """5. The same as JSON, byte for byte."""
    answer = await get_json(shop, "/api", key="SHORT")
    assert answer.body == b'{"errors":[{"code":18,"message":"Invalid authentication key format"}]}'
    assert answer.header("Content-Type") == "application/json"


async def test_6_empty_user_is_code_17(shop: Shop) -> None:
    """6. Basic with empty user: 401, code 17."""
    answer = await get(shop, "/api", key="")
    assert (answer.status, answer.codes) == (401, [17])
    in_the_wrong_place = await ask(shop, "/api", key=None, headers=[basic("", shop.key("FULL"))])
    assert (in_the_wrong_place.status, in_the_wrong_place.codes) == (401, [17])


async def test_7_unknown_and_disabled_keys_look_the_same(shop: Shop) -> None:
    """7. Unknown key: 401, codes 20 then 21; a disabled key: byte-identical errors."""
    unknown, disabled = await get(shop, "/api", key=UNKNOWN), await get(shop, "/api", key="OFF")
    assert (unknown.status, unknown.codes) == (401, [20, 21])
    assert (disabled.status, disabled.body) == (401, unknown.body)
    assert unknown.errors[0][1] == "Authentification key is not active"
    powerless = await get(shop, "/api", key="NONE")
    assert (powerless.status, powerless.codes) == (401, [21])


async def test_8_bearer_is_no_credential(shop: Shop) -> None:
    """8. Authorization: Bearer: the plain 401."""
    answer = await ask(shop, "/api", key=None, headers=[("Authorization", f"Bearer {shop.key('FULL')}")])
    assert (answer.status, answer.body) == (401, b"401 Unauthorized")


async def test_9_basic_wins_over_ws_key(shop: Shop) -> None:
    """9. ws_key alone: 200; with a right Basic: 200; with a wrong Basic: 401/18."""
    full = shop.key("FULL")
    assert (await get(shop, f"/api/orders?ws_key={full}", key=None)).status == 200
    assert (await get(shop, "/api/orders?ws_key=SHORT")).status == 200
    wrong = await get(shop, f"/api/orders?ws_key={full}", key="SHORT")
    assert (wrong.status, wrong.codes) == (401, [18])


async def test_10_password_is_ignored(shop: Shop) -> None:
    """10. Basic FULL:anything, and any case of the scheme word: 200."""
    name, value = basic(shop.key("FULL"), "anything")
    assert (await ask(shop, "/api/orders", key=None, headers=[(name, value)])).status == 200
    assert (await ask(shop, "/api/orders", key=None, headers=[(name, value.replace("Basic", "bAsIc"))])).status == 200


async def test_11_webservice_off(shop: Shop, store: Store) -> None:
    """11. Webservice off: any key 503/22 without WWW-Authenticate; no key: plain 401."""
    store.knobs.webservice = False
    for key in ("FULL", "SHORT"):
        answer = await get(shop, "/api/orders", key=key)
        assert (answer.status, answer.codes) == (503, [22])
        assert answer.header("WWW-Authenticate") is None
        assert answer.header("PSWS-Version") == "0"
    bare = await get(shop, "/api/orders", key=None)
    assert (bare.status, bare.body) == (401, b"401 Unauthorized")


async def test_12_stripped_authorization(shop: Shop, store: Store) -> None:
    """12. Authorization stripped: Basic gives the plain 401, ws_key gives 200."""
    store.knobs.auth_stripped = True
    stripped = await get(shop, "/api/orders")
    assert (stripped.status, stripped.body) == (401, b"401 Unauthorized")
    assert (await get(shop, f"/api/orders?ws_key={shop.key('FULL')}", key=None)).status == 200


async def test_13_resource_not_granted(shop: Shop) -> None:
    """13. PROD GET /api/customers: 401, code 26, no WWW-Authenticate, the real PSWS-Version."""
    answer = await get(shop, "/api/customers", key="PROD")
    assert answer.status == 401
    assert answer.errors == [(26, 'Resource of type "customers" is not allowed with this authentication key')]
    assert answer.header("WWW-Authenticate") is None
    assert answer.header("PSWS-Version") == "9.1.4"


async def test_14_method_not_granted(shop: Shop) -> None:
    """14. PROD DELETE /api/products/1: 405, code 25, no Allow."""
    answer = await ask(shop, "/api/products/1", method="DELETE", key="PROD")
    assert answer.status == 405
    expected = "Method DELETE is not allowed for the resource products with this authentication key"
    assert answer.errors == [(25, expected)]
    assert answer.header("Allow") is None


async def test_15_head_not_granted(shop: Shop) -> None:
    """15. PROD HEAD /api/products/1: 405, no body."""
    answer = await ask(shop, "/api/products/1", method="HEAD", key="PROD")
    assert (answer.status, answer.body) == (405, b"")


async def test_16_methods_that_are_none(shop: Shop, store: Store) -> None:
    """16. OPTIONS and FOO with a key: 405/23; OPTIONS without: 200 `200 OK`, before 9 the plain 401."""
    for method in ("OPTIONS", "FOO"):
        answer = await ask(shop, "/api/products", method=method)
        assert (answer.status, answer.errors) == (405, [(23, f"Method {method} is not valid")])
    bare = await ask(shop, "/api/products", method="OPTIONS", key=None)
    assert (bare.status, bare.body) == (200, b"200 OK")
    assert bare.header("Access-Control-Allow-Headers") == "Authorization, Content-Type"
    assert bare.header("PSWS-Version") is None
    store.knobs.version = "8.1"
    older = await ask(shop, "/api/products", method="OPTIONS", key=None)
    assert (older.status, older.body) == (401, b"401 Unauthorized")


async def test_17_method_forbidden_on_the_resource(shop: Shop) -> None:
    """17. FULL DELETE /api/stock_availables/1: 405, code 101."""
    answer = await ask(shop, "/api/stock_availables/1", method="DELETE")
    assert answer.status == 405
    assert answer.errors == [(101, "Method DELETE is not allowed for the resource stock_availables")]


async def test_18_unknown_resource(shop: Shop) -> None:
    """18. GET /api/product: 400, code 27, "Did you mean"."""
    answer = await get(shop, "/api/product")
    assert (answer.status, answer.codes) == (400, [27])
    assert 'Did you mean: "products"?' in answer.errors[0][1]


async def test_19_resource_names_are_case_sensitive(shop: Shop) -> None:
    """19. GET /api/Products: 400, code 27."""
    answer = await get(shop, "/api/Products")
    assert (answer.status, answer.codes) == (400, [27])


async def test_20_key_of_no_shop(shop: Shop) -> None:
    """20. NOSHOP GET /api/products: 403, code 132."""
    answer = await get(shop, "/api/products", key="NOSHOP")
    assert answer.status == 403
    assert answer.errors == [(132, "No permission for this key on this shop")]


async def test_21_existence_before_grant(shop: Shop) -> None:
    """21. PROD GET /api/nosuch: 400, code 27."""
    answer = await get(shop, "/api/nosuch", key="PROD")
    assert (answer.status, answer.codes) == (400, [27])
