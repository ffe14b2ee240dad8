"""Training in several processes: shards of a batch, a fixed tree of sums, the same bits."""
