"""The public functions: plain arrays in, plain arrays out, everything checked once.

They check, bring arrays into the kernels' layout, call one kernel, and bring the result back. They
never build a plan; the training loop never calls them.
"""
