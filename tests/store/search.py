"""The resource `search`: products and categories whose name contains the words."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from tests.store import output_json, output_xml
from tests.store.failures import fail
from tests.store.filters import folded

if TYPE_CHECKING:
    from tests.store.call import Call
    from tests.store.output import Style
    from tests.store.schema import Row
    from tests.store.shop import Shop


def found_document(call: Call, shop: Shop, style: Style) -> tuple[bytes, str]:
    """(document, content type); code 100 without `query` or `language`."""
    words, language = call.text("query"), call.languages
    if not words or not language:
        raise fail(100, "You have to set both the 'language' and 'query' parameters to get a result")
    found = {
        name: [row for row in shop[name] if _contains(row, words, int(language[0]))]
        for name in ("products", "categories")
    }
    if call.wanted == "JSON":
        ids = {name: [{"id": row["id"]} for row in rows] for name, rows in found.items() if rows}
        return output_json.encoded(ids or []), output_json.TYPE
    listed = "".join(
        _listed(name, node, found[name], style) for name, node in (("products", "product"), ("categories", "category"))
    )
    return output_xml.document(listed), output_xml.TYPE


def _contains(row: Row, words: str, language: int) -> bool:
    name = cast("dict[int, str]", row.get("name") or {}).get(language, "")
    return all(word in folded(name) for word in folded(words).split())


def _listed(name: str, node: str, rows: list[Row], style: Style) -> str:
    lines = "".join(f'<{node} id="{row["id"]}" xlink:href="{style.base_url}{name}/{row["id"]}"/>\n' for row in rows)
    return f"<{name}>\n{lines}</{name}>\n"
