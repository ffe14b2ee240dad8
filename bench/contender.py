"""One contender in a process of its own: ``python bench/contender.py WHO RECIPE BATCH THREADS``.

It gets ready, writes a line of JSON with the names of its variants, and then answers every line
``VARIANT STEPS`` with the seconds that so many training steps took. So several contenders take
turns on one machine without sharing threads, and the memory of each is its own.

Each framework is set as its users would set it for speed: the same number of threads, ready tensors
in memory, no gradient for the images.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable

from workload import Workload

Step = Callable[[int], None]
"""Makes so many training steps and returns when they are done."""

READY_BATCHES = 16


def fastconv(
    workload: Workload, backend: str, threads: int, precision: str = "float32"
) -> dict[str, Step]:
    """Whole steps from uint8 images: gathering and preprocessing count."""
    from fastconv.execution.config import ExecutionConfig
    from fastconv.runs.experiment import prepare

    config = ExecutionConfig(backend, threads, precision)
    experiment = prepare(workload.recipe, dataset=workload.dataset(), config=config)
    trainer = experiment.trainer

    def run(steps: int) -> None:
        while steps > 0:
            now = min(steps, trainer.steps_left_in_epoch())
            trainer.train(now)
            steps -= now

    return {"fastconv": run}


def pytorch(workload: Workload, threads: int, precision: str = "float32") -> dict[str, Step]:
    """Eager steps in both memory formats, the update by one fused kernel; bf16 by autocast."""
    import torch
    from pytorch_network import network_of, optimizer_of
    from torch import nn

    torch.set_num_threads(threads)
    images = workload.images()
    x, labels = workload.batches(images, READY_BATCHES)

    def variant(memory_format: torch.memory_format, fused: bool) -> Step:
        ready = [
            torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous(memory_format=memory_format)
            for batch in x
        ]
        targets = [torch.from_numpy(each) for each in labels]
        model = network_of(workload).to(memory_format=memory_format)
        update = optimizer_of(workload, model.parameters(), fused=fused)
        loss_of = nn.CrossEntropyLoss()

        def run(steps: int) -> None:
            for number in range(steps):
                update.zero_grad(set_to_none=True)
                with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                    loss = loss_of(
                        model(ready[number % READY_BATCHES]), targets[number % READY_BATCHES]
                    )
                loss.backward()
                update.step()

        return run

    name = "PyTorch" if precision == "float32" else f"PyTorch {precision}"
    return {
        f"{name} {layout}{update}": variant(memory_format, fused)
        for layout, memory_format in (
            ("NCHW", torch.contiguous_format), ("channels_last", torch.channels_last),
        )
        for update, fused in (("", False), (", fused update", True))
    }  # fmt: skip


def jax(workload: Workload, threads: int) -> dict[str, Step]:
    """One jitted call for each step, and one jitted scan over 16 steps."""
    flags = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:threads])
    import jax.numpy as jnp
    import numpy as np
    from jax import grad, jit, lax, nn, random, tree

    images = workload.images()
    ready, labels = (jnp.asarray(each) for each in workload.batches(images, READY_BATCHES))
    optimizer = workload.recipe.optimizer
    parameters: list[tuple] = []
    h, w, c = workload.shape
    key = random.key(0)
    for kind, own in workload.layers:
        if kind == "conv2d":
            k, stride = own["kernel"], own.get("stride", 1)
            shape = (k, k, c, own["filters"])
            h, w, c = (h - k) // stride + 1, (w - k) // stride + 1, own["filters"]
        elif kind == "max_pool2d":
            h, w = h // own["kernel"], w // own["kernel"]
            continue
        elif kind == "flatten":
            h, w, c = 1, 1, h * w * c
            continue
        elif kind == "dense":
            shape, c = (c, own["units"]), own["units"]
        else:
            continue
        std = (2 / np.prod(shape[:-1])) ** 0.5
        parameters.append((random.normal(key, shape) * std, jnp.zeros(shape[-1])))

    def loss_of(parameters: list[tuple], x, label):
        remaining = iter(parameters)
        for kind, own in workload.layers:
            if kind == "conv2d":
                weight, bias = next(remaining)
                stride = (own.get("stride", 1),) * 2
                numbers = ("NHWC", "HWIO", "NHWC")
                x = lax.conv_general_dilated(x, weight, stride, "VALID", dimension_numbers=numbers)
                x = x + bias
            elif kind == "leaky_relu":
                x = nn.leaky_relu(x, own["alpha"])
            elif kind == "relu":
                x = nn.relu(x)
            elif kind == "max_pool2d":
                size = (1, own["kernel"], own["kernel"], 1)
                x = lax.reduce_window(x, -jnp.inf, lax.max, size, size, "VALID")
            elif kind == "flatten":
                x = x.reshape(len(x), -1)
            else:
                weight, bias = next(remaining)
                x = x @ weight + bias
        return -jnp.mean(jnp.take_along_axis(nn.log_softmax(x), label[:, None], axis=1))

    zeros = [(jnp.zeros_like(w), jnp.zeros_like(b)) for w, b in parameters]
    state = (parameters, zeros, zeros, 0)

    def step(state, batch):
        parameters, m, v, count = state
        gradients = grad(loss_of)(parameters, *batch)
        lr = optimizer.lr

        def each(function, *trees):
            return [
                tuple(function(*leaves) for leaves in zip(*pairs, strict=True))
                for pairs in zip(*trees, strict=True)
            ]

        if optimizer.kind == "adam":
            count = count + 1
            m = each(lambda m, g: 0.9 * m + 0.1 * g, m, gradients)
            v = each(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradients)
            parameters = each(
                lambda w, m, v: w - lr * (m / (1 - 0.9**count))
                / (jnp.sqrt(v / (1 - 0.999**count)) + 1e-8),
                parameters, m, v,
            )  # fmt: skip
        else:
            parameters = each(lambda w, g: w - lr * g, parameters, gradients)
        return (parameters, m, v, count), None

    one = jit(lambda state, x, label: step(state, (x, label))[0], donate_argnums=0)
    many = jit(lambda state, x, label: lax.scan(step, state, (x, label))[0], donate_argnums=0)

    def copied():
        return tree.map(jnp.array, state)

    def call_by_call() -> Step:
        held = [copied()]

        def run(steps: int) -> None:
            for number in range(steps):
                held[0] = one(
                    held[0], ready[number % READY_BATCHES], labels[number % READY_BATCHES]
                )
            held[0][0][0][0].block_until_ready()

        return run

    def scanned() -> Step:
        held = [copied()]

        def run(steps: int) -> None:
            # So many steps that whole scans make them; fewer are one short scan.
            length = min(steps, READY_BATCHES)
            for _ in range(steps // length):
                held[0] = many(held[0], ready[:length], labels[:length])
            held[0][0][0][0].block_until_ready()

        return run

    return {"JAX jit": call_by_call(), "JAX scan": scanned()}


def keras(workload: Workload, threads: int) -> dict[str, Step]:
    """train_on_batch on the JAX backend of Keras."""
    os.environ["KERAS_BACKEND"] = "jax"
    os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:threads])
    import keras as k

    layers = [k.layers.Input(workload.shape)]
    for kind, own in workload.layers:
        if kind == "conv2d":
            layers.append(k.layers.Conv2D(own["filters"], own["kernel"], own.get("stride", 1)))
        elif kind == "leaky_relu":
            layers.append(k.layers.LeakyReLU(own["alpha"]))
        elif kind == "relu":
            layers.append(k.layers.ReLU())
        elif kind == "max_pool2d":
            layers.append(k.layers.MaxPool2D(own["kernel"]))
        elif kind == "flatten":
            layers.append(k.layers.Flatten())
        else:
            layers.append(k.layers.Dense(own["units"]))
    optimizer = workload.recipe.optimizer
    update = k.optimizers.Adam if optimizer.kind == "adam" else k.optimizers.SGD
    model = k.Sequential(layers)
    model.compile(update(optimizer.lr), k.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, labels = workload.batches(workload.images(), READY_BATCHES)

    def run(steps: int) -> None:
        for number in range(steps):
            model.train_on_batch(x[number % READY_BATCHES], labels[number % READY_BATCHES])

    return {"Keras 3 (JAX)": run}


def sgemm(threads: int) -> dict[str, Step]:
    """Products of 2048 x 2048 matrices, one for each step."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    a = np.random.default_rng(0).random((2048, 2048), np.float32)
    out = np.empty_like(a)

    def run(steps: int) -> None:
        with threadpool_limits(threads):
            for _ in range(steps):
                np.matmul(a, a, out=out)

    return {"SGEMM 2048": run}


def main() -> None:
    """Get ready, then answer."""
    who, recipe, batch, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    workload = Workload.of(recipe, batch)
    precision = "bf16" if who.endswith("-bf16") else "float32"
    who = who.removesuffix("-bf16")
    if who.startswith("fastconv-"):
        variants = fastconv(workload, who.removeprefix("fastconv-"), threads, precision)
    elif who == "sgemm":
        variants = sgemm(threads)
    elif who == "pytorch":
        variants = pytorch(workload, threads, precision)
    else:
        variants = {"jax": jax, "keras": keras}[who](workload, threads)
    answer(variants)


def answer(variants: dict[str, Step]) -> None:
    """Say which variants there are, then run one for each line."""
    print(json.dumps(list(variants)), flush=True)
    for line in sys.stdin:
        name, _, steps = line.strip().rpartition(" ")
        if name == "memory":
            print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, flush=True)
            continue
        start = time.perf_counter()
        variants[name](int(steps))
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
