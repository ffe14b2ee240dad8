"""Whole training steps of a backend against those of the reference."""
