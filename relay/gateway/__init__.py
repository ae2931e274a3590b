"""HTTP through a route: what a connector asks is judged, sent to the store, and answered. The hot path."""
