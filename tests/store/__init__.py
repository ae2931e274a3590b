"""A stand-in for the webservice of a PrestaShop, to be called over HTTP by whatever is under test.

It answers under `/api` as a PrestaShop 9.1.4 on Apache and PHP 8.2 was measured to answer (and older releases where
sources tell), keeps its shop in memory, really writes, and can be told to have the troubles of real shops
(`tests.store.knobs`). In a test: `async with Store.serve() as store: …`; as a program: `python -m tests.store`.

It does not: calculate taxes, carts, discounts or shipping; render or resize pictures (a picture sent to it comes back
with a comment added); run hooks or modules; have a back office, a front office beyond one page, or `/admin-api`; keep
anything on disk; hold more than a few fields of the resources that no one here calls (their lists are empty);
check the values of fields beyond PrestaShop's commonest validators; speak HTTP/2.
"""

from tests.store.keys import KeyRing
from tests.store.knobs import KnobError, Knobs
from tests.store.messages import Answer, Seen
from tests.store.shop import Mail, Shop
from tests.store.store import Store

__all__ = ["Answer", "KeyRing", "KnobError", "Knobs", "Mail", "Seen", "Shop", "Store"]
