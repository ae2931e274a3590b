"""Every trouble that a connection test can name, produced by the stand-in store and by what stands around it.

`cells` lists them once; `cloud` and `premise` are the two ways to a store on which each is tried; `document` makes the
table in docs/TROUBLES.md of the same list.
"""
