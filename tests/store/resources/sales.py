"""Carts, orders and everything that records what became of an order."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from tests.store.schema import association, fields, resource

if TYPE_CHECKING:
    from tests.store.schema import Cells, Row, Value
    from tests.store.shop import Shop

_ROW_COLUMNS = (
    "id product_id>products product_attribute_id>combinations product_quantity product_name product_reference "
    "product_ean13 product_isbn product_upc product_price id_customization>customizations unit_price_tax_incl "
    "unit_price_tax_excl"
)


def _order_rows(shop: Shop, row: Row) -> Cells:
    names = [column.partition(">")[0] for column in _ROW_COLUMNS.split()]
    return [
        {name: cast("str | int", detail.get(name, 0)) for name in names}
        for detail in shop["order_details"].where("id_order", row["id"])
    ]


def _tracking(shop: Shop, row: Row) -> Value:
    carriers = shop["order_carriers"].where("id_order", row["id"])
    return carriers[0]["tracking_number"] if carriers else ""


CARTS = resource(
    "carts",
    "cart",
    "Cart",
    "Customer's carts",
    fields=fields(
        """
        id_address_delivery id >addresses isUnsignedId
        id_address_invoice id >addresses isUnsignedId
        id_currency id ! >currencies isUnsignedId
        id_customer id >customers isUnsignedId
        id_guest id >guests isUnsignedId
        id_lang id ! >languages isUnsignedId
        id_shop_group id isUnsignedId
        id_shop id isUnsignedId
        id_carrier id >carriers isUnsignedId
        recyclable bool isBool
        gift bool isBool
        gift_message txt isCleanHtml
        mobile_theme bool isBool
        delivery_option txt
        secure_key txt #32
        allow_seperated_package bool isBool
        date_add time isDate
        date_upd time isDate
        """
    ),
    associations=(
        association(
            "cart_rows",
            "cart_row",
            None,
            "id_product>products id_product_attribute>combinations id_address_delivery>addresses "
            "id_customization>customizations quantity",
        ),
    ),
)

ORDERS = resource(
    "orders",
    "order",
    "Order",
    "The Customers orders",
    fields=fields(
        """
        id_address_delivery id ! >addresses isUnsignedId
        id_address_invoice id ! >addresses isUnsignedId
        id_cart id ! >carts isUnsignedId
        id_currency id ! >currencies isUnsignedId
        id_lang id ! >languages isUnsignedId
        id_customer id ! >customers isUnsignedId
        id_carrier id ! >carriers isUnsignedId
        current_state id >order_states isUnsignedId
        module txt ! isModuleName
        invoice_number int
        invoice_date time
        delivery_number int
        delivery_date time
        valid bool
        date_add time isDate
        date_upd time isDate
        shipping_number txt -8.0 isTrackingNumber
        shipping_number txt dyn +8.0 isTrackingNumber
        note txt +1.7.8
        id_shop_group id isUnsignedId
        id_shop id isUnsignedId
        secure_key txt isMd5
        payment txt ! isGenericName
        recyclable bool isBool
        gift bool isBool
        gift_message txt isCleanHtml
        mobile_theme bool isBool
        total_discounts dec isPrice
        total_discounts_tax_incl dec isPrice
        total_discounts_tax_excl dec isPrice
        total_paid dec ! isPrice
        total_paid_tax_incl dec isPrice
        total_paid_tax_excl dec isPrice
        total_paid_real dec ! isPrice
        total_products dec ! isPrice
        total_products_wt dec ! isPrice
        total_shipping dec isPrice
        total_shipping_tax_incl dec isPrice
        total_shipping_tax_excl dec isPrice
        carrier_tax_rate dec3 isFloat
        total_wrapping dec isPrice
        total_wrapping_tax_incl dec isPrice
        total_wrapping_tax_excl dec isPrice
        round_mode int isUnsignedInt
        round_type int isUnsignedInt
        conversion_rate dec ! isFloat
        reference txt #9 isGenericName
        """,
        shipping_number=_tracking,
    ),
    associations=(association("order_rows", "order_row", None, _ROW_COLUMNS, _order_rows),),
)

ORDER_DETAILS = resource(
    "order_details",
    "order_detail",
    "OrderDetail",
    "Details of an order",
    fields=fields(
        """
        id_order id ! >orders isUnsignedId
        product_id id >products isUnsignedId
        product_attribute_id id >combinations isUnsignedId
        product_quantity_reinjected int isUnsignedInt
        group_reduction dec isFloat
        discount_quantity_applied bool isInt
        download_hash txt isGenericName
        download_deadline time
        id_order_invoice id
        id_warehouse id ! >warehouses isUnsignedId
        id_shop id ! isUnsignedId
        id_customization id >customizations isUnsignedId +1.7.6
        product_name txt ! isGenericName
        product_quantity int ! isInt
        product_quantity_in_stock int isInt
        product_quantity_return int isUnsignedInt
        product_quantity_refunded int isUnsignedInt
        product_price dec ! isPrice
        reduction_percent dec isFloat
        reduction_amount dec isPrice
        product_ean13 txt isEan13
        product_isbn txt isIsbn +1.7.0
        product_upc txt isUpc
        product_mpn txt isMpn +1.7.7
        product_reference txt isReference
        product_supplier_reference txt isReference
        product_weight dec isFloat
        tax_computation_method int isUnsignedId
        ecotax dec isFloat
        unit_price_tax_incl dec isPrice
        unit_price_tax_excl dec isPrice
        total_price_tax_incl dec isPrice
        total_price_tax_excl dec isPrice
        original_product_price dec isPrice
        original_wholesale_price dec isPrice
        """
    ),
)

ORDER_HISTORIES = resource(
    "order_histories",
    "order_history",
    "OrderHistory",
    "The Order histories",
    fields=fields(
        """
        id_employee id >employees isUnsignedId
        id_order_state id ! >order_states isUnsignedId
        id_order id ! >orders isUnsignedId
        date_add time isDate
        """
    ),
)

ORDER_STATES = resource(
    "order_states",
    "order_state",
    "OrderState",
    "The Order statuses",
    fields=fields(
        """
        unremovable bool
        delivery bool isBool
        hidden bool isBool
        send_email bool isBool
        module_name txt isModuleName
        invoice bool isBool
        color txt isColor
        logable bool isBool
        shipped bool isBool
        paid bool isBool
        pdf_delivery bool isBool
        pdf_invoice bool isBool
        deleted bool isBool
        name txt L ! #64 isGenericName
        template txt L #64 isTplName
        """
    ),
)

ORDER_CARRIERS = resource(
    "order_carriers",
    "order_carrier",
    "OrderCarrier",
    "The Order carriers",
    fields=fields(
        """
        id_order id ! >orders isUnsignedId
        id_carrier id ! >carriers isUnsignedId
        id_order_invoice id >order_invoices isUnsignedId
        weight dec isFloat
        shipping_cost_tax_excl dec isFloat
        shipping_cost_tax_incl dec isFloat
        tracking_number txt isTrackingNumber
        date_add time isDate
        """
    ),
)

ORDER_PAYMENTS = resource(
    "order_payments",
    "order_payment",
    "OrderPayment",
    "The Order payments",
    fields=fields(
        """
        order_reference txt #9 isAnything
        id_currency id ! >currencies isUnsignedId
        amount dec ! isNegativePrice
        payment_method txt isGenericName
        conversion_rate dec isFloat
        transaction_id txt #254 isAnything
        card_number txt #254 isAnything
        card_brand txt #254 isAnything
        card_expiration txt #254 isAnything
        card_holder txt #254 isAnything
        date_add time isDate
        """
    ),
)

ORDER_INVOICES = resource(
    "order_invoices",
    "order_invoice",
    "OrderInvoice",
    "The Order invoices",
    fields=fields(
        """
        id_order id ! isUnsignedId
        number int ! isUnsignedId
        delivery_number int isUnsignedId
        delivery_date time isDateFormat
        total_paid_tax_excl dec
        total_paid_tax_incl dec
        total_products dec
        total_products_wt dec
        total_shipping_tax_excl dec
        total_shipping_tax_incl dec
        note txt
        date_add time isDate
        """
    ),
)

SALES = (
    CARTS,
    ORDERS,
    ORDER_DETAILS,
    ORDER_HISTORIES,
    ORDER_STATES,
    ORDER_CARRIERS,
    ORDER_PAYMENTS,
    ORDER_INVOICES,
)
