"""Looking into a network: what its layers give, what they react to, how training goes.

All of it is apart from the training steps, on the host, and reads a network without changing it.
"""
