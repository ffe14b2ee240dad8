"""How small is small: where fastconv trains faster than PyTorch and JAX on this machine."""
