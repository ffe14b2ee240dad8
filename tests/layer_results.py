"""What a single layer makes of a batch on a backend: its output, and all gradients."""

import numpy as np

from fastconv.backends.selection import load_module
from fastconv.layers import Flatten
from fastconv.network import Sequential
from fastconv.plans.plan_builder import Purpose, Source, build_plan

OF_LOSS = "mean_squared_error"


def network_of(*layers, input_shape, seed=3):
    """A float64 network that ends in a vector, with parameters that are all different."""
    network = Sequential([*layers, Flatten()], input_shape=input_shape, dtype="float64")
    generator = np.random.default_rng(seed)
    for array in network.named_arrays().values():
        array += 0.3 * generator.standard_normal(array.shape)
    return network


def results_of(backend, network, x, target, seed=0):
    """y, the gradient of x, and those of the parameters, of the mean squared error, in float64."""
    source = Source(len(x), "float64")
    purpose = Purpose(True, True, OF_LOSS, input_gradient=True)
    plan = build_plan(network, len(x), purpose, source, seed)
    gradients = np.zeros(network.parameters.size)
    images = x.reshape(len(x), *((1, 1) if x.ndim == 2 else ()), *x.shape[1:])
    shared = {
        "images": np.ascontiguousarray(images), "targets": np.ascontiguousarray(target),
        "parameters": network.parameters.copy(), "state": network.state.copy(),
        "gradients": gradients,
    }  # fmt: skip
    runner = load_module(backend, "run").Runner(plan, shared)
    runner.run(np.arange(len(x), dtype=np.int64)[None])
    # Another plan has no memory of its results taken for something else.
    scores = runner.buffer("scores").copy()
    dx = runner.buffer("input.gradient").copy().reshape(x.shape)
    return scores, dx, network.gradient_views(gradients)


def results_of_torch(function, x, target, **parameters):
    """The same by PyTorch: ``function(x, **parameters)``, images NCHW."""
    import torch

    given = torch.tensor(np.ascontiguousarray(x), requires_grad=True)
    p = {name: torch.tensor(a.copy(), requires_grad=True) for name, a in parameters.items()}
    images = given.permute(0, 3, 1, 2) if x.ndim == 4 else given
    y = function(images, **p)
    y = (y.permute(0, 2, 3, 1) if y.ndim == 4 else y).reshape(len(x), -1)
    torch.nn.functional.mse_loss(y, torch.tensor(target)).backward()
    return y.detach().numpy(), given.grad.numpy(), {n: a.grad.numpy() for n, a in p.items()}


def assert_layer(backend, layer, function, x, names=()):
    """Check a layer's output and gradients against PyTorch's."""
    network = network_of(layer, input_shape=x.shape[1:])
    target = np.random.default_rng(5).standard_normal((len(x), *network.output_shape))
    own = {name: network[f"{layer.kind}_1.{name}"] for name in names}
    y, dx, gradients = results_of(backend, network, x, target)
    wanted_y, wanted_dx, wanted = results_of_torch(function, x, target, **own)
    np.testing.assert_allclose(y, wanted_y, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(dx, wanted_dx, rtol=1e-9, atol=1e-12)
    assert {name.partition(".")[2] for name in gradients} == set(names)
    for name in names:
        found = gradients[f"{layer.kind}_1.{name}"]
        np.testing.assert_allclose(found, wanted[name], rtol=1e-9, atol=1e-12, err_msg=name)
