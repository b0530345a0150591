"""Searches for the settings of methods on a model, each with the same budget; and for the place to edit."""
