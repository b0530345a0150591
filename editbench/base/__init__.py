"""What everything else stands on: files, the machine, seeds, time, progress, plugins. Knows nothing of editing."""
