"""Plans: sharing memory between layers changes nothing of what a network computes."""

import numpy as np
import pytest

import fastconv
from fastconv.backends.selection import load_module
from fastconv.layers import (
    ELU,
    SELU,
    AvgPool2D,
    BatchNorm,
    Conv2D,
    ConvTranspose2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    LeakyReLU,
    LogSoftmax,
    MaxPool2D,
    ReLU,
    Sigmoid,
    Softmax,
    Softplus,
    Tanh,
)
from fastconv.network import Sequential
from fastconv.plans.plan_builder import Purpose, Source, build_plan
from fastconv.preprocessing import Preprocessing

SEED = 5
BATCH = 6
SAMPLES = 9
IMAGE = (6, 7, 2)

CROSS_ENTROPY, NLL, SQUARES = "softmax_cross_entropy", "nll", "mean_squared_error"

# Every pair of neighbours that decides where an array may lie: what is overwritten, what is kept.
ARCHITECTURES = {
    "dense alone": ([Flatten(), Dense(4)], IMAGE, CROSS_ENTROPY),
    "vectors": ([Dense(5), Tanh(), Dense(4)], (8,), CROSS_ENTROPY),
    "convolution first": ([Conv2D(3), ReLU(), Flatten(), Dense(4)], IMAGE, CROSS_ENTROPY),
    "activation first": ([ReLU(), Conv2D(3), Flatten(), Dense(4)], IMAGE, CROSS_ENTROPY),
    "two activations first": ([Tanh(), ReLU(), Flatten(), Dense(4)], IMAGE, CROSS_ENTROPY),
    "pooling first": ([MaxPool2D(2), Conv2D(3, 2), Flatten(), Dense(4)], IMAGE, CROSS_ENTROPY),
    "average pooling first": ([AvgPool2D(2), Flatten(), Dense(4)], IMAGE, CROSS_ENTROPY),
    "dropout first": ([Dropout(0.3), Conv2D(3), Flatten(), Dense(4)], IMAGE, CROSS_ENTROPY),
    "batch norm first": ([BatchNorm(), Conv2D(3), Flatten(), Dense(4)], IMAGE, CROSS_ENTROPY),
    "transposed convolution first": (
        [ConvTranspose2D(3, 3, stride=2, output_padding=1), ReLU(), Flatten(), Dense(4)],
        IMAGE,
        CROSS_ENTROPY,
    ),
    "transposed convolution inside": (
        [Conv2D(4, 3, stride=2), Tanh(), ConvTranspose2D(3, (3, 2), groups=1), ReLU(),
         GlobalAvgPool2D(), Dense(4)],
        IMAGE,
        CROSS_ENTROPY,
    ),
    "activation after activation": (
        [Conv2D(3), Tanh(), Sigmoid(), ELU(0.7), Softplus(), Flatten(), Dense(4)],
        IMAGE,
        CROSS_ENTROPY,
    ),
    "activation after dense": ([Flatten(), Dense(5), SELU(), Dense(4), LeakyReLU(0.2)],
                               IMAGE, CROSS_ENTROPY),
    "dropout between": (
        [Conv2D(3), ReLU(), Dropout(0.4), Flatten(), Dense(8), Dropout(0.2), Tanh(), Dense(4)],
        IMAGE,
        CROSS_ENTROPY,
    ),
    "dropout after activations": (
        [Conv2D(3), Tanh(), Dropout(0.4), Flatten(), Dense(6), Sigmoid(), Dropout(0.3), Dense(4)],
        IMAGE,
        CROSS_ENTROPY,
    ),
    "dropout after dropout": (
        [Conv2D(3), Dropout(0.4), Dropout(0.3), ReLU(), Dropout(0.2), Flatten(), Dense(4)],
        IMAGE,
        CROSS_ENTROPY,
    ),
    "batch norm": (
        [Conv2D(3), BatchNorm(), ReLU(), Conv2D(4, 2), BatchNorm(0.3, 1e-3), Flatten(), Dense(5),
         BatchNorm(), Tanh(), Dense(4)],
        IMAGE,
        CROSS_ENTROPY,
    ),
    "activation before batch norm": (
        [Conv2D(3), Tanh(), BatchNorm(), Sigmoid(), BatchNorm(), Flatten(), Dense(4)],
        IMAGE,
        CROSS_ENTROPY,
    ),
    "pooling after pooling": (
        [Conv2D(3, 2), MaxPool2D(2, 1), AvgPool2D(2, 1), MaxPool2D(2, 1), ReLU(), Flatten(),
         Dense(4)],
        IMAGE,
        CROSS_ENTROPY,
    ),
    "activation after pooling": (
        [Conv2D(3), MaxPool2D(2), Tanh(), AvgPool2D(2, 1, 1), Sigmoid(), Flatten(), Dense(4)],
        IMAGE,
        CROSS_ENTROPY,
    ),
    "pooling with padding": (
        [Conv2D(3, padding="same"), MaxPool2D(3, 2, 1, ceil_mode=True),
         AvgPool2D(3, 2, 1, count_include_pad=False), Flatten(), Dense(4)],
        IMAGE,
        CROSS_ENTROPY,
    ),
    "global average pool": (
        [Conv2D(3, padding=1), ReLU(), Conv2D(4, 1), GlobalAvgPool2D()],
        IMAGE,
        CROSS_ENTROPY,
    ),
    "flatten twice": ([Conv2D(3), Flatten(), Flatten(), ReLU(), Dense(4)], IMAGE, CROSS_ENTROPY),
    "convolutions of all kinds": (
        [Conv2D(4, 3, padding=2, dilation=2), Conv2D(6, 3, groups=2, bias=False),
         Conv2D(6, (2, 1), stride=(1, 2), groups=6), Flatten(), Dense(4, bias=False)],
        IMAGE,
        CROSS_ENTROPY,
    ),
    "log-softmax and nll": ([Conv2D(3), ReLU(), Flatten(), Dense(4), LogSoftmax()], IMAGE, NLL),
    "softmax and squares": ([Flatten(), Dense(5), Tanh(), Dense(4), Softmax()], IMAGE, SQUARES),
    "squares": ([Conv2D(3), Sigmoid(), Flatten(), Dense(2)], IMAGE, SQUARES),
    "softmax inside": ([Flatten(), Dense(5), Softmax(), Dense(4), Softmax()], IMAGE, SQUARES),
}  # fmt: skip

IDS = list(ARCHITECTURES)


def make(name):
    """The network with weights, biases and running statistics that are all different from 0."""
    layers, shape, loss = ARCHITECTURES[name]
    network = Sequential(layers, shape, seed=1, dtype="float64")
    generator = np.random.default_rng(2)
    for key, array in network.named_arrays().items():
        if not key.endswith("weight"):
            array[...] = generator.uniform(0.5, 1.5, array.shape)
    return network, loss


def make_data(network, loss):
    generator = np.random.default_rng(3)
    shape = network.input_shape
    images = generator.normal(size=(SAMPLES, *((1, 1) if len(shape) == 1 else ()), *shape))
    outputs = network.output_shape[0]
    labels = generator.integers(0, outputs, SAMPLES)
    return images, generator.normal(size=(SAMPLES, outputs)) if loss == SQUARES else labels


def run_plan(network, loss, images, labels, rows, *, training, backward, batch=BATCH, step=0):
    """Run the plan over the rows of an order; return what can be read off afterwards."""
    source = Source(len(images), images.dtype.name)
    plan = build_plan(network, batch, Purpose(training, backward, loss), source, SEED)
    arrays = {
        "images": images,
        "targets" if loss == SQUARES else "labels": labels,
        "parameters": network.parameters,
        "state": network.state,
        "gradients": np.full(network.parameters.size, np.nan),
    }
    runner = load_module("numpy", "run").Runner(plan, arrays)
    runner.run(np.asarray(rows), first_step=step)
    return plan, runner, network.gradient_views(arrays["gradients"])


def layer_forward(layer, x, p, stream, step, training):
    """One layer by its public function: the output, and the way back."""
    kind, nhwc = layer.kind, {"layout": "NHWC"}
    if kind in ("conv2d", "conv_transpose2d"):
        options = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation,
                   "groups": layer.groups, **nhwc}  # fmt: skip
        if kind == "conv_transpose2d":
            options["output_padding"] = layer.output_padding
        y = getattr(fastconv, kind)(x, p["weight"], p.get("bias"), **options)
        backward = getattr(fastconv, f"{kind}_backward")

        def back(dy):
            dx, dw, db = backward(dy, x, p["weight"], **options)
            return dx, {"weight": dw, "bias": db}

        return y, back
    if kind == "dense":
        y = fastconv.dense(x, p["weight"], p.get("bias"))

        def back(dy):
            dx, dw, db = fastconv.dense_backward(dy, x, p["weight"])
            return dx, {"weight": dw, "bias": db}

        return y, back
    if kind == "flatten":
        return x.reshape(len(x), -1), lambda dy: (dy.reshape(x.shape), {})
    if kind == "max_pool2d":
        options = {"stride": layer.stride, "padding": layer.padding, "ceil_mode": layer.ceil_mode}
        y, where = fastconv.max_pool2d(x, layer.kernel, **options, **nhwc)
        return y, lambda dy: (
            fastconv.max_pool2d_backward(dy, where, x.shape, layer.kernel, **options, **nhwc), {}
        )  # fmt: skip
    if kind == "avg_pool2d":
        options = {"stride": layer.stride, "padding": layer.padding, "ceil_mode": layer.ceil_mode,
                   "count_include_pad": layer.count_include_pad}  # fmt: skip
        y = fastconv.avg_pool2d(x, layer.kernel, **options, **nhwc)
        return y, lambda dy: (
            fastconv.avg_pool2d_backward(dy, x.shape, layer.kernel, **options, **nhwc), {}
        )  # fmt: skip
    if kind == "global_avg_pool2d":
        y = fastconv.global_avg_pool2d(x, **nhwc)
        return y, lambda dy: (fastconv.global_avg_pool2d_backward(dy, x.shape, **nhwc), {})
    if kind == "batch_norm":
        if not training:
            arrays = p["gamma"], p["beta"], p["running_mean"], p["running_variance"]
            return fastconv.batch_norm_inference(x, *arrays, epsilon=layer.epsilon, **nhwc), None
        y, mean, inverse = fastconv.batch_norm(
            x, p["gamma"], p["beta"], p["running_mean"], p["running_variance"],
            momentum=layer.momentum, epsilon=layer.epsilon, **nhwc,
        )  # fmt: skip

        def back(dy):
            dx, dg, db = fastconv.batch_norm_backward(dy, x, p["gamma"], mean, inverse, **nhwc)
            return dx, {"gamma": dg, "beta": db}

        return y, back
    if kind == "dropout":
        if not training:
            return x, None
        y, mask = fastconv.dropout(x, layer.probability, seed=SEED, step=step, stream=stream)
        return y, lambda dy: (fastconv.dropout_backward(dy, mask, layer.probability), {})
    options = [layer.alpha] if hasattr(layer, "alpha") else []
    y = getattr(fastconv, kind)(x, *options)
    return y, lambda dy: (getattr(fastconv, f"{kind}_backward")(dy, y, *options), {})


def step_by_step(network, loss, x, labels, *, training, step=0):
    """Losses, scores and gradients by public functions, with fresh memory for every array."""
    x = x.reshape(len(x), *network.input_shape)
    way_back, stream = [], 0
    for number, (name, layer) in enumerate(zip(network.names, network.layers, strict=True)):
        p = {place.parameter.name: network[key] for key, place in network.places.items()
             if place.layer == number}  # fmt: skip
        stream += layer.kind == "dropout"
        x, back = layer_forward(layer, x, p, stream, step, training)
        way_back.append((name, back))
    if loss == SQUARES:
        losses = fastconv.mean_squared_error(x, labels)
        dy = fastconv.mean_squared_error_backward(x, labels)
    elif loss == NLL:
        losses = fastconv.nll(x, labels)
        dy = fastconv.nll_backward(x, labels)
    else:
        losses, probabilities = fastconv.softmax_cross_entropy(x, labels)
        dy = fastconv.softmax_cross_entropy_backward(probabilities, labels)
    gradients = {}
    for name, back in reversed(way_back if training else []):
        dy, found = back(dy)
        gradients.update({f"{name}.{key}": gradient for key, gradient in found.items()})
    # The public functions give a bias gradient even where there is no bias.
    gradients = {key: gradient for key, gradient in gradients.items() if key in network.places}
    return losses, x, gradients


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", IDS)
def test_a_training_step_equals_the_public_functions_one_by_one(name):
    network, loss = make(name)
    twin, _ = make(name)
    images, labels = make_data(network, loss)
    order = np.array([7, 0, 3, 3, 8, 1])
    _, runner, gradients = run_plan(
        network, loss, images, labels, [order], training=True, backward=True, step=11
    )
    losses, scores, expected = step_by_step(
        twin, loss, images[order], labels[order], training=True, step=11
    )
    close(runner.buffer("scores"), scores)
    close(runner.buffer("losses"), losses)
    assert gradients.keys() == expected.keys()
    for key, gradient in expected.items():
        close(gradients[key], gradient)
    close(network.state, twin.state)  # running statistics
    np.testing.assert_array_equal(network.parameters, twin.parameters)


@pytest.mark.parametrize("name", IDS)
def test_a_second_step_is_not_disturbed_by_the_first(name):
    network, loss = make(name)
    twin, _ = make(name)
    images, labels = make_data(network, loss)
    orders = np.array([[7, 0, 3, 3, 8, 1], [2, 4, 5, 6, 1, 8]])
    _, runner, gradients = run_plan(
        network, loss, images, labels, orders, training=True, backward=True
    )
    total = 0
    for step, order in enumerate(orders):
        losses, _, expected = step_by_step(
            twin, loss, images[order], labels[order], training=True, step=step
        )
        total += losses.sum()
    for key, gradient in expected.items():
        close(gradients[key], gradient)
    close(network.state, twin.state)
    statistics = runner.buffer("statistics")
    assert statistics[0] == pytest.approx(total, rel=1e-12)
    assert statistics[2] == 2 * BATCH
    assert runner.buffer("step")[0] == 2


@pytest.mark.parametrize("name", IDS)
def test_inference_equals_the_public_functions_one_by_one(name):
    network, loss = make(name)
    images, labels = make_data(network, loss)
    order = np.array([7, 0, 3, 3, 8, 1])
    before = network.state.copy(), network.parameters.copy(), images.copy()
    _, runner, _ = run_plan(network, loss, images, labels, [order], training=False, backward=False)
    losses, scores, _ = step_by_step(network, loss, images[order], labels[order], training=False)
    close(runner.buffer("scores"), scores)
    close(runner.buffer("losses"), losses)
    # Inference changes nothing: not the running statistics, not the data set.
    np.testing.assert_array_equal(network.state, before[0])
    np.testing.assert_array_equal(network.parameters, before[1])
    np.testing.assert_array_equal(images, before[2])


@pytest.mark.parametrize("name", IDS)
def test_a_training_forward_pass_without_gradients_is_the_same(name):
    network, loss = make(name)
    images, labels = make_data(network, loss)
    order = np.array([7, 0, 3, 3, 8, 1])
    losses = []
    for backward in (False, True):
        _, runner, _ = run_plan(
            network, loss, images, labels, [order], training=True, backward=backward, step=4
        )
        losses.append(runner.buffer("losses").copy())
    np.testing.assert_array_equal(losses[0], losses[1])


@pytest.mark.parametrize("name", [n for n in IDS if ARCHITECTURES[n][2] != SQUARES])
def test_a_plan_counts_the_samples_that_are_right(name):
    network, loss = make(name)
    images, labels = make_data(network, loss)
    order = np.arange(BATCH)
    _, runner, _ = run_plan(network, loss, images, labels, [order], training=False, backward=False)
    scores = step_by_step(network, loss, images[order], labels[order], training=False)[1]
    assert runner.buffer("statistics")[1] == (scores.argmax(axis=1) == labels[order]).sum()


# What is not computed, and what is not allocated.


def kernels_of(plan):
    return [call.kernel for call in plan.calls]


def plan_of(layers, shape=(8, 8, 2), batch=4, training=True, loss=CROSS_ENTROPY):
    network = Sequential(layers, shape)
    return build_plan(network, batch, Purpose(training, training, loss), Source(100))


def test_the_first_layer_with_parameters_gets_no_data_gradient():
    layers = [Conv2D(3), ReLU(), Conv2D(4), Flatten(), Dense(5)]
    kernels = kernels_of(plan_of(layers))
    assert kernels.count("conv.conv2d_backward_weight") == 2
    assert kernels.count("conv.conv2d_backward_data") == 1
    assert kernels.count("dense.dense_backward_data") == 1


def test_nothing_goes_back_through_layers_in_front_of_the_first_parameters():
    kernels = kernels_of(plan_of([Tanh(), MaxPool2D(2), Dropout(0.1), Flatten(), Dense(5)]))
    backward = [kernel for kernel in kernels if kernel.endswith(("_backward", "_backward_data"))]
    assert backward == ["loss.softmax_cross_entropy_backward"]


def test_a_network_without_parameters_needs_no_gradients():
    kernels = kernels_of(plan_of([MaxPool2D(2), GlobalAvgPool2D()]))
    assert not any("backward" in kernel for kernel in kernels if not kernel.startswith("loss."))


def test_dropout_costs_nothing_in_inference():
    layers = [Conv2D(3), Dropout(0.5), Flatten(), Dense(5)]
    with_dropout = plan_of(layers, training=False)
    without = plan_of([Conv2D(3), Flatten(), Dense(5)], training=False)
    assert kernels_of(with_dropout) == kernels_of(without)


def test_flatten_costs_nothing_in_training():
    layers = [Conv2D(3), Flatten(), Flatten(), Dense(5)]
    assert kernels_of(plan_of(layers)) == kernels_of(plan_of([Conv2D(3), Flatten(), Dense(5)]))


def memory_of(plan):
    """Bytes of what a backend allocates for itself."""
    return sum(
        int(np.prod(buffer.shape, dtype=np.int64)) * np.dtype(buffer.dtype).itemsize
        for buffer in plan.buffers
        if buffer.parent is None and not buffer.shared
    )


def test_a_deeper_network_takes_no_more_memory_in_inference():
    def layers(depth):
        return [layer for _ in range(depth) for layer in (Conv2D(8, padding=1), ReLU())] + [
            Flatten(),
            Dense(5),
        ]

    shallow, deep = (plan_of(layers(depth), training=False) for depth in (2, 9))
    assert memory_of(deep) == memory_of(shallow)
    # Two arrays of 8 channels in turn, the images, and little else.
    pixels = 4 * 8 * 8 * 4
    assert memory_of(deep) < 2 * 8 * pixels + 2 * pixels + 1000


def test_training_keeps_one_array_a_convolution_and_two_for_the_gradients():
    depth, pixels = 5, 4 * 8 * 8 * 4  # bytes of one channel
    layers = [layer for _ in range(depth) for layer in (Conv2D(8, padding=1), ReLU())]
    plan = plan_of([*layers, GlobalAvgPool2D(), Dense(5)])
    assert memory_of(plan) < (depth + 2) * 8 * pixels + 2 * pixels + 2000


def test_an_activation_lies_in_the_memory_of_what_it_is_applied_to():
    plan = plan_of([Conv2D(3), ReLU(), Flatten(), Dense(5)])
    relu = plan.buffers[plan.number_of("relu_1")]
    assert relu.parent == plan.number_of("conv2d_1")


def test_the_kernels_of_calls_are_the_backends_own_and_share_one_workspace():
    plan = plan_of([Conv2D(3), ReLU(), Flatten(), Dense(4)])
    kernels, _ = plan.kernels_of(plan.calls, "fastconv.backends.reference")
    assert [f"{kernel.__module__}.{kernel.__name__}" for kernel in kernels] == [
        f"fastconv.backends.reference.{call.kernel}" for call in plan.calls
    ]
    _, size = plan.kernels_of(plan.calls, "fastconv.backends.numpy")
    alone = [plan.kernels_of([call], "fastconv.backends.numpy")[1] for call in plan.calls]
    assert 0 == min(alone) < max(alone) == size
    assert plan.kernels_of([], "fastconv.backends.numpy") == ([], 0)


def test_a_runner_allocates_what_the_plan_says():
    network, loss = make("batch norm")
    images, labels = make_data(network, loss)
    plan, runner, _ = run_plan(
        network, loss, images, labels, [np.arange(BATCH)], training=True, backward=True
    )
    assert runner.memory_bytes == memory_of(plan)


def test_names_of_buffers_are_unique():
    for name in IDS:
        layers, shape, loss = ARCHITECTURES[name]
        for training in (True, False):
            plan = plan_of(layers, shape, training=training, loss=loss)
            names = [buffer.name for buffer in plan.buffers]
            assert len(set(names)) == len(names)
    with pytest.raises(KeyError):
        plan.number_of("nothing")


def test_views_lie_within_their_parents():
    for name in IDS:
        layers, shape, loss = ARCHITECTURES[name]
        for training in (True, False):
            plan = plan_of(layers, shape, training=training, loss=loss)
            for buffer in plan.buffers:
                if buffer.parent is not None:
                    parent = plan.buffers[buffer.parent]
                    room = int(np.prod(parent.shape))
                    assert buffer.offset + int(np.prod(buffer.shape)) <= room
                    assert buffer.dtype == parent.dtype


def test_each_dropout_draws_its_own_numbers():
    plan = plan_of([Dropout(0.5), Conv2D(2), Dropout(0.5), Flatten(), Dense(5)])
    streams = [c.spec.random.stream for c in plan.calls if c.kernel == "dropout.dropout_forward"]
    assert len(set(streams)) == 2
    assert 0 not in streams  # that of the augmentation


@pytest.mark.parametrize(("batch", "loss", "told"), [(0, NLL, "batch size is 0"), (2, "x", "'x'")])
def test_an_impossible_plan_is_refused(batch, loss, told):
    network = Sequential([Flatten(), Dense(3)], IMAGE)
    with pytest.raises(ValueError, match=told):
        build_plan(network, batch, Purpose(True, True, loss), Source(10))


def test_a_shared_array_of_another_shape_is_refused():
    network, loss = make("dense alone")
    images, labels = make_data(network, loss)
    plan = build_plan(network, 2, Purpose(False, False, loss), Source(SAMPLES, "float64"))
    arrays = {"images": images[:-1], "labels": labels, "parameters": network.parameters,
              "state": network.state}  # fmt: skip
    with pytest.raises(ValueError, match=r"'images' is float64 \(8, 6, 7, 2\).*\(9, 6, 7, 2\)"):
        load_module("numpy", "run").Runner(plan, arrays)


# The pixels on their way in.


@pytest.mark.parametrize(
    ("preprocessing", "expected"),
    [
        (Preprocessing("none"), [0.0, 51.0, 102.0, 255.0]),
        (Preprocessing("scale"), [0.0, 0.2, 0.4, 1.0]),
        (Preprocessing("min_max"), [0.0, 0.2, 0.4, 1.0]),
        (
            Preprocessing("standardize", mean=np.array([51.0]), std=np.array([102.0])),
            [-0.5, 0.0, 0.5, 2.0],
        ),
        (
            Preprocessing(
                "standardize", mean=np.array([0.0, 51, 2, 255]), std=np.array([1.0, 2, 10, 3])
            ),
            [0.0, 0.0, 10.0, 0.0],
        ),
    ],
    ids=["none", "scale", "min_max", "by channel", "by feature"],
)
def test_pixels_reach_the_first_layer_as_the_recipe_says(preprocessing, expected):
    images = np.array([0, 51, 102, 255], np.uint8).reshape(1, 2, 2, 1)
    network = Sequential([Flatten()], (2, 2, 1), dtype="float64")
    plan = build_plan(network, 1, Purpose(False, False, None), Source(1, "uint8", preprocessing))
    arrays = {"images": images, "parameters": network.parameters, "state": network.state,
              "factor": np.array([preprocessing.factor]), "mean": preprocessing.mean,
              "std": preprocessing.std}  # fmt: skip
    runner = load_module("numpy", "run").Runner(plan, arrays)
    runner.run(np.array([[0]]))
    np.testing.assert_allclose(runner.buffer("scores")[0], expected, atol=1e-15)


# What is not finite shows.


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", [n for n in IDS if "dropout" not in n and "pooling" not in n])
def test_a_nan_in_any_parameter_makes_the_loss_nan(name, training):
    network, loss = make(name)
    images, labels = make_data(network, loss)
    # State is read in inference alone.
    flat = {"parameters": network.parameters, "state": network.state}
    for key, place in network.places.items():
        if place.buffer == "state" and training:
            continue
        kept = {name: array.copy() for name, array in flat.items()}
        network[key].reshape(-1)[0] = np.nan
        _, runner, _ = run_plan(
            network, loss, images, labels, [np.arange(BATCH)], training=training, backward=training
        )
        assert not np.isfinite(runner.buffer("statistics")[0]), key
        for name, array in kept.items():
            flat[name][:] = array


@pytest.mark.parametrize("name", [n for n in IDS if "dropout" not in n])
def test_a_nan_in_the_data_makes_the_loss_nan(name):
    network, loss = make(name)
    images, labels = make_data(network, loss)
    images[2, 0, 0, 0] = np.nan
    for training in (True, False):
        _, runner, _ = run_plan(
            network, loss, images, labels, [np.arange(BATCH)], training=training, backward=training
        )
        assert not np.isfinite(runner.buffer("statistics")[0])
