"""Finding the block that carries a fact."""
