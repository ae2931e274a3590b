"""Events on their way to their receivers, by the Standard Webhooks: signed, tried again, never to a private address."""
