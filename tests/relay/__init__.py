"""What the cloud side promises, room by room."""
