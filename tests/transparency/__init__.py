"""The same request sent twice, directly to a store and through relay and agent: what differs must have been decided.

`decided` is the one table of what a road through the relay changes, each with its reason. Everything else of a request
as a store sees it, and of an answer as a caller sees it, is compared byte for byte: the line, the lines of the header
in their order and spelling, the kind of framing, chunk sizes, and the body.

Relay and agent are real processes. The stores are in this process, so that a test sees what they saw: one that plays
scripts (`playing`), and the stand-in PrestaShop (`tests.store`).
"""
