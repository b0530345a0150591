"""Carrying runs out: edit and measure, load and measure, edit and write."""
