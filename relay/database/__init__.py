"""What the relay remembers: tables, their secrets, and the functions that read and change them, by noun."""
