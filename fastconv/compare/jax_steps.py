"""JAX's steps, from arrays that are ready: one jitted call for each, and one scan over sixteen."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastconv._extras import missing_extra

try:
    import jax
    import jax.numpy as jnp
    from jax import lax
except ModuleNotFoundError as fault:
    raise missing_extra("fastconv.compare", fault) from None

from fastconv.compare.setting import (
    LEARNING_RATE,
    MOMENTUM,
    POOLED,
    READY_BATCHES,
    Setting,
    Steps,
)


def variants(setting: Setting, threads: int) -> dict[str, Steps]:
    """Return what makes training steps, by how it does.

    Parameters
    ----------
    setting
        What is trained.
    threads
        Of the process, which had to choose them before JAX was imported.
    """
    return {"jit": _call_by_call(setting), "scan": _scanned(setting)}


def _parameters(setting: Setting) -> list[Any]:
    """Weights and biases of each layer: those that fastconv's network begins with."""
    network = setting.network()
    names = [f"conv2d_{number + 1}" for number in range(setting.depth)] + ["dense_1"]
    return [
        tuple(jnp.array(network[f"{name}.{kind}"]) for kind in ("weight", "bias")) for name in names
    ]


def _loss(parameters: list[Any], x: Any, labels: Any) -> Any:
    *convolutions, (weight, bias) = parameters
    for number, (filters, shifts) in enumerate(convolutions):
        numbers = ("NHWC", "HWIO", "NHWC")
        x = lax.conv_general_dilated(x, filters, (1, 1), "SAME", dimension_numbers=numbers)
        x = jax.nn.relu(x + shifts)
        if number < POOLED:
            window = (1, 2, 2, 1)
            x = lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")
    scores = x.mean(axis=(1, 2)) @ weight + bias
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(scores), labels[:, None], axis=1))


def _step(state: tuple[Any, Any], batch: tuple[Any, Any]) -> tuple[tuple[Any, Any], None]:
    parameters, velocity = state
    gradients = jax.grad(_loss)(parameters, *batch)
    velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradients)
    parameters = jax.tree.map(lambda p, v: p - LEARNING_RATE * v, parameters, velocity)
    return (parameters, velocity), None


def _start(setting: Setting) -> tuple[Any, Any]:
    parameters = _parameters(setting)
    return parameters, jax.tree.map(jnp.zeros_like, parameters)


def _call_by_call(setting: Setting) -> Steps:
    images, labels = map(jnp.asarray, setting.batches())
    held = [_start(setting)]
    ready = [(images[number], labels[number]) for number in range(READY_BATCHES)]
    one = jax.jit(lambda state, batch: _step(state, batch)[0], donate_argnums=0)

    def run(steps: int) -> None:
        for number in range(steps):
            held[0] = one(held[0], ready[number % READY_BATCHES])
        jax.block_until_ready(held[0])

    return run


def _scanned(setting: Setting) -> Steps:
    images, labels = map(jnp.asarray, setting.batches())
    held = [_start(setting)]

    @partial(jax.jit, donate_argnums=0)
    def many(state: Any, batches: Any) -> Any:
        return lax.scan(_step, state, batches)[0]

    def run(steps: int) -> None:
        # So many steps that whole scans make them; fewer are one short scan.
        length = min(steps, READY_BATCHES)
        batches = images[:length], labels[:length]
        for _ in range(steps // length):
            held[0] = many(held[0], batches)
        jax.block_until_ready(held[0])

    return run
