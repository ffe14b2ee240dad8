"""One file of rules for each operation: which kernel, which tile, which copies."""
