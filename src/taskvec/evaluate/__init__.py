"""Score models: seeds in, a table out."""
