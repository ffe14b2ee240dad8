"""The backends: one folder each, with the same file names and the same kernels.

``reference`` is the oracle of the tests and is never chosen for work.
"""
