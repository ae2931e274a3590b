"""Products and what belongs to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from tests.store.schema import association, fields, resource

if TYPE_CHECKING:
    from tests.store.schema import Cells, Row, Value
    from tests.store.shop import Shop


def _default_image(shop: Shop, row: Row) -> Value:
    covers = [image["id"] for image in shop["images"].where("id_product", row["id"]) if image["cover"]]
    return covers[0] if covers else 0


def _default_combination(shop: Shop, row: Row) -> Value:
    found = [one["id"] for one in shop["combinations"].where("id_product", row["id"]) if one["default_on"]]
    return found[0] if found else 0


def _position(_shop: Shop, row: Row) -> Value:
    positions = cast("dict[int, int]", row.get("positions") or {})
    return positions.get(cast("int", row.get("id_category_default") or 0), 0)


def _manufacturer_name(shop: Shop, row: Row) -> Value:
    found = shop["manufacturers"].get(cast("int", row.get("id_manufacturer") or 0))
    return found["name"] if found else ""


def _product_type(_shop: Shop, row: Row) -> Value:
    return "pack" if row.get("cache_is_pack") else "virtual" if row.get("is_virtual") else "simple"


def _combinations(shop: Shop, row: Row) -> Cells:
    return [{"id": cast("int", one["id"])} for one in shop["combinations"].where("id_product", row["id"])]


def _option_values(shop: Shop, row: Row) -> Cells:
    found: dict[object, None] = {}
    for one in shop["combinations"].where("id_product", row["id"]):
        found.update({cell["id"]: None for cell in cast("Cells", one.get("product_option_values") or [])})
    return [{"id": cast("int", key)} for key in found]


def _images(shop: Shop, row: Row) -> Cells:
    return [{"id": cast("int", one["id"])} for one in shop["images"].where("id_product", row["id"])]


def _stock(shop: Shop, row: Row) -> Cells:
    return [
        {"id": cast("int", one["id"]), "id_product_attribute": cast("int", one["id_product_attribute"])}
        for one in shop["stock_availables"].where("id_product", row["id"])
    ]


def _category_products(shop: Shop, row: Row) -> Cells:
    return [
        {"id": cast("int", product["id"])}
        for product in shop["products"]
        if any(cell["id"] == row["id"] for cell in cast("Cells", product.get("categories") or []))
    ]


def _subcategories(shop: Shop, row: Row) -> Cells:
    return [{"id": cast("int", one["id"])} for one in shop["categories"].where("id_parent", row["id"])]


def _products_in(shop: Shop, row: Row) -> Value:
    return len(_category_products(shop, row))


def _values_of_option(shop: Shop, row: Row) -> Cells:
    found = shop["product_option_values"].where("id_attribute_group", row["id"])
    return [{"id": cast("int", one["id"])} for one in found]


PRODUCTS = resource(
    "products",
    "product",
    "Product",
    "The products",
    fields=fields(
        """
        id_manufacturer id >manufacturers isUnsignedId
        id_supplier id >suppliers isUnsignedId
        id_category_default id >categories isUnsignedId
        new txt
        cache_default_attribute id
        id_default_image id dyn >images/products/{id}
        id_default_combination id dyn >combinations
        id_tax_rules_group id >tax_rule_groups isUnsignedId
        position_in_category int dyn
        manufacturer_name txt ro dyn
        quantity int ro dyn
        type txt dyn
        id_shop_default id isUnsignedId =1
        reference txt #64 isReference
        supplier_reference txt #64 isReference
        location txt #255 isString
        width dec isUnsignedFloat
        height dec isUnsignedFloat
        depth dec isUnsignedFloat
        weight dec isUnsignedFloat
        quantity_discount bool
        ean13 txt #13 isEan13
        isbn txt #32 isIsbn +1.7.0
        upc txt #12 isUpc
        mpn txt #40 isMpn +1.7.7
        cache_is_pack bool
        cache_has_attachments bool
        is_virtual bool isBool
        state int isUnsignedId +1.7.0
        additional_delivery_times int isUnsignedId +1.7.4
        delivery_in_stock txt L #255 isGenericName +1.7.4
        delivery_out_stock txt L #255 isGenericName +1.7.4
        product_type txt isGenericName =standard +8.0
        on_sale bool isBool
        online_only bool isBool
        ecotax dec isPrice
        minimal_quantity int isUnsignedInt
        low_stock_threshold int isInt +1.7.4
        low_stock_alert bool isBool +1.7.4
        price dec ! isPrice
        wholesale_price dec isPrice
        unity txt #255 isString
        unit_price dec +8.0
        unit_price_ratio dec
        additional_shipping_cost dec isPrice
        customizable int isUnsignedInt
        text_fields int isUnsignedInt
        uploadable_files int isUnsignedInt
        active bool isBool
        redirect_type txt isString
        id_product_redirected id isUnsignedId -1.7.4
        id_type_redirected id isUnsignedId +1.7.4
        available_for_order bool isBool
        available_date date isDateFormat
        show_condition bool isBool +1.7.0
        condition txt isGenericName =new
        show_price bool isBool
        indexed bool isBool
        visibility txt isProductVisibility =both
        advanced_stock_management bool isBool
        date_add time isDate
        date_upd time isDate
        pack_stock_type int isUnsignedInt
        meta_description txt L #512 isGenericName
        meta_keywords txt L #255 isGenericName -9.0
        meta_title txt L #255 isGenericName
        link_rewrite txt L #128 isLinkRewrite
        name txt L #128 isCatalogName
        description txt L isCleanHtml
        description_short txt L isCleanHtml
        available_now txt L #255 isGenericName
        available_later txt L #255 isGenericName
        """,
        new=lambda _shop, _row: None,
        id_default_image=_default_image,
        id_default_combination=_default_combination,
        position_in_category=_position,
        manufacturer_name=_manufacturer_name,
        quantity=lambda _shop, _row: 0,
        type=_product_type,
    ),
    associations=(
        association("categories", "category", "categories", "id"),
        association("images", "image", "images", "id", _images),
        association("combinations", "combination", "combinations", "id", _combinations),
        association("product_option_values", "product_option_value", "product_option_values", "id", _option_values),
        association(
            "product_features", "product_feature", "product_features", "id id_feature_value>product_feature_values"
        ),
        association("tags", "tag", "tags", "id"),
        association("stock_availables", "stock_available", "stock_availables", "id id_product_attribute", _stock),
        association("attachments", "attachment", "attachments", "id", since=(8, 0)),
        association("accessories", "product", "products", "id"),
        association("product_bundle", "product", "products", "id id_product_attribute quantity"),
    ),
)

COMBINATIONS = resource(
    "combinations",
    "combination",
    "Combination",
    "The product combinations",
    fields=fields(
        """
        id_product id ! >products isUnsignedId
        ean13 txt #13 isEan13
        isbn txt #32 isIsbn +1.7.0
        upc txt #12 isUpc
        mpn txt #40 isMpn +1.7.7
        reference txt #64 isReference
        supplier_reference txt #64 isReference
        wholesale_price dec isPrice
        price dec isNegativePrice
        ecotax dec isPrice
        weight dec isFloat
        unit_price_impact dec isNegativePrice
        minimal_quantity int ! isUnsignedId
        low_stock_threshold int isInt +1.7.4
        low_stock_alert bool isBool +1.7.4
        default_on bool isBool
        available_date date isDateFormat
        available_now txt L #255 isGenericName +8.0
        available_later txt L #255 isGenericName +8.0
        """
    ),
    associations=(
        association("product_option_values", "product_option_value", "product_option_values", "id"),
        association("images", "image", "images/products", "id"),
    ),
)

STOCK = resource(
    "stock_availables",
    "stock_available",
    "StockAvailable",
    "Available quantities",
    fields=fields(
        """
        id_product id ! >products isUnsignedId
        id_product_attribute id >combinations isUnsignedId
        id_shop id >shops isUnsignedId
        id_shop_group id >shop_groups isUnsignedId
        quantity int ! isInt
        depends_on_stock bool ! isBool
        out_of_stock int ! isInt
        location txt #255 isString +1.7.6
        """
    ),
    forbidden=("POST", "DELETE"),
)

CATEGORIES = resource(
    "categories",
    "category",
    "Category",
    "The product categories",
    fields=fields(
        """
        id_parent id >categories isUnsignedInt
        level_depth int ro
        nb_products_recursive int ro dyn
        active bool ! isBool
        id_shop_default id isUnsignedId
        is_root_category bool isBool
        position int
        redirect_type txt isString +9.0
        id_type_redirected id isUnsignedId +9.0
        date_add time isDate
        date_upd time isDate
        name txt L ! #128 isCatalogName
        link_rewrite txt L ! #128 isLinkRewrite
        description txt L isCleanHtml
        additional_description txt L isCleanHtml +8.0
        meta_title txt L #255 isGenericName
        meta_description txt L #512 isGenericName
        """,
        nb_products_recursive=_products_in,
    ),
    associations=(
        association("categories", "category", "categories", "id", _subcategories),
        association("products", "product", "products", "id", _category_products),
    ),
)

MANUFACTURERS = resource(
    "manufacturers",
    "manufacturer",
    "Manufacturer",
    "The product brands",
    fields=fields(
        """
        active bool
        link_rewrite txt ro dyn
        name txt ! #64 isCatalogName
        date_add time
        date_upd time
        description txt L isCleanHtml
        short_description txt L isCleanHtml
        meta_title txt L #255 isGenericName
        meta_description txt L #512 isGenericName
        """,
        link_rewrite=lambda _shop, row: str(row.get("name") or "").lower().replace(" ", "-"),
    ),
    associations=(association("addresses", "address", "addresses", "id"),),
)

SUPPLIERS = resource(
    "suppliers",
    "supplier",
    "Supplier",
    "The product suppliers",
    fields=fields(
        """
        link_rewrite txt ro dyn
        name txt ! #64 isCatalogName
        active bool
        date_add time isDate
        date_upd time isDate
        description txt L isCleanHtml
        meta_title txt L #255 isGenericName
        meta_description txt L #512 isGenericName
        """,
        link_rewrite=lambda _shop, row: str(row.get("name") or "").lower().replace(" ", "-"),
    ),
)

OPTIONS = resource(
    "product_options",
    "product_option",
    "ProductAttributeGroup",
    "The product options",
    fields=fields(
        """
        is_color_group bool isBool
        group_type txt !
        position int isInt
        name txt L ! #128 isGenericName
        public_name txt L ! #64 isGenericName
        """
    ),
    associations=(
        association("product_option_values", "product_option_value", "product_option_values", "id", _values_of_option),
    ),
)

OPTION_VALUES = resource(
    "product_option_values",
    "product_option_value",
    "ProductAttribute",
    "The product options value",
    fields=fields(
        """
        id_attribute_group id ! >product_options isUnsignedId
        color txt isColor
        position int isInt
        name txt L ! #128 isGenericName
        """
    ),
)

FEATURES = resource(
    "product_features",
    "product_feature",
    "Feature",
    "The product features",
    fields=fields("position int isInt\nname txt L ! #128 isGenericName"),
)

FEATURE_VALUES = resource(
    "product_feature_values",
    "product_feature_value",
    "FeatureValue",
    "The product feature values",
    fields=fields(
        """
        id_feature id ! >product_features isUnsignedId
        custom bool isBool
        value txt L ! #255 isGenericName
        """
    ),
)

CATALOGUE = (
    PRODUCTS,
    COMBINATIONS,
    STOCK,
    CATEGORIES,
    MANUFACTURERS,
    SUPPLIERS,
    OPTIONS,
    OPTION_VALUES,
    FEATURES,
    FEATURE_VALUES,
)
