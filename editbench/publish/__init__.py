"""Runs that are shown to others: what may be published, and where it lies. Nothing here imports torch."""
