"""Steps of a network as data: plans, the calls in them, their reads and writes, legal moves."""
