"""Customers, their addresses and groups."""

from __future__ import annotations

from tests.store.schema import association, fields, resource

CUSTOMERS = resource(
    "customers",
    "customer",
    "Customer",
    "The e-shop's customers",
    fields=fields(
        """
        id_default_group id >groups
        id_lang id >languages isUnsignedId
        newsletter_date_add time
        ip_registration_newsletter txt
        last_passwd_gen time ro
        secure_key txt ro isMd5
        deleted bool isBool
        passwd txt ! #255 isHashedPassword
        lastname txt ! #255 isCustomerName
        firstname txt ! #255 isCustomerName
        email txt ! #255 isEmail
        id_gender id isUnsignedId
        birthday date isBirthDate
        newsletter bool isBool
        optin bool isBool
        website txt isUrl
        company txt isGenericName
        siret txt isGenericName
        ape txt isApe
        outstanding_allow_amount dec isFloat
        show_public_prices bool isUnsignedId
        id_risk id isUnsignedInt
        max_payment_days int isUnsignedInt
        active bool isBool
        note txt isCleanHtml
        is_guest bool isBool
        id_shop id isUnsignedId
        id_shop_group id isUnsignedId
        date_add time isDate
        date_upd time isDate
        reset_password_token txt #40 isSha1 +1.7.0
        reset_password_validity time isDateOrNull +1.7.0
        """
    ),
    associations=(association("groups", "group", "groups", "id"),),
)

ADDRESSES = resource(
    "addresses",
    "address",
    "Address",
    "The Customer, Brand and Customer addresses",
    fields=fields(
        """
        id_customer id >customers isNullOrUnsignedId
        id_manufacturer id >manufacturers isNullOrUnsignedId
        id_supplier id >suppliers isNullOrUnsignedId
        id_warehouse id >warehouse isNullOrUnsignedId
        id_country id ! >countries isUnsignedId
        id_state id >states isNullOrUnsignedId
        alias txt ! #32 isGenericName
        company txt #255 isGenericName
        lastname txt ! #255 isName
        firstname txt ! #255 isName
        vat_number txt #32 isGenericName
        address1 txt ! #128 isAddress
        address2 txt #128 isAddress
        postcode txt #12 isPostCode
        city txt ! #64 isCityName
        other txt #300 isMessage
        phone txt #32 isPhoneNumber
        phone_mobile txt #32 isPhoneNumber
        dni txt #16 isDniLite
        deleted bool isBool
        date_add time isDate
        date_upd time isDate
        """
    ),
)

GROUPS = resource(
    "groups",
    "group",
    "Group",
    "The customer's groups",
    fields=fields(
        """
        reduction dec isFloat
        price_display_method int ! isPriceDisplayMethod
        show_prices bool isBool
        date_add time isDate
        date_upd time isDate
        name txt L ! #32 isGenericName
        """
    ),
)

PEOPLE = (CUSTOMERS, ADDRESSES, GROUPS)
