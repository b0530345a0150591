"""Questioning one model, and all else that is measured of it, for one cell."""
