"""Writing entities: POST, PUT, PATCH and DELETE, with what PrestaShop checks and what it lets happen."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from tests.store.failures import Failure, fail, php_warning
from tests.store.habits import after_insert, before_save, refuse_delete
from tests.store.input_xml import Sent, read_entities
from tests.store.orders import Orders
from tests.store.php import integer, number
from tests.store.query import every_column
from tests.store.reading import View
from tests.store.validation import plain_fault, translated_fault

if TYPE_CHECKING:
    from tests.store.call import Call
    from tests.store.knobs import Knobs
    from tests.store.schema import Cells, Field, Resource, Row, Value
    from tests.store.shop import Shop


class Writing:
    """Writes into one shop."""

    def __init__(self, shop: Shop, knobs: Knobs) -> None:
        self.shop = shop
        self.knobs = knobs
        self.orders = Orders(shop, knobs)

    def write(self, call: Call, resource: Resource) -> View:
        """POST, PUT or PATCH of every entity in the body; the view shows them as PrestaShop has them in memory."""
        entities = read_entities(call)
        _check_ids(call.verb, entities)
        rows = [self._save(call, resource, sent) for sent in entities]
        columns = every_column(call, resource)
        columns.virtual = []
        return View("written", resource, rows, columns)

    def delete(self, call: Call, resource: Resource) -> None:
        """Delete the id of the path, or those of `?id=[1,2]`; Failure 87 when one is unknown, 88 when one must stay."""
        listed = re.fullmatch(r"\[(.*)\]", call.text("id") or "")
        ids = listed[1].split(",") if listed else [call.id_text or "0"]
        table = self.shop[resource.name]
        unknown = [text for text in ids if integer(text) not in table.rows]
        if unknown:
            raise fail(87, f"Id(s) not exists: {', '.join(str(integer(text)) for text in unknown)}")
        kept = [text for text in ids if refuse_delete(resource.name, integer(text))]
        if kept:
            raise fail(88, f"Id(s) wasn't deleted: {', '.join(kept)}")
        for text in ids:
            self._remove(resource, integer(text))

    def _remove(self, resource: Resource, key: int) -> None:
        self.shop[resource.name].delete(key)
        if resource.name == "products":
            for name in ("combinations", "stock_availables", "images"):
                for row in self.shop[name].where("id_product", key):
                    self.shop[name].delete(cast("int", row["id"]))

    def _save(self, call: Call, resource: Resource, sent: Sent) -> Row:
        memory = self._loaded(call, resource, sent)
        self._take_fields(call, resource, sent, memory)
        self._validate(resource, sent, memory)
        before_save(call.verb, resource, memory, self.shop)
        key = self._store(call, resource, memory)
        self._take_associations(resource, sent, key)
        memory.update({one.name: self.shop.row(resource.name, key).get(one.name) for one in resource.associations})
        partial = any(set(texts) < set(self.shop.languages) for texts in sent.translations.values())
        if call.verb == "PATCH" and partial and call.wanted == "JSON":
            raise Failure(php_warning("Undefined array key 1", 1720))
        return memory

    def _loaded(self, call: Call, resource: Resource, sent: Sent) -> Row:
        if call.verb == "POST":
            return {column.name: None for column in resource.fields if not column.compute}
        stored = self.shop[resource.name].get(integer(sent.id_text))
        if stored is None:
            raise fail(92, "Invalid ID")
        return dict(stored)

    def _take_fields(self, call: Call, resource: Resource, sent: Sent, memory: Row) -> None:
        """Copy what was sent, field by field; a change of state happens on the way, before anything is validated."""
        for column in resource.fields:
            if column.translated:
                self._take_translated(call, column, sent, memory)
            elif column.name == "id":
                continue
            elif column.name in sent.texts:
                if column.read_only:
                    text = f'parameter "{column.name}" not writable. Please remove this attribute of this XML'
                    raise fail(93, text)
                self._take(call, resource, column, sent, memory)
            elif column.required and call.verb != "PATCH":
                raise fail(41, f'parameter "{column.name}" required')
            elif call.verb != "PATCH" and not column.compute:
                memory[column.name] = None

    def _take(self, call: Call, resource: Resource, column: Field, sent: Sent, memory: Row) -> None:
        text = sent.texts[column.name]
        if resource.name == "orders" and column.name == "current_state":
            if call.verb == "POST":
                memory["current_state"] = integer(text)
            else:
                self.orders.set_state(cast("int", memory["id"]), text)
                memory.update(self.orders.changed(cast("int", memory["id"])))
        elif not column.compute:
            memory[column.name] = text

    def _take_translated(self, call: Call, column: Field, sent: Sent, memory: Row) -> None:
        languages = self.shop.languages
        if column.name in sent.translations:
            given = sent.translations[column.name]
            memory[column.name] = {language: given.get(language, "") for language in languages}
        elif column.name in sent.texts or call.verb != "PATCH":
            memory[column.name] = dict.fromkeys(languages, sent.texts.get(column.name, ""))

    def _validate(self, resource: Resource, sent: Sent, memory: Row) -> None:
        fault = translated_fault(resource, sent)
        if fault:
            raise fail(84, f'Validation error: "{fault}"')
        fault = plain_fault(resource, memory, self.shop)
        if fault:
            raise fail(85, f'Validation error: "{fault}"')

    def _store(self, call: Call, resource: Resource, memory: Row) -> int:
        """Write the row as the database keeps it, and let the shop react."""
        now = self.shop.now()
        names = {column.name for column in resource.fields}
        for name in ("date_add", "date_upd") if call.verb == "POST" else ("date_add",):
            if name in names and not memory.get(name):
                memory[name] = now
        if "date_upd" in names:
            memory["date_upd"] = now
        kept: Row = {
            column.name: normal(column, memory.get(column.name))
            for column in resource.fields
            if not column.compute and column.name != "id"
        }
        if call.verb == "POST":
            key = self.shop[resource.name].insert(kept)
            memory["id"] = key
            after_insert(resource, key, self.shop)
            self._react_to_insert(call, resource, key, memory)
            return key
        key = cast("int", memory["id"])
        self.shop[resource.name].update(key, kept)
        return key

    def _react_to_insert(self, call: Call, resource: Resource, key: int, memory: Row) -> None:
        if resource.name == "order_histories":
            self.orders.history_posted(key, send=call.text("sendemail") == "1")
            memory["id_order_state"] = integer(memory["id_order_state"])
        elif resource.name == "orders":
            self.orders.created(key)
            memory.update({"reference": self.shop.row("orders", key)["reference"]})

    def _take_associations(self, resource: Resource, sent: Sent, key: int) -> None:
        for name, rows in sent.associations.items():
            one = resource.association(name)
            if one is None:
                if name == "i18n":
                    continue
                raise fail(86, f'The association "{name}" does not exists')
            if one.settable:
                columns = [column for column, _ in one.columns]
                cells: Cells = [{column: integer(row.get(column, 0)) for column in columns} for row in rows]
                self.shop[resource.name].update(key, cast("Row", {name: cells}))


def normal(column: Field, value: Value) -> Value:
    """A value as MySQL keeps it."""
    if column.translated:
        return value if isinstance(value, dict) else {}
    if value in (None, ""):
        return column.empty
    match column.kind:
        case "id" | "int" | "bool":
            return integer(value)
        case "dec":
            return f"{number(value):.6f}"
        case "dec3":
            return f"{number(value):.3f}"
        case _:
            return value


def _check_ids(verb: str, entities: list[Sent]) -> None:
    ids = [integer(sent.id_text) for sent in entities if sent.id_text != ""]
    if verb == "POST":
        if ids:
            raise fail(91, "id is forbidden when adding a new resource")
        return
    if len(set(ids)) != len(ids):
        raise fail(89, "id is duplicate in request")
    if len(ids) != len(entities):
        raise fail(90, "id is required when modifying a resource")
