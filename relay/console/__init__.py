"""The web page for people: it shows what `/v1` says and asks `/v1` to change it, and knows nothing of its own."""
