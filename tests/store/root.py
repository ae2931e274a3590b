"""The root document of the webservice: which resources and verbs a key has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.store.output_xml import document
from tests.store.resources import resources

if TYPE_CHECKING:
    from tests.store.call import Call
    from tests.store.knobs import Knobs
    from tests.store.schema import Resource
    from tests.store.shop import Shop

VERBS = ("GET", "PUT", "POST", "PATCH", "DELETE", "HEAD")


def granted_names(call: Call, knobs: Knobs) -> list[str]:
    """The resources that the key may use, in the order of the root."""
    assert call.key is not None
    return [name for name in resources(knobs.release) if call.key.verbs(name)]


def root_document(call: Call, shop: Shop, knobs: Knobs) -> bytes:
    known = resources(knobs.release)
    listed = "".join(_element(known[name], call, knobs) for name in granted_names(call, knobs))
    return document(f'<api shopName="{shop.name}">\n{listed}</api>\n')


def _element(one: Resource, call: Call, knobs: Knobs) -> str:
    assert call.key is not None
    granted = call.key.verbs(one.name)
    shown = [verb for verb in VERBS if verb != "PATCH" or knobs.release >= (8,)]
    verbs = " ".join(f'{verb.lower()}="{"true" if verb in granted else "false"}"' for verb in shown)
    address = f"{call.base_url}{one.name}"
    lines = [
        f'<{one.name} xlink:href="{address}" {verbs}>\n',
        f'<description xlink:href="{address}" {verbs}>\n{one.description}</description>\n',
    ]
    if not one.special:
        lines += [f'<schema xlink:href="{address}?schema={kind}" type="{kind}"/>\n' for kind in ("blank", "synopsis")]
    return "".join([*lines, f"</{one.name}>\n"])
