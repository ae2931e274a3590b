"""What the typed surface promises, over a real database on SQLite."""
