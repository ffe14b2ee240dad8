"""The public functions: plain arrays in, plain arrays out, everything checked once.

Arrays are NumPy's or, on a CUDA device, CuPy's; those of other libraries are taken as views of one
or the other (:mod:`fastconv.functional.array_types`).

They check, bring arrays into the kernels' layout, call one kernel, and bring the result back. They
never build a plan; the training loop never calls them.
"""
