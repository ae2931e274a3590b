"""The order in which the webservice looks at a call before it does anything; each step refuses or lets pass."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.store.call import basic_user
from tests.store.failures import Coded, Failure, PlainUnauthorized, did_you_mean, fail
from tests.store.keys import LENGTH
from tests.store.php import whole
from tests.store.resources import resources

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.store.call import Call
    from tests.store.keys import KeyRing
    from tests.store.knobs import Knobs
    from tests.store.php import Tree
    from tests.store.shop import Shop

NOT_ACTIVE = Coded(20, "Authentification key is not active")
NO_PERMISSION = Coded(21, "No permission for this authentication key")
DISABLED = "The PrestaShop webservice is disabled. Please activate it in the PrestaShop Back Office"


class Gate:
    """All that the steps need to know of the shop."""

    def __init__(self, shop: Shop, knobs: Knobs, keys: KeyRing) -> None:
        self.shop = shop
        self.knobs = knobs
        self.keys = keys
        self.steps: tuple[Callable[[Call], None], ...] = (
            self.credential_present,
            self.webservice_on,
            self.key_accepted,
            self.group_has_shops,
            self.key_of_this_shop,
            self.parameters_valid,
            self.resource_there,
            self.resource_granted,
            self.method_allowed,
        )

    def pass_through(self, call: Call) -> None:
        """All steps after the Host check, in order; Failure or PlainUnauthorized at the first that refuses."""
        for step in self.steps:
            step(call)

    def credential_present(self, call: Call) -> None:
        if self._credential(call) is None:
            raise PlainUnauthorized

    def webservice_on(self, _call: Call) -> None:
        if not self.knobs.webservice:
            raise fail(22, DISABLED)

    def key_accepted(self, call: Call) -> None:
        value = (self._credential(call) or "").strip()
        call.challenge = True
        if not value:
            raise fail(17, "Authentication key is empty")
        if len(value) != LENGTH:
            raise fail(18, "Invalid authentication key format")
        key = self.keys.find(value)
        if key is None or not key.active:
            raise Failure(NOT_ACTIVE, NO_PERMISSION)
        if not key.grants:
            raise Failure(NO_PERMISSION)
        call.key, call.accepted, call.challenge = key, True, False

    def group_has_shops(self, call: Call) -> None:
        if call.group_missing:
            raise fail(999, "This shop group doesn't have shops")

    def key_of_this_shop(self, call: Call) -> None:
        assert call.key is not None
        if not call.key.shops & call.shop_ids:
            raise fail(132, "No permission for this key on this shop")

    def parameters_valid(self, call: Call) -> None:
        call.languages = self._languages(call.text("language"))
        prices = call.query.get("price")
        if isinstance(prices, dict):
            call.prices = {name: _price_parameters(name, given) for name, given in prices.items()}

    def resource_there(self, call: Call) -> None:
        known = resources(self.knobs.release)
        if not call.name:
            return
        if call.name not in known:
            raise fail(27, did_you_mean(f'Resource of type "{call.name}" does not exists', call.name, known))
        call.resource = known[call.name]

    def resource_granted(self, call: Call) -> None:
        assert call.key is not None
        if call.resource and not call.key.verbs(call.name):
            raise fail(26, f'Resource of type "{call.name}" is not allowed with this authentication key')

    def method_allowed(self, call: Call) -> None:
        assert call.key is not None
        if call.resource is None:
            return
        verbs = {"GET", "POST", "PUT", "DELETE", "HEAD"} | ({"PATCH"} if self.knobs.release >= (8,) else set())
        if call.verb not in verbs:
            raise fail(23, f"Method {call.verb} is not valid")
        if call.verb in call.resource.forbidden:
            raise fail(101, f"Method {call.verb} is not allowed for the resource {call.name}")
        if call.verb not in call.key.verbs(call.name):
            text = f"Method {call.verb} is not allowed for the resource {call.name} with this authentication key"
            raise fail(25, text)

    def _credential(self, call: Call) -> str | None:
        header = None if self.knobs.auth_stripped else call.request.header("authorization")
        basic = basic_user(header)
        if basic is not None:
            user, colon = basic
            call.warned = not colon
            return user
        return call.text("ws_key")

    def _languages(self, text: str | None) -> list[int | str] | None:
        if text is None:
            return None
        wanted = _language_ids(text)
        if not all(whole(one) for one in wanted):
            raise fail(80, "Language ID must be numeric")
        if any(int(one) not in self.shop.languages for one in wanted):
            raise fail(81, "language is not available")
        return wanted


def _language_ids(text: str) -> list[int | str]:
    if whole(text):
        return [int(text)]
    if not re.fullmatch(r"\[.*\]", text):
        raise fail(79, "language value is wrong")
    inner = text[1:-1]
    if "|" in inner:
        return list(inner.split("|"))
    if "," in inner:
        ends = inner.split(",")
        if len(ends) != 2:
            raise fail(78, "A range value for a language must contains only 2 values")
        if not all(whole(end) for end in ends):
            raise fail(80, "Language ID must be numeric")
        return list(range(int(ends[0]), min(int(ends[1]), int(ends[0]) + 1000) + 1))
    return [int(inner)] if whole(inner) else [inner]


def _price_parameters(name: str, given: Tree) -> dict[str, Tree]:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or not isinstance(given, dict):
        raise fail(128, f'The virtual price field "{name}" has no valid name')
    return given
