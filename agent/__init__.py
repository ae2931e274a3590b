"""The on-premise agent: dials the relay from inside the shop's network and publishes the stores it was told to."""

__version__ = "0.1.0"
