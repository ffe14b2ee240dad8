"""The oracle: every kernel as slow, obvious loops in float64, whatever the dtype of its arrays.

It defines what the other backends compute, imports only NumPy and the specs, and is never
optimised: a reader must be able to compare each kernel with its formula at a glance. What is not a
number, or too large for one, is an answer here and no warning, hence the ``np.errstate``.
"""
