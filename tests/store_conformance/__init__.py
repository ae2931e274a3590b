"""What a PrestaShop webservice does, as assertions that any road to the stand-in store can be held to.

The tests ask through the fixture `shop` (a `tests.store_conformance.asking.Shop`) and turn the knobs of the fixture
`store` (a `tests.store.Store`). A module elsewhere that imports the tests of these modules and defines both fixtures
anew holds another road, such as one through the relay, to the same assertions; `numbers.CHANGED_BY_A_RELAY` says which
of them a relay decides itself.
"""
