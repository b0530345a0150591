"""``python -m editbench``, where the ``editbench`` script is not on the path."""

from editbench.cli import main

if __name__ == "__main__":  # children that are spawned import this file too
    main()
