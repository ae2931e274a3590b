"""How agents and stores do: what is known, what has changed, and who is told."""
