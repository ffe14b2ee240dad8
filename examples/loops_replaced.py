"""A convolution as courses write it, in loops, and the one call that takes their place."""

import time

import numpy as np

import fastconv


def convolve(x, w, b):
    """Images (N, C, H, W) and filters (F, C, K, K) in loops over all outputs."""
    images, _, height, width = x.shape
    filters, _, k, _ = w.shape
    y = np.zeros((images, filters, height - k + 1, width - k + 1))
    for n in range(images):
        for f in range(filters):
            for i in range(y.shape[2]):
                for j in range(y.shape[3]):
                    y[n, f, i, j] = np.sum(x[n, :, i : i + k, j : j + k] * w[f]) + b[f]
    return y


def timed(function, *arrays):
    """What a function returns, and the seconds that it took."""
    start = time.perf_counter()
    result = function(*arrays)
    return result, time.perf_counter() - start


draw = np.random.default_rng(0)
x, w, b = draw.normal(size=(4, 3, 32, 32)), draw.normal(size=(8, 3, 3, 3)), draw.normal(size=8)
by_loops, slow = timed(convolve, x, w, b)
fastconv.conv2d(x, w, b)  # the first call loads the backend
by_fastconv, fast = timed(fastconv.conv2d, x, w, b)

# The same arrays go in, in float64 as before, and the same array comes out.
print(f"largest difference: {np.abs(by_fastconv - by_loops).max():.0e}")
print(f"loops {1e3 * slow:.0f} ms, fastconv {1e3 * fast:.2f} ms: {slow / fast:.0f} times faster")
