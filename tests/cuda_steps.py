"""Steps of small plans with the CUDA backend, whose device the host stands in for."""

import numpy as np

from fastconv.backends.cupy import run
from fastconv.backends.cupy.fusion import FusedCall
from fastconv.plans.operation import OptimizerSpec
from fastconv.plans.plan_builder import Purpose, Source, build_plan
from fastconv.preprocessing import Preprocessing


def made_plan(network, batch=5, preprocessing="scale", *, trains=True):
    size = network.parameters.size
    update = OptimizerSpec("sgd", size, size, size) if trains else None
    purpose = Purpose(trains, trains, "softmax_cross_entropy", update)
    return build_plan(network, batch, purpose, Source(20, "uint8", Preprocessing(preprocessing)))


def stepped(plan, network, precision="float32"):
    """The statistics, gradients and parameters after three steps; images are 9x8x2."""
    rng = np.random.default_rng(3)
    arrays = {"parameters": network.parameters.copy(), "state": network.state.copy()}
    arrays["gradients"] = np.zeros_like(network.parameters)
    arrays["images"] = rng.integers(0, 256, (20, 9, 8, 2), np.uint8)
    arrays["labels"] = rng.integers(0, 3, 20)
    arrays["factor"] = np.array([1 / 255])
    order = np.arange(3 * plan.batch).reshape(3, -1) % 20
    statistics = run.Runner(plan, arrays, precision=precision).run(order, np.full(3, 0.1))
    return statistics, arrays["gradients"], arrays["parameters"]


def unfused(plan):
    """Every call of a plan by itself, in place of what fusion makes of them."""
    return [FusedCall(call, (n,), None, call.arguments) for n, call in enumerate(plan.calls)]
