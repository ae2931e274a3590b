"""The XML documents of the webservice, byte for byte as releases write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.store.output import Style, href, translations

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.store.failures import Coded
    from tests.store.reading import View
    from tests.store.schema import Association, Field, Row, Value
    from tests.store.shop import Shop

TYPE = "text/xml;charset=utf-8"
_OPEN = '<?xml version="1.0" encoding="UTF-8"?>\n<prestashop xmlns:xlink="http://www.w3.org/1999/xlink">\n'
_CLOSE = "</prestashop>\n"


def document(content: str) -> bytes:
    return (_OPEN + content + _CLOSE).encode("utf-8", "surrogateescape")


def errors_document(errors: Iterable[Coded]) -> bytes:
    listed = "".join(
        f"<error>\n<code><![CDATA[{one.code}]]></code>\n<message><![CDATA[{one.message}]]></message>\n</error>\n"
        for one in errors
    )
    return document(f"<errors>\n{listed}</errors>\n")


def view_document(view: View, shop: Shop, style: Style) -> bytes:
    resource = view.resource
    if view.shape in ("ids", "stub"):
        listed = "".join(
            f'<{resource.node} id="{row["id"]}" xlink:href="{style.base_url}{resource.name}/{row["id"]}"/>\n'
            for row in view.rows
        )
        return document(listed if view.shape == "stub" else f"<{resource.name}>\n{listed}</{resource.name}>\n")
    if view.shape in ("blank", "synopsis"):
        return document(_schema(view))
    entities = "".join(_entity(view, row, shop, style) for row in view.rows)
    if view.shape == "list":
        entities = f"<{resource.name}>\n{entities}</{resource.name}>\n"
    return document(entities)


def _entity(view: View, row: Row, shop: Shop, style: Style) -> str:
    lines = [f"<{view.resource.node}>\n"]
    lines += [_field(column, column.value(shop, row), row, style) for column in view.columns.fields]
    for name in view.columns.virtual:
        lines.append(f"\t<{name}>{_cdata(view.prices[int(str(row['id']))][name], style)}</{name}>\n")
    if view.columns.associations:
        lines.append("<associations>\n")
        lines += [_association(one, columns, shop, row, style) for one, columns in view.columns.associations]
        lines.append("</associations>\n")
    lines.append(f"</{view.resource.node}>\n")
    return "".join(lines)


def _field(column: Field, value: Value, row: Row, style: Style) -> str:
    if column.translated:
        return f"\t<{column.name}>{translated(value, style)}</{column.name}>\n"
    address = href(column, value, row, style)
    link = f' xlink:href="{address}"' if address else ""
    dynamic = ' notFilterable="true"' if column.dynamic else ""
    text = "" if value is None else str(value)
    return f"\t<{column.name}{link}{dynamic}>{_cdata(text, style)}</{column.name}>\n"


def translated(value: Value, style: Style) -> str:
    """The `<language>` elements of a translated field."""
    return "".join(
        f'<language id="{language}" xlink:href="{style.base_url}languages/{language}">{_cdata(text, style)}</language>'
        for language, text in translations(value, style)
    )


def _cdata(text: str, style: Style) -> str:
    return f"<![CDATA[{text}]]>" if text or style.cdata_when_empty else ""


def _association(one: Association, columns: tuple[tuple[str, str], ...], shop: Shop, row: Row, style: Style) -> str:
    kind = f'api="{one.api.partition("/")[0]}"' if one.api else 'virtualEntity="true"'
    opening = f'<{one.name} nodeType="{one.node}" {kind}'
    cells = one.rows(shop, row)
    if not cells:
        return f"{opening}/>\n"
    lines = [f"{opening}>\n"]
    for cell in cells:
        lines.append(f"\t<{one.node}{_row_link(one, cell, row, style)}>\n")
        for name, link in columns:
            value = cell.get(name)
            text = "" if value is None else str(value)
            address = f' xlink:href="{style.base_url}{link}/{text}"' if link else ""
            lines.append(f"\t<{name}{address}>{_cdata(text, style)}</{name}>\n")
        lines.append(f"\t</{one.node}>\n")
    lines.append(f"</{one.name}>\n")
    return "".join(lines)


def _row_link(one: Association, cell: dict[str, str | int | None], row: Row, style: Style) -> str:
    if one.api is None:
        return ""
    path = f"images/products/{row['id']}" if one.api == "images" else one.api
    return f' xlink:href="{style.base_url}{path}/{cell.get("id", "")}"'


def _schema(view: View) -> str:
    synopsis = view.shape == "synopsis"
    lines = [f"<{view.resource.node}>\n"]
    for column in view.columns.fields:
        attributes = _rules(column) if synopsis else ""
        inner = "<![CDATA[]]>"
        if column.translated:
            inner = f'<language id=""{attributes}><![CDATA[]]></language>'
            attributes = ""
        lines.append(f"\t<{column.name}{attributes}>{inner}</{column.name}>\n")
    if view.columns.associations:
        lines.append("<associations>\n")
        for one, columns in view.columns.associations:
            kind = (
                f'nodeType="{one.node}" api="{one.api}"' if one.api else f'nodeType="{one.node}" virtualEntity="true"'
            )
            lines.append(f"<{one.name} {kind}>\n" if synopsis else f"<{one.name}>\n")
            cells = "".join(f"\t<{name}><![CDATA[]]></{name}>\n" for name, _ in columns)
            lines.append(f"\t<{one.node}>\n{cells}\t</{one.node}>\n</{one.name}>\n")
        lines.append("</associations>\n")
    lines.append(f"</{view.resource.node}>\n")
    return "".join(lines)


def _rules(column: Field) -> str:
    rules = ' required="true"' if column.required else ""
    rules += f' maxSize="{column.size}"' if column.size else ""
    rules += f' format="{column.rule}"' if column.rule else ""
    return rules + (' readOnly="true"' if column.read_only else "")
