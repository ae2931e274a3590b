"""What actions answer with, as shapes: one model per resource, made from the table by which values are normalised."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from relay.api.shapes import Form
from relay.prestashop.order_state_change import Email, Way
from relay.prestashop.resources import CARTS, CUSTOMERS, ORDER_STATES, ORDERS, PRODUCTS, Kind, Resource

_OPEN = ConfigDict(extra="allow")
_DECIMAL = Annotated[str | None, Field(description="A decimal, as text.", examples=["49.900000"])]
_TIME = Annotated[
    str | None,
    Field(
        description="With the shop's UTC offset; without one where the key may not read `configurations`.",
        examples=["2026-03-02T09:14:07+01:00"],
    ),
]
_TRANSLATED = Annotated[
    dict[str, str],
    Field(
        description="By ISO code; by the language's id where the key may not read `languages`.",
        examples=[{"en": "Mug", "es": "Taza"}],
    ),
]
_TYPES: dict[Kind, Any] = {
    Kind.TEXT: str,
    Kind.NUMBER: int | None,
    Kind.DECIMAL: _DECIMAL,
    Kind.TRUTH: bool | None,
    Kind.TIME: _TIME,
    Kind.DAY: str | None,
    Kind.TRANSLATED: _TRANSLATED,
}


class RawItem(BaseModel):
    """With `raw=true`: PrestaShop's own texts; translated fields by language id, `associations` apart."""

    model_config = _OPEN

    id: Annotated[str, Field(examples=["41"])]
    associations: Annotated[dict[str, list[dict[str, str]]], Field(default_factory=dict)]


def _model(resource: Resource) -> type[BaseModel]:
    name = resource.node.title().replace("_", "")
    fields: dict[str, Any] = {each: (_TYPES[kind], Field(default=None)) for each, kind in resource.kinds.items()}
    for association in resource.cells:
        fields[association] = (list[_cell(name, resource, association)], Field(default=None))  # type: ignore[misc]  # made here
    about = "PrestaShop's own names. Which members are there depends on what was asked for, and on the version."
    return create_model(name, __config__=_OPEN, __doc__=about, id=(int, ...), **fields)


def _cell(name: str, resource: Resource, association: str) -> type[BaseModel]:
    cells: dict[str, Any] = {
        each: (_TYPES[kind], Field(default=None)) for each, kind in resource.cells[association].items()
    }
    return create_model(f"{name}{association.title().replace('_', '')}", __config__=_OPEN, __doc__="A row.", **cells)


def _list(of: type[BaseModel]) -> type[BaseModel]:
    following = Annotated[str | None, Field(description="`cursor` of the page after this one; null at the end.")]
    return create_model(
        f"{of.__name__}List",
        __doc__="A page.",
        items=(list[of | RawItem], ...),  # type: ignore[valid-type]  # made here
        next=(following, ...),
    )


Product, Order, Customer, Cart, OrderState = map(_model, (PRODUCTS, ORDERS, CUSTOMERS, CARTS, ORDER_STATES))
ProductList, OrderList, CustomerList, CartList, OrderStateList = map(
    _list, (Product, Order, Customer, Cart, OrderState)
)


class OrderStateWish(Form):
    """Which order is to get into which state."""

    order_id: Annotated[int, Field(ge=1, le=2**31, strict=True, examples=[41])]
    state: Annotated[
        Annotated[int, Field(ge=1, le=2**31, strict=True)] | Annotated[str, Field(min_length=1, max_length=255)],
        Field(description="Its id, or its name in any language of the shop (case does not matter).", examples=[4]),
    ]
    email: Annotated[
        bool,
        Field(
            strict=True,
            description="Whether the shop is to write to the customer. It does so only in states that send e-mail.",
        ),
    ] = False


class StateShown(BaseModel):
    """A state of the shop's orders."""

    id: int
    name: _TRANSLATED


class OrderStateChanged(BaseModel):
    """How it ended."""

    order_id: int
    current_state: Annotated[
        int | None,
        Field(description="The order's real state, read afterwards; null if the store then failed at being read."),
    ]
    state: Annotated[StateShown, Field(description="The state that was wanted.")]
    previous_state: int
    changed: Annotated[bool, Field(description="False: the order was in that state before, and nothing was sent.")]
    way: Annotated[
        Way | None,
        Field(
            description="What changed it: `order_histories`, a new row of the order's history (e-mail only if asked "
            "for), or `orders`, the order itself (e-mail whenever the state has one), which is used only where the "
            "key may not do the first and the e-mail is wanted or the state has none. Null: nothing was sent, or it "
            "is known from the order's history alone that it was done."
        ),
    ]
    email: Annotated[
        Email,
        Field(
            description="`sent`: the shop handed it over without complaint. `not_sent`: it was not asked for, or "
            "nothing was changed. `none_for_state`: the state sends no e-mail. `unknown`: it was asked for, and the "
            "shop does not say what became of it."
        ),
    ]


class LastLine(BaseModel):
    """The last line of a stream that is not whole. It alone has no `id`; a whole stream has no such line."""

    problem: Annotated[dict[str, Any], Field(description="Why it ended here.")]
    next: Annotated[str | None, Field(description="`cursor` with which the list goes on behind the last item.")]
    complete: Literal[False] = False
