"""Values of the fields that choose: what sums start from, and what becomes of them."""

from __future__ import annotations

ACCUMULATOR_INITS = ("INIT_ZERO", "INIT_BIAS", "INIT_C", "INIT_ROW_BIAS")
INIT_ZERO, INIT_BIAS, INIT_C, INIT_ROW_BIAS = range(4)
"""Starts of the accumulators of a tile: a bias goes with the columns of C, or with its rows;
to C the sums are added."""

EPILOGUES = ("STORE", "LEAKY_RELU", "LEAKY_GRADIENT", "UPDATE")
STORE, LEAKY_RELU, LEAKY_GRADIENT, UPDATE = range(4)
"""Epilogues of a tile, what becomes of its sums: C = sum; sum where it is positive, else slope
times it; the same by the sign of another array; C = keep * C - rate * sum."""
