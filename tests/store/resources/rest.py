"""The shop's settings, and the names that exist here for completeness: their lists are empty, their schemas short."""

from __future__ import annotations

from tests.store.schema import fields, resource

CARRIERS = resource(
    "carriers",
    "carrier",
    "Carrier",
    "The Carriers",
    fields=fields(
        """
        deleted bool isBool
        is_module bool isBool
        id_tax_rules_group id ro dyn >tax_rule_groups
        id_reference id
        name txt ! #64 isCarrierName
        active bool ! isBool
        is_free bool isBool
        url txt isAbsoluteUrl
        shipping_handling bool isBool
        shipping_external bool
        range_behavior bool isBool
        shipping_method int isUnsignedInt
        max_width int isUnsignedInt
        max_height int isUnsignedInt
        max_depth int isUnsignedInt
        max_weight dec isFloat
        grade int #1 isUnsignedInt
        external_module_name txt #64
        need_range bool
        position int
        delay txt L ! #512 isGenericName
        """,
        id_tax_rules_group=lambda _shop, _row: 1,
    ),
)

CURRENCIES = resource(
    "currencies",
    "currency",
    "Currency",
    "The currencies",
    fields=fields(
        """
        names txt L
        name txt ! #255 isGenericName
        symbol txt L #255
        iso_code txt ! #3 isLanguageIsoCode
        numeric_iso_code txt #3 isNumericIsoCode
        precision int isInt
        conversion_rate dec ! isUnsignedFloat
        deleted bool isBool
        active bool isBool
        unofficial bool isBool
        modified bool isBool
        pattern txt L
        """
    ),
)

LANGUAGES = resource(
    "languages",
    "language",
    "Language",
    "Shop languages",
    fields=fields(
        """
        name txt ! #32 isGenericName
        iso_code txt ! #2 isLanguageIsoCode
        locale txt #5 isLocale
        language_code txt #5 isLanguageCode
        active bool isBool
        is_rtl bool isBool
        date_format_lite txt ! #32 isPhpDateFormat
        date_format_full txt ! #32 isPhpDateFormat
        """
    ),
)

COUNTRIES = resource(
    "countries",
    "country",
    "Country",
    "The countries",
    fields=fields(
        """
        id_zone id ! >zones isUnsignedId
        id_currency id >currencies isUnsignedId
        call_prefix int isInt
        iso_code txt ! #3 isLanguageIsoCode
        active bool isBool
        contains_states bool ! isBool
        need_identification_number bool ! isBool
        need_zip_code bool isBool
        zip_code_format txt isZipCodeFormat
        display_tax_label bool ! isBool
        name txt L ! #64 isGenericName
        """
    ),
)

CONFIGURATIONS = resource(
    "configurations",
    "configuration",
    "Configuration",
    "Shop configuration",
    fields=fields(
        """
        value txt
        name txt ! #254 isConfigName
        id_shop_group id isUnsignedId
        id_shop id isUnsignedId
        date_add time isDate
        date_upd time isDate
        """
    ),
)

TAXES = resource(
    "taxes",
    "tax",
    "Tax",
    "The tax rate",
    fields=fields("rate dec3 ! isFloat\nactive bool\ndeleted bool\nname txt L ! #64 isGenericName"),
)

TAX_RULE_GROUPS = resource(
    "tax_rule_groups",
    "tax_rule_group",
    "TaxRulesGroup",
    "Tax rule groups",
    fields=fields(
        """
        name txt ! #64 isGenericName
        active bool isBool
        deleted bool isBool
        date_add time isDate
        date_upd time isDate
        """
    ),
)

TAX_RULES = resource(
    "tax_rules",
    "tax_rule",
    "TaxRule",
    "Tax rules entity",
    fields=fields(
        """
        id_tax_rules_group id ! >tax_rule_groups isUnsignedId
        id_state id >states
        id_country id ! >countries isUnsignedId
        zipcode_from txt isPostCode
        zipcode_to txt isPostCode
        id_tax id ! >taxes isUnsignedId
        behavior int isUnsignedInt
        description txt isString
        """
    ),
)

SHOPS = resource(
    "shops",
    "shop",
    "Shop",
    "Shops from multi-shop feature",
    fields=fields(
        """
        id_shop_group id ! isUnsignedId
        id_category id ! isUnsignedId
        active bool isBool
        deleted bool isBool
        name txt ! #64 isGenericName
        color txt isColor
        theme_name txt isThemeName
        """
    ),
)

SHOP_GROUPS = resource(
    "shop_groups",
    "shop_group",
    "ShopGroup",
    "Shop groups from multi-shop feature",
    fields=fields(
        """
        name txt ! #64 isGenericName
        color txt isColor
        share_customer bool isBool
        share_order bool isBool
        share_stock bool isBool
        active bool isBool
        deleted bool isBool
        """
    ),
)

SHOP_URLS = resource(
    "shop_urls",
    "shop_url",
    "ShopUrl",
    "Shop URLs from multi-shop feature",
    fields=fields(
        """
        id_shop id ! >shops
        active bool isBool
        main bool isBool
        domain txt ! #255 isCleanHtml
        domain_ssl txt #255 isCleanHtml
        physical_uri txt #64 isString
        virtual_uri txt #64 isString
        """
    ),
)

_NAMED = "name txt ! #64 isGenericName"
_ACTIVE = "active bool isBool\nname txt ! #64 isGenericName"
_OF_ORDER = "id_order id ! >orders isUnsignedId\ndate_add time isDate"
_READ_ONLY = ("PUT", "POST", "DELETE")

# (name, node, class, description, fields, forbidden methods)
_EMPTY = (
    ("cart_rules", "cart_rule", "CartRule", "Cart rules management", _ACTIVE, ()),
    ("contacts", "contact", "Contact", "Shop contacts", "email txt isEmail\nname txt L ! #255 isGenericName", ()),
    ("content_management_system", "content", "CMS", "Content management system", "active bool\nmeta_title txt L !", ()),
    ("customer_messages", "customer_message", "CustomerMessage", "Customer services messages", "message txt !", ()),
    ("customer_threads", "customer_thread", "CustomerThread", "Customer services threads", "email txt isEmail", ()),
    ("customizations", "customization", "Customization", "Customization values", "id_cart id ! >carts", ()),
    ("deliveries", "delivery", "Delivery", "Product delivery", "id_carrier id ! >carriers\nprice dec !", ()),
    ("employees", "employee", "Employee", "The Employees", "lastname txt ! isName\nfirstname txt ! isName", ()),
    ("guests", "guest", "Guest", "The guests", "id_customer id >customers", ()),
    ("image_types", "image_type", "ImageType", "The image types", "name txt !\nwidth int !\nheight int !", ()),
    ("messages", "message", "Message", "The Messages", "id_order id >orders\nmessage txt !", ()),
    ("order_cart_rules", "order_cart_rule", "OrderCartRule", "The Order cart rules", _OF_ORDER, ()),
    ("order_returns", "order_return", "OrderReturn", "The Customers orders returns", _OF_ORDER, ()),
    ("order_slip", "order_slip", "OrderSlip", "The Order slips", _OF_ORDER, ()),
    ("price_ranges", "price_range", "RangePrice", "Price ranges", "delimiter1 dec !\ndelimiter2 dec !", ()),
    ("product_customization_fields", "customization_field", "CustomizationField", "Customization Field", "type int !",
     ()),
    ("product_suppliers", "product_supplier", "ProductSupplier", "Product Suppliers", "id_product id ! >products", ()),
    ("specific_price_rules", "specific_price_rule", "SpecificPriceRule", "Specific price management", _NAMED, ()),
    ("specific_prices", "specific_price", "SpecificPrice", "Specific price management", "id_product id ! >products",
     ()),
    ("states", "state", "State", "The available states of countries", _ACTIVE, ()),
    ("stock_movement_reasons", "stock_movement_reason", "StockMvtReason", "Stock movement reason", "sign int !", ()),
    ("stock_movements", "stock_mvt", "StockMvtWS", "Stock movements", "physical_quantity int !", _READ_ONLY),
    ("stocks", "stock", "Stock", "Stocks", "id_product id ! >products", _READ_ONLY),
    ("stores", "store", "Store", "The stores", "active bool\nname txt L ! #255", ()),
    ("tags", "tag", "Tag", "The Products tags", "id_lang id ! >languages\nname txt !", ()),
    ("translated_configurations", "translated_configuration", "TranslatedConfiguration", "Shop configuration",
     "name txt ! isConfigName\nvalue txt L", ()),
    ("warehouses", "warehouse", "Warehouse", "Warehouses", "reference txt !\nname txt !", ("DELETE",)),
    ("weight_ranges", "weight_range", "RangeWeight", "Weight ranges", "delimiter1 dec !\ndelimiter2 dec !", ()),
    ("zones", "zone", "Zone", "The Countries zones", _ACTIVE, ()),
)  # fmt: skip

# Those of the old advanced stock management, gone in 9, and what 1.6 had.
_OLD = (
    ("supply_orders", "supply_order", "SupplyOrder", "Supply Orders"),
    ("supply_order_details", "supply_order_detail", "SupplyOrderDetail", "Supply Order Details"),
    ("supply_order_states", "supply_order_state", "SupplyOrderState", "Supply Order Statuses"),
    ("supply_order_histories", "supply_order_history", "SupplyOrderHistory", "Supply Order Histories"),
    ("supply_order_receipt_histories", "supply_order_receipt_history", "SupplyOrderReceiptHistory",
     "Supply Order Receipt Histories"),
    ("warehouse_product_locations", "warehouse_product_location", "WarehouseProductLocation",
     "Location of products in warehouses"),
)  # fmt: skip

_SINCE = {"order_cart_rules": (8, 0), "messages": (1, 7, 0)}

REST = (
    CARRIERS,
    CURRENCIES,
    LANGUAGES,
    COUNTRIES,
    CONFIGURATIONS,
    TAXES,
    TAX_RULE_GROUPS,
    TAX_RULES,
    SHOPS,
    SHOP_GROUPS,
    SHOP_URLS,
    resource("attachments", "attachment", "Attachment", "The product Attachments", special=True, since=(8, 0)),
    resource("images", "image", "", "The images", special=True),
    resource("search", "", "", "Search", special=True, forbidden=_READ_ONLY),
    resource("order_discounts", "order_discount", "OrderCartRule", "Discounts of an order",
             fields=fields(_OF_ORDER), until=(1, 7)),
    *(
        resource(name, node, kind, text, fields=fields(notation), forbidden=forbidden, since=_SINCE.get(name, ()))
        for name, node, kind, text, notation, forbidden in _EMPTY
    ),
    *(
        resource(name, node, kind, text, fields=fields(_NAMED), forbidden=_READ_ONLY, until=(9, 0))
        for name, node, kind, text in _OLD
    ),
)  # fmt: skip
