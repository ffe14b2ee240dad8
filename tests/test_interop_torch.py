"""The door to PyTorch: operators and layers beside PyTorch's own."""

import copy
import inspect

import numpy as np
import pytest
from optional_torch import functional as theirs
from optional_torch import needs_torch, torch

from fastconv.functional import conv

pytestmark = needs_torch

if torch is not None:
    from fastconv.interop import pytorch
    from fastconv.interop.pytorch import functional as ours
    from fastconv.interop.pytorch.tensors import array_of

    nn = torch.nn
    torch.set_num_threads(1)  # products this small gain nothing from more


def drawn(*shape, seed=0, last=False, dtype=np.float64):
    """A tensor away from the kinks of activations, in channels_last if asked for."""
    made = np.random.default_rng([seed, *shape]).normal(size=shape)
    tensor = torch.from_numpy(np.asarray(made + 0.05 * np.sign(made), dtype))
    return tensor.to(memory_format=torch.channels_last) if last and len(shape) == 4 else tensor


def classes(*shape):
    return torch.from_numpy(np.random.default_rng(3).integers(0, 3, shape))


def counts(n):
    """Weights of n classes."""
    return torch.linspace(0.5, 2.0, n, dtype=torch.float64)


IMAGES, SMALL = (2, 4, 7, 6), (2, 3, 4, 2)
# A call of a function of torch.nn.functional, and the shapes of what it has gradients of.
CALLS = {
    "conv2d": (
        lambda f, x, w, b: f.conv2d(x, w, b, (2, 1), (1, 2), (1, 2), 2),
        [IMAGES, (6, 2, 3, 2), (6,)],
    ),
    "conv2d, same": (lambda f, x, w: f.conv2d(x, w, padding="same"), [IMAGES, (3, 4, 4, 3)]),
    "conv2d, alone": (lambda f, x, w, b: f.conv2d(x, w, b), [(4, 7, 6), (3, 4, 3, 3), (3,)]),
    "conv_transpose2d": (
        lambda f, x, w, b: f.conv_transpose2d(x, w, b, (2, 3), 1, (1, 2), 2),
        [(2, 4, 4, 5), (4, 3, 3, 2), (6,)],
    ),
    "linear": (lambda f, x, w, b: f.linear(x, w, b), [(3, 5), (4, 5), (4,)]),
    "linear, three axes": (lambda f, x, w: f.linear(x, w), [(2, 3, 5), (4, 5)]),
    "max_pool2d": (lambda f, x: f.max_pool2d(x, 3, 2, 1), [IMAGES]),
    "max_pool2d, ceiling": (lambda f, x: f.max_pool2d(x, (2, 4), ceil_mode=True), [IMAGES]),
    "avg_pool2d": (lambda f, x: f.avg_pool2d(x, 3, 2, 1, True, False), [IMAGES]),
    "adaptive_avg_pool2d": (lambda f, x: f.adaptive_avg_pool2d(x, 1), [SMALL]),
    "adaptive_max_pool2d": (lambda f, x: f.adaptive_max_pool2d(x, 1), [SMALL]),
    "batch_norm": (
        lambda f, x, w, b: f.batch_norm(x, None, None, w, b, True), [(4, 3, 2, 5), (3,), (3,)]
    ),
    "batch_norm, rows": (lambda f, x: f.batch_norm(x, None, None, training=True), [(4, 3, 5)]),
    "batch_norm, inference": (
        lambda f, x, w, b: f.batch_norm(x, counts(3) - 1, counts(3), w, b),
        [(2, 3, 2, 5), (3,), (3,)],
    ),
    "layer_norm": (
        lambda f, x, w, b: f.layer_norm(x, (3, 4), w, b), [(2, 3, 4), (3, 4), (3, 4)]
    ),
    "group_norm": (lambda f, x, w, b: f.group_norm(x, 2, w, b), [IMAGES, (4,), (4,)]),
    "prelu": (lambda f, x, w: f.prelu(x, w), [SMALL, (3,)]),
    "interpolate": (
        lambda f, x: f.interpolate(x, scale_factor=(2, 3), mode="bilinear", align_corners=True),
        [SMALL],
    ),
    "interpolate, nearest": (lambda f, x: f.interpolate(x, scale_factor=2), [SMALL]),
    "pad": (lambda f, x: f.pad(x, (1, -1, 2, 0)), [IMAGES]),
    "pad, reflect": (lambda f, x: f.pad(x, (1, 2, 3, 0), "reflect"), [IMAGES]),
    "conv1d": (
        lambda f, x, w, b: f.conv1d(x, w, b, 2, 1, 2, 2), [(2, 4, 9), (6, 2, 3), (6,)]
    ),
    "conv1d, same": (lambda f, x, w: f.conv1d(x, w, padding="same"), [(2, 9), (3, 2, 4)]),
    "max_pool1d": (lambda f, x: f.max_pool1d(x, 3, 2, 1), [(2, 4, 9)]),
    "avg_pool1d": (lambda f, x: f.avg_pool1d(x, 3, 2, 1), [(2, 4, 9)]),
    "softmax": (lambda f, x: f.softmax(x, 1), [SMALL]),
    "log_softmax": (lambda f, x: f.log_softmax(x, -1), [(3, 4)]),
    "relu": (lambda f, x: f.relu(x), [SMALL]),
    "relu6": (lambda f, x: f.relu6(4 * x), [SMALL]),
    "leaky_relu": (lambda f, x: f.leaky_relu(x, 0.2), [SMALL]),
    "elu": (lambda f, x: f.elu(x, 0.7), [SMALL]),
    "selu": (lambda f, x: f.selu(x), [SMALL]),
    "sigmoid": (lambda f, x: f.sigmoid(x), [SMALL]),
    "tanh": (lambda f, x: f.tanh(x), [SMALL]),
    "softplus": (lambda f, x: f.softplus(x), [SMALL]),
    "softsign": (lambda f, x: f.softsign(x), [SMALL]),
    "gelu": (lambda f, x: f.gelu(x), [SMALL]),
    "gelu, tanh": (lambda f, x: f.gelu(x, approximate="tanh"), [SMALL]),
    "silu": (lambda f, x: f.silu(x), [SMALL]),
    "mish": (lambda f, x: f.mish(x), [SMALL]),
    "hardsigmoid": (lambda f, x: f.hardsigmoid(3 * x), [SMALL]),
    "hardswish": (lambda f, x: f.hardswish(3 * x), [SMALL]),
    "cross_entropy": (lambda f, x: f.cross_entropy(x, classes(5)), [(5, 3)]),
    "cross_entropy, weights": (
        lambda f, x: f.cross_entropy(
            x, classes(5), counts(3), ignore_index=1, label_smoothing=0.1
        ),
        [(5, 3)],
    ),
    "cross_entropy, pixels": (
        lambda f, x: f.cross_entropy(x, classes(2, 5), counts(3), reduction="none"), [(2, 3, 5)]
    ),
    "nll_loss": (lambda f, x: f.nll_loss(x, classes(5), counts(3), ignore_index=0), [(5, 3)]),
    "mse_loss": (lambda f, x, t: f.mse_loss(x, t), [(3, 2), (3, 2)]),
    "l1_loss": (lambda f, x, t: f.l1_loss(x, t, reduction="none"), [(3, 2), (3, 2)]),
    "huber_loss": (
        lambda f, x, t: f.huber_loss(x, t, reduction="sum", delta=0.5), [(3, 2), (3, 2)]
    ),
    "smooth_l1_loss": (lambda f, x, t: f.smooth_l1_loss(x, t, beta=0.5), [(3, 2), (3, 2)]),
    "binary_cross_entropy_with_logits": (
        lambda f, x, t: f.binary_cross_entropy_with_logits(x, t), [(3, 2), (3, 2)]
    ),
}  # fmt: skip
WITHOUT_SECOND_DERIVATIVE = ("batch_norm", "batch_norm, rows", "layer_norm", "group_norm")


def tensors_of(name, last=False):
    """What a call takes, each requiring its gradient."""
    shapes = CALLS[name][1]
    made = [drawn(*shape, seed=n, last=last) for n, shape in enumerate(shapes)]
    return [tensor.requires_grad_() for tensor in made]


def result_and_gradients(functions, name, last):
    call, tensors = CALLS[name][0], tensors_of(name, last)
    y = call(functions, *tensors)
    return y, *torch.autograd.grad((y * drawn(*y.shape, seed=7, last=last)).sum(), tensors)


def cases():
    for name, (_, shapes) in CALLS.items():
        yield name, False
        if len(shapes[0]) == 4:
            yield name, True


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(("name", "last"), list(cases()))
def test_values_and_gradients_are_those_of_pytorch(name, last):
    expected = result_and_gradients(theirs, name, last)
    found = result_and_gradients(ours, name, last)
    # PyTorch's hard sigmoid has the slope of float32.
    rtol = 1e-7 if name == "hardsigmoid" else 1e-9
    torch.testing.assert_close(found, expected, rtol=rtol, atol=1e-10)


@pytest.mark.parametrize("name", ["conv2d", "max_pool2d", "avg_pool2d", "gelu", "group_norm"])
def test_images_in_channels_last_give_such_images(name):
    y, dx, *_ = result_and_gradients(ours, name, True)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert dx.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", [n for n in CALLS if n not in WITHOUT_SECOND_DERIVATIVE])
def test_second_derivatives_are_those_of_differences(name):
    call, tensors = CALLS[name][0], tensors_of(name)
    options = {"fast_mode": True, "atol": 1e-6}
    assert torch.autograd.gradcheck(lambda *given: call(ours, *given), tensors, **options)
    assert torch.autograd.gradgradcheck(lambda *given: call(ours, *given), tensors, **options)


@pytest.mark.parametrize("name", WITHOUT_SECOND_DERIVATIVE)
def test_a_second_derivative_that_there_is_not_is_an_error(name):
    call, tensors = CALLS[name][0], tensors_of(name)
    y = call(ours, *tensors)
    (dx,) = torch.autograd.grad((y * y).sum(), tensors[:1], create_graph=True)
    with pytest.raises(NotImplementedError, match="keep PyTorch's own layer"):
        dx.sum().backward()


# What PyTorch asks of an operator.

CHECKED = (
    "conv2d", "conv_transpose2d", "linear", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d",
    "batch_norm", "batch_norm, inference", "layer_norm", "group_norm", "prelu", "softmax",
    "interpolate", "pad", "leaky_relu", "mish", "cross_entropy, weights", "nll_loss", "huber_loss",
)  # fmt: skip


# All at once, with shapes that are not known, for one of each kind.
EVERYTHING = ("conv2d", "linear", "max_pool2d", "batch_norm", "mish")
QUICK = ("test_schema", "test_autograd_registration", "test_faketensor")


def operator_calls(name):
    """The operators of fastconv that a call and its gradients run, with their arguments."""
    found = {}

    class Recording(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
            if operator.namespace == "fastconv":
                found.setdefault(operator, args)
            return operator(*args, **(kwargs or {}))

    with Recording():
        result_and_gradients(ours, name, False)
    return found


@pytest.mark.parametrize("name", CHECKED)
def test_operators_are_what_pytorch_asks_of_them(name):
    calls = operator_calls(name)
    assert calls
    for operator, arguments in calls.items():
        given = tuple(
            each.detach().clone().requires_grad_(not operator._schema.name.endswith("_backward"))
            if isinstance(each, torch.Tensor) and each.is_floating_point() else each
            for each in arguments
        )  # fmt: skip
        more = {} if name in EVERYTHING else {"test_utils": QUICK}
        torch.library.opcheck(operator, given, **more)


def test_a_model_is_compiled_whole():
    model = nn.Sequential(
        pytorch.Conv2d(3, 4, 3, padding=1), pytorch.BatchNorm2d(4), pytorch.ReLU(),
        pytorch.MaxPool2d(2), nn.Flatten(), pytorch.Linear(36, 3),
    )  # fmt: skip
    x, target = drawn(5, 3, 6, 6, dtype=np.float32), classes(5)

    def loss_of(model, x):
        return ours.cross_entropy(model(x), target)

    twin = copy.deepcopy(model)
    loss_of(model, x).backward()
    compiled = torch.compile(loss_of, fullgraph=True, backend="aot_eager")
    compiled(twin, x).backward()
    for (name, expected), found in zip(model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, msg=name)
    torch.testing.assert_close(twin[1].running_var, model[1].running_var)


def test_within_autocast_the_kernels_compute_in_float32():
    layer, x = pytorch.Conv2d(4, 6, 3), drawn(*IMAGES, dtype=np.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y = ours.relu(layer(x.bfloat16()))
    torch.testing.assert_close(y, theirs.relu(layer(x.bfloat16().float())))


# Memory.


@pytest.mark.parametrize("last", [False, True])
def test_tensors_are_numpy_arrays_of_the_same_memory(last, monkeypatch):
    seen = {}
    forward = conv.conv2d

    def recorded(x, w, b, **options):
        y = forward(x, w, b, **options)
        seen.update(x=x.ctypes.data, y=y.ctypes.data, layout=options["layout"])
        assert x.flags.c_contiguous
        return y

    monkeypatch.setattr(conv, "conv2d", recorded)
    x, w = drawn(2, 4, 6, 6, last=last), drawn(8, 4, 3, 3)
    y = ours.conv2d(x, w)
    assert seen == {
        "x": x.data_ptr(), "y": y.data_ptr(), "layout": "NHWC" if last else "NCHW"
    }  # fmt: skip


def test_the_weights_of_linear_are_read_as_they_lie(monkeypatch):
    from fastconv.interop.pytorch import linear

    seen = []
    launch = linear.launch
    monkeypatch.setattr(
        linear, "launch", lambda *given: (seen.append(given[5].ctypes.data), launch(*given))
    )
    x, w = drawn(3, 5).requires_grad_(), drawn(4, 5).requires_grad_()
    ours.linear(x, w).sum().backward()
    assert seen[:2] == [w.data_ptr(), w.data_ptr()]  # forward, and the gradient of the input


# Errors.


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            lambda: ours.conv2d(drawn(1, 1, 3, 3).half(), drawn(1, 1, 2, 2).half()),
            r"conv2d: input has dtype torch.float16; expected .* \(input.float\(\)\)",
        ),
        (
            lambda: ours.relu(torch.ones(3, dtype=torch.bfloat16)),
            "relu: input has dtype torch.bfloat16; expected torch.float32 or torch.float64",
        ),
        (
            lambda: array_of("relu", "input", torch.ones(3, device="meta")),
            r"relu: input lies on the device meta; expected a tensor of the CPU \(input.cpu\(\)\)",
        ),
        (
            lambda: ours.linear(drawn(2, 3), drawn(4, 5)),
            r"linear: weight takes 5 inputs \(4, 5\) but input has 3 \(2, 3\)",
        ),
        (
            lambda: ours.linear(drawn(2, 3).float(), drawn(4, 3)),
            "linear: weight has dtype float64 but input has float32",
        ),
        (
            lambda: ours.conv2d(drawn(1, 2, 4, 4), drawn(3, 1, 3, 3)),
            r"conv2d: w has 1 input channels .* but x has 2",
        ),
        (lambda: ours.max_pool2d(drawn(1, 1, 4, 4), 2, dilation=2), "max_pool2d: dilation is 2"),
        (lambda: ours.adaptive_avg_pool2d(drawn(1, 1, 4, 4), 2), "output_size is 2; expected 1"),
        (lambda: ours.softplus(drawn(3), beta=2), "softplus: beta is 2; expected 1"),
        (
            lambda: ours.conv2d(drawn(1, 1, 4, 4), drawn(1, 1, 3, 3), padding="full"),
            "conv2d: padding is 'full'; expected 'same', 'valid' or numbers",
        ),
        (
            lambda: ours.cross_entropy(drawn(2, 3), drawn(2, 3)),
            "cross_entropy: target has dtype torch.float64; expected classes as integers",
        ),
        (lambda: ours.cross_entropy(drawn(1, 3), torch.tensor([3])), "labels holds 3; expected 0"),
        (
            lambda: ours.batch_norm(drawn(1, 3), None, None, training=True),
            r"batch_norm: input is \(1, 3\), one value for each channel",
        ),
        (
            lambda: pytorch.replace_layers([nn.ReLU()]),
            "replace_layers: model is a list; expected a torch.nn.Module",
        ),
    ],
)  # fmt: skip
def test_errors_name_the_argument_and_the_fix(call, told):
    with pytest.raises((TypeError, ValueError, NotImplementedError), match=told):
        call()


# Layers.


def layer_classes():
    return [] if torch is None else list(pytorch.LAYERS.items())


@pytest.mark.parametrize(("kind", "own"), layer_classes())
def test_layers_are_made_as_those_of_pytorch(kind, own):
    assert issubclass(own, kind)
    assert inspect.signature(own) == inspect.signature(kind)


BUILDERS = {
    "Conv2d": lambda n: n.Conv2d(4, 6, 3, 2, 1, groups=2, padding_mode="circular"),
    "ConvTranspose2d": lambda n: n.ConvTranspose2d(4, 6, 3, 2, 1, 1, bias=False),
    "Linear": lambda n: n.Linear(6, 3),
    "MaxPool2d": lambda n: n.MaxPool2d(2, return_indices=True),
    "AvgPool2d": lambda n: n.AvgPool2d(3, 2, 1, count_include_pad=False),
    "AdaptiveAvgPool2d": lambda n: n.AdaptiveAvgPool2d(1),
    "AdaptiveMaxPool2d": lambda n: n.AdaptiveMaxPool2d((1, 1)),
    "BatchNorm1d": lambda n: n.BatchNorm1d(4),
    "BatchNorm2d": lambda n: n.BatchNorm2d(4, momentum=None),
    "LayerNorm": lambda n: n.LayerNorm((7, 6)),
    "GroupNorm": lambda n: n.GroupNorm(2, 4),
    "InstanceNorm2d": lambda n: n.InstanceNorm2d(4, affine=True),
    "PReLU": lambda n: n.PReLU(4),
    "Softmax": lambda n: n.Softmax(1),
    "LogSoftmax": lambda n: n.LogSoftmax(1),
    "GELU": lambda n: n.GELU("tanh"),
    "LeakyReLU": lambda n: n.LeakyReLU(0.3, inplace=True),
    "Upsample": lambda n: n.Upsample(scale_factor=2, mode="bilinear"),
    "ReflectionPad2d": lambda n: n.ReflectionPad2d(2),
}


@pytest.mark.parametrize("name", list(BUILDERS))
def test_layers_compute_what_those_of_pytorch_do(name):
    shape = (5, 4, 7) if name == "BatchNorm1d" else IMAGES
    torch.manual_seed(0)
    theirs_made = BUILDERS[name](nn).double()
    made = BUILDERS[name](pytorch).double()
    made.load_state_dict(theirs_made.state_dict())
    for _ in range(2):  # the second time by other running statistics
        found, expected = made(drawn(*shape)), theirs_made(drawn(*shape))
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(made.state_dict(), theirs_made.state_dict())
    torch.testing.assert_close(made.eval()(drawn(*shape)), theirs_made.eval()(drawn(*shape)))


def small_model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Sequential(nn.Flatten(), nn.Dropout(0.0), nn.Linear(36, 3)),
    ).double()  # fmt: skip


def test_a_model_trains_on_as_before_when_its_layers_are_replaced():
    model, twin = small_model(), small_model()
    made = [torch.optim.SGD(each.parameters(), 0.1, momentum=0.9) for each in (model, twin)]
    replaced = pytorch.replace_layers(model)
    assert replaced.replaced == {
        "0": "Conv2d", "1": "BatchNorm2d", "2": "ReLU", "3": "MaxPool2d", "4.2": "Linear"
    }  # fmt: skip
    assert replaced.left == {"4.1": "Dropout has no counterpart in fastconv"}
    x, target = drawn(6, 2, 6, 6), classes(6)
    for each, optimizer in zip((model, twin), made, strict=True):
        for _ in range(3):
            optimizer.zero_grad()
            theirs.cross_entropy(each(x), target).backward()
            optimizer.step()
    torch.testing.assert_close(model.state_dict(), twin.state_dict(), rtol=1e-9, atol=1e-10)
    assert pytorch.restore_layers(model) == 5
    assert [type(each) for each in model.modules()] == [type(each) for each in twin.modules()]


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (lambda: nn.Conv3d(1, 1, 1), "Conv3d has no counterpart in fastconv"),
        (lambda: nn.MaxPool2d(2, dilation=2), "dilation is 2; expected 1"),
        (lambda: nn.Linear(2, 2).half(), "weight has dtype torch.float16; expected"),
        (lambda: nn.Linear(2, 2, device="meta"), "weight lies on the device meta; expected"),
        (lambda: nn.AdaptiveAvgPool2d(7), "output_size is 7; the kernel gives one pixel"),
        (lambda: nn.LeakyReLU(-0.1), "negative_slope is -0.1; expected 0 or more"),
        (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), "has no counterpart"),
    ],
)  # fmt: skip
def test_what_is_left_says_why(layer, told):
    replaced = pytorch.replace_layers(nn.Sequential(layer()))
    assert not replaced.replaced
    assert told in str(replaced)
