"""The results tree on disk: its files, a run's manifest, a cell's records. Nothing here imports torch."""
