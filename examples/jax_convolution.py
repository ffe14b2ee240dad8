"""Train a small network in JAX with fastconv's kernels, under jit and grad."""

import jax
from jax import numpy as jnp

from fastconv.interop.jax import conv2d, dense, max_pool2d

keys = jax.random.split(jax.random.key(0), 3)
conv = 0.3 * jax.random.normal(keys[0], (8, 1, 3, 3))
parameters = {"conv": conv, "dense": 0.1 * jax.random.normal(keys[1], (128, 2))}
labels = jnp.arange(64) % 2
images = jax.random.normal(keys[2], (64, 1, 8, 8)) + labels[:, None, None, None]


def loss(p):
    """Cross entropy of the network with parameters p."""
    x = max_pool2d(jax.nn.relu(conv2d(images, p["conv"], padding=1)), 2)
    logs = jax.nn.log_softmax(dense(x.reshape(64, -1), p["dense"]))
    return -logs[jnp.arange(64), labels].mean()


step = jax.jit(lambda p: jax.tree.map(lambda a, g: a - 0.1 * g, p, jax.grad(loss)(p)))
for _ in range(30):
    parameters = step(parameters)
print(f"loss {loss(parameters):.3f}")
