"""How a connection comes in: listening sockets, the PROXY protocol, TLS, and whose address counts."""
