"""Programs that made the shipped data; no user runs them."""
