"""Networks of PyTorch as those of fastconv, and the other way: the same scores."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from optional_torch import functional, torch

import fastconv
from fastconv.data import Samples
from fastconv.layers import (
    GELU,
    AvgPool2D,
    BatchNorm,
    Concatenate,
    Conv2D,
    ConvTranspose2D,
    Crop2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    GlobalMaxPool2D,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    PReLU,
    ReflectPad2D,
    ReLU,
    Residual,
    Scale,
    SeparableConv2D,
    Sigmoid,
    Softmax,
    StochasticDepth,
    Upsample2D,
    ZeroPad2D,
)
from fastconv.network import NetworkError

if torch is None:
    pytest.skip("PyTorch is not installed", allow_module_level=True)

from torch import nn

from fastconv.interop.pytorch import from_torch, replace_layers, to_torch


def drawn(*shape):
    return torch.from_numpy(np.random.default_rng(list(shape)).normal(size=shape))


def with_drawn_weights(module):
    """A model in float64 with weights and statistics that are all different."""
    generator = np.random.default_rng(5)
    module = module.double().eval()
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            values = generator.normal(size=tuple(tensor.shape))
            tensor.copy_(torch.from_numpy(abs(values) + 0.5 if "var" in name else values / 2))
    return module


def scores_of(network, x):
    """What fastconv makes of a batch of PyTorch's."""
    images = x.numpy()
    if images.ndim == 4:
        images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    y = fastconv.Predictor(network)(images)
    return torch.from_numpy(y.transpose(0, 3, 1, 2) if y.ndim == 4 else y)


class Bottleneck(nn.Module):
    """A residual block as torchvision writes it."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, 4, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, outputs, 3, stride, 1)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride))

    def forward(self, x):
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.conv2(out)
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class Excitation(nn.Module):
    """Squeeze and excitation as it is usually written."""

    def __init__(self, channels):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(channels, 3), nn.Linear(3, channels)

    def forward(self, x):
        b, c, _, _ = x.size()
        y = functional.adaptive_avg_pool2d(x, 1).view(b, c)
        y = torch.sigmoid(self.fc2(functional.relu(self.fc1(y)))).view(b, c, 1, 1)
        return x * y.expand_as(x)


class OwnCode(nn.Module):
    """A model that calls functions and methods."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding="same")
        self.fc = nn.Linear(36, 5)

    def forward(self, x):
        x = functional.max_pool2d(functional.relu(self.conv(x)), 2)
        x = functional.dropout(x.view(x.size(0), -1), 0.3, self.training)
        return functional.log_softmax(self.fc(x), dim=1)


class Inception(nn.Module):
    """Branches side by side, one of them the input."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 3, 1), nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x):
        return torch.cat([self.a(x), functional.gelu(self.b(x)), x], dim=1)


class Pixels(nn.Module):
    """Excitation by 1x1 convolutions, and a mean over the pixels."""

    def __init__(self):
        super().__init__()
        self.squeeze, self.fc = nn.Conv2d(2, 2, 1), nn.Linear(2, 3)

    def forward(self, x):
        x = x * functional.hardsigmoid(self.squeeze(nn.functional.adaptive_avg_pool2d(x, 1)))
        return self.fc(x.mean([2, 3]))


MODELS = {
    "layers": lambda: nn.Sequential(
        nn.Conv2d(2, 4, 3, 2, 1, groups=2), nn.BatchNorm2d(4), nn.LeakyReLU(0.2), nn.Flatten(),
        nn.BatchNorm1d(36), nn.PReLU(36), nn.Dropout(0.5), nn.Linear(36, 7), nn.ELU(0.5),
        nn.Linear(7, 3, bias=False), nn.Softmax(1),
    ),
    "images": lambda: nn.Sequential(
        nn.ConvTranspose2d(2, 4, 3, 2, 1, 1), nn.GroupNorm(2, 4), nn.Mish(),
        nn.ZeroPad2d((1, 1, 2, 0)), nn.InstanceNorm2d(4), nn.ReflectionPad2d(1),
        nn.AvgPool2d(2, padding=1), nn.LayerNorm((4, 9, 9)),
        nn.Upsample(scale_factor=2, mode="bilinear"), nn.AdaptiveAvgPool2d(6),
        nn.Conv2d(4, 3, 3, padding=1, padding_mode="reflect"),
    ),
    "the order of a flattened image": lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten()),
    "residual": lambda: nn.Sequential(
        Bottleneck(2, 6, 2), Bottleneck(6, 6, 1), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(),
        nn.Linear(6, 3),
    ),
    "excitation": lambda: nn.Sequential(nn.Conv2d(2, 4, 1), Excitation(4), nn.Flatten(1),
                                        nn.Linear(144, 2)),
    "own code": OwnCode,
    "side by side": Inception,
    "pixels": Pixels,
    "a layer": lambda: nn.Conv2d(2, 3, 3),
}  # fmt: skip


@pytest.mark.parametrize("name", list(MODELS))
def test_a_model_of_pytorch_becomes_a_network_with_its_scores(name):
    model = with_drawn_weights(MODELS[name]())
    model.train()
    x = drawn(4, 2, 6, 6)
    network = from_torch(model, x)
    assert model.training  # it is left as it is
    with torch.no_grad():
        expected = model.eval()(x)
    torch.testing.assert_close(scores_of(network, x), expected, rtol=1e-8, atol=1e-9)


def test_layers_of_fastconv_are_read_as_those_of_pytorch():
    model = with_drawn_weights(MODELS["layers"]())
    x = drawn(4, 2, 6, 6)
    expected = model(x).detach()
    replace_layers(model)
    torch.testing.assert_close(scores_of(from_torch(model, x), x), expected, rtol=1e-8, atol=1e-9)


def test_vectors_are_read_too():
    model = nn.Sequential(nn.Linear(5, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 2))
    network = from_torch(with_drawn_weights(model), drawn(3, 5))
    assert network.names == ("dense_1", "layer_norm_1", "tanh_1", "dense_2")
    torch.testing.assert_close(scores_of(network, drawn(3, 5)), model(drawn(3, 5)).detach())


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)

    def forward(self, x):
        return self.conv(self.conv(x))


class Crossing(nn.Module):
    """Branches that neither meet nor lie within each other."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)

    def forward(self, x):
        a = self.a(x)
        b = self.b(a) + x
        return b * a + b


class Choosing(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (Shared, "conv is used twice, with the same weights; expected each layer once"),
        (Crossing, "branches that do not begin and meet together|multiplies what two branches"),
        (Choosing, "Choosing cannot be recorded by torch.fx .*make it of layers"),
        (lambda: nn.Sequential(nn.Conv2d(2, 2, 1), nn.CELU()), "1: a CELU has no counterpart"),
        (lambda: nn.Sequential(nn.Softmax(2)), "dim is 2 of samples .* expected 1, of vectors"),
        (lambda: nn.BatchNorm2d(2, track_running_stats=False), "expected running statistics"),
        (lambda: nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), "padding_mode is"),
        (lambda: nn.AdaptiveAvgPool2d(4), r"output_size is \(4, 4\); expected sizes that divide"),
        (lambda: nn.Conv2d(3, 2, 1), "cannot be recorded .*to have 3 channels"),
    ],
)
def test_models_that_are_no_network_say_why(model, told):
    with pytest.raises(NetworkError, match=told):
        from_torch(model(), torch.zeros(4, 2, 6, 6))


def test_an_example_is_a_batch():
    with pytest.raises(NetworkError, match=r"example is \(2, 6, 6\); expected a tensor \(N, C"):
        from_torch(nn.Conv2d(2, 2, 1), torch.zeros(2, 6, 6))


NETWORKS = {
    "layers": [
        Conv2D(4, 3, 2, "same", groups=2), BatchNorm(), LeakyReLU(0.2), ZeroPad2D(((0, 1), (2, 0))),
        MaxPool2D(2), Flatten(), BatchNorm(), PReLU(True), Dropout(0.5), Dense(3), Softmax(),
    ],
    "images": [
        ConvTranspose2D(4, 3, 2, 1, 1), GroupNorm(2), Crop2D(1), InstanceNorm(), ReflectPad2D(1),
        AvgPool2D(3, 1, 1), Upsample2D(2, "bilinear"), LayerNorm(), GELU("tanh"),
    ],
    "a flattened image": [Conv2D(3), Flatten()],
    "padding of one side": [Conv2D(3, 3, 2, ((0, 1), (0, 1))), AvgPool2D(2, 1, ((0, 1), (1, 0)))],
    "branches": [
        SeparableConv2D(4, padding=1, depth_multiplier=2),
        Residual([Conv2D(6, padding=1), ReLU()], [Conv2D(6, 1)]),
        Concatenate([Conv2D(2, 1)], [MaxPool2D(3, 1, 1)]),
        Scale([GlobalAvgPool2D(), Dense(8), Sigmoid()]), Scale([Conv2D(8, 1)]), GlobalMaxPool2D(),
        Dense(3, bias=False),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_network_becomes_a_model_with_its_scores_and_a_network_again(name):
    network = fastconv.Sequential(NETWORKS[name], (6, 6, 2), dtype="float64", seed=3)
    generator = np.random.default_rng(0)
    for each in network.named_arrays().values():
        each += generator.uniform(0.1, 0.5, each.shape)
    model, x = to_torch(network), drawn(4, 2, 6, 6)
    expected = scores_of(network, x)
    torch.testing.assert_close(model(x).detach(), expected, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(scores_of(from_torch(model, x), x), expected, rtol=1e-8, atol=1e-9)


def test_max_pooling_with_padding_of_one_side_becomes_two_layers():
    network = fastconv.Sequential([MaxPool2D(2, 1, ((0, 1), (1, 0)))], (6, 6, 2), dtype="float64")
    x = drawn(4, 2, 6, 6)
    torch.testing.assert_close(to_torch(network)(x), scores_of(network, x))


def test_a_state_dict_has_the_names_of_the_network_and_the_order_of_pytorch():
    network = fastconv.Sequential(NETWORKS["layers"], (6, 6, 2))
    state = to_torch(network).state_dict()
    assert {n for n in state if n.startswith("dense")} == {"dense_1.weight", "dense_1.bias"}
    weight = network["dense_1.weight"].reshape(2, 2, 4, 3)  # what was flattened
    expected = weight.transpose(3, 2, 0, 1).reshape(3, 16)
    np.testing.assert_array_equal(state["dense_1.weight"].numpy(), expected)


def test_making_a_model_draws_no_random_numbers():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    to_torch(fastconv.Sequential([Dense(3)], (4,)))
    assert torch.rand(1) == expected


def test_what_pytorch_does_not_have_says_so():
    network = fastconv.Sequential([Residual([Conv2D(2, 1), StochasticDepth()])], (6, 6, 2))
    told = r"residual_1.stochastic_depth_1: a StochasticDepth has no counterpart in PyTorch"
    with pytest.raises(NetworkError, match=told):
        to_torch(network)
    with pytest.raises(NetworkError, match="network is a list; expected a fastconv"):
        to_torch([Dense(3)])


def test_a_model_and_its_network_take_the_same_steps():
    model = with_drawn_weights(MODELS["residual"]()).train()
    x, target = drawn(4, 2, 6, 6), torch.tensor([0, 2, 1, 1])
    network = from_torch(model, x)
    images = np.ascontiguousarray(x.numpy().transpose(0, 2, 3, 1))
    samples = Samples.from_arrays(images, target.numpy(), layout="NHWC")
    trainer = fastconv.Trainer(
        network, samples, loss="softmax_cross_entropy", optimizer="sgd", schedule=0.05,
        batch_size=4,
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    for _ in range(2):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), target).backward()
        optimizer.step()
        trainer.train(1)
    after = from_torch(model, x)
    for name, expected in after.named_arrays().items():
        np.testing.assert_allclose(network[name], expected, 1e-7, 1e-8, err_msg=name)


EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.skipif(not EXAMPLES.is_dir(), reason="examples/ is not beside the tests")
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("pytorch_layers", ["5 layers replaced, 1 left", "step 20: loss 0."]),
        ("pytorch_networks", ["conv2d_1", "largest difference: 0.0", "dense_1.weight"]),
    ],
)
def test_examples_run(name, told, capsys):
    path = EXAMPLES / f"{name}.py"
    assert len(path.read_text("utf-8").splitlines()) <= 25
    runpy.run_path(str(path))
    printed = capsys.readouterr().out
    for each in told:
        assert each in printed
