"""Verification of every backend on this machine against the oracle: ``python -m fastconv.verify``."""
