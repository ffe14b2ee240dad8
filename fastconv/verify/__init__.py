"""Verification of every backend on this machine: ``python -m fastconv.verify``."""
