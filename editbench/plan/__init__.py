"""From a suite's file to runs and cells, with every check that needs no model. Nothing here imports torch."""
