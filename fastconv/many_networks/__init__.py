"""Many networks at once: trainings side by side, one to a core, and what came of them together."""

SEEDS_FILE = "seeds.json"
"""In a folder of runs that differ by their seeds: what was asked for, and what came of it."""
