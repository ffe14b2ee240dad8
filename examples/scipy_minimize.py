"""A network trained by SciPy's L-BFGS: the whole training set in every step, and a penalty."""

import numpy as np
from scipy.optimize import minimize

import fastconv
from fastconv.data import load
from fastconv.layers import Dense, Flatten, Tanh

digits = load("digits")
x, y = digits.training.images / 255.0, digits.training.labels
layers = [Flatten(), Dense(16), Tanh(), Dense(10)]
network = fastconv.Sequential(layers, input_shape=(8, 8, 1), dtype="float64")


def penalised(theta):
    loss, gradient = network.value_and_gradient(theta, x, y)
    return loss + 1e-4 * theta @ theta, gradient + 2e-4 * theta


start = network.parameters.copy()
found = minimize(penalised, start, jac=True, method="L-BFGS-B", options={"maxiter": 60})
network.parameters[...] = found.x
right = network(digits.test.images / 255.0).argmax(axis=1) == digits.test.labels
print(f"loss {found.fun:.3f} after {found.nit} iterations, test accuracy {np.mean(right):.3f}")
