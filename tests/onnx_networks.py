"""Networks that others made and exported, read by fastconv and compared with onnxruntime.

    python -m tests.onnx_networks [NAME ...] [--folder FOLDER]

exports each with random weights, and prints the largest difference of its scores on random
images, or what has no layer. Networks of torchvision need torch, torchvision and onnxscript, that
of Keras keras, that of scikit-learn skl2onnx; nine come with onnx. Files that are in the folder
already are not made again.
"""

import argparse
import os
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).parent))

from onnx_models import of_onnxruntime

import fastconv
from fastconv.interop.onnx import OnnxError, load

AGREES = 1e-4
"""Largest difference, beside the largest score."""


def _of_torch(model, path, shape, **options):
    import torch

    torch.manual_seed(0)
    model.eval()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            # As if trained: statistics that are none of those that batches begin with.
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (torch.zeros(1, *shape),), str(path), **options)


def _torchvision(name):
    def make(path):
        import torch

        # A build for CUDA has no compiled operators beside a PyTorch without; none is used here.
        if not hasattr(torch.ops.torchvision, "nms"):
            for missing in ("nms", "qnms"):
                torch.library.define(
                    f"torchvision::{missing}", "(Tensor a, Tensor b, float c) -> Tensor"
                )
        import torchvision

        torch.manual_seed(0)
        model = getattr(torchvision.models, name)(weights=None, num_classes=10)
        _of_torch(model, path, (3, 224, 224), dynamo=True, verbose=False)

    return make


def _dynamic(path):
    """A network of any batch, height and width, whose shapes its nodes compute."""
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = torch.nn.Conv2d(3, 8, 3, padding=1)
            self.norm = torch.nn.GroupNorm(2, 8)
            self.second = torch.nn.Conv2d(8, 8, 3, padding=1)
            self.end = torch.nn.Linear(8, 10)

        def forward(self, x):
            x = torch.nn.functional.gelu(self.norm(self.first(x)))
            n, c, h, w = x.shape
            x = x + self.second(x).reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
            x = x.flatten(2).mean(-1)
            return self.end(x.view(n, -1))

    sizes = {0: "batch", 2: "height", 3: "width"}
    _of_torch(Net(), path, (3, 32, 24), dynamo=False, input_names=["x"], dynamic_axes={"x": sizes})


def _keras(path):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    x = given = keras.Input((32, 32, 3))
    for filters in (8, 16):
        y = layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
        y = layers.ReLU()(layers.BatchNormalization()(y))
        y = layers.SeparableConv2D(filters, 3, padding="same", activation="silu")(y)
        x = layers.Add()([y, layers.Conv2D(filters, 1, strides=2)(x)])
    x = layers.Dense(20, activation="gelu")(layers.Flatten()(layers.MaxPooling2D()(x)))
    model = keras.Model(given, layers.Dense(10, activation="softmax")(x))
    model(np.zeros((1, 32, 32, 3), np.float32))
    model.export(str(path), format="onnx", verbose=False)


def _sklearn(path):
    import skl2onnx
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    data = load_digits()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has not converged
        model = MLPClassifier((32, 16), max_iter=3, random_state=0).fit(data.data, data.target)
        made = skl2onnx.to_onnx(
            model, data.data[:1].astype(np.float32), options={"zipmap": False}, target_opset=18
        )
    path.write_bytes(made.SerializeToString())


def _light(name):
    """A network that comes with onnx, whose weights were taken out: random ones in their place."""

    def make(path):
        folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
        model = onnx.load(folder / f"light_{name}.onnx")
        graph, generator = model.graph, np.random.default_rng(0)
        shapes = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
        variances = {n.input[4] for n in graph.node if n.op_type == "BatchNormalization"}
        kept = []
        for node in graph.node:
            if node.op_type != "ConstantOfShape":
                kept.append(node)
                continue
            shape = shapes[node.input[0]].tolist()
            if len(shape) == 1:
                drawn = generator.normal(0, 0.1, shape) + (node.output[0] in variances)
            else:
                drawn = generator.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
            graph.initializer.append(
                onnx.numpy_helper.from_array(np.abs(drawn).astype(np.float32), node.output[0])
                if node.output[0] in variances
                else onnx.numpy_helper.from_array(drawn.astype(np.float32), node.output[0])
            )
        del graph.node[:]
        graph.node.extend(kept)
        onnx.save(model, path)

    return make


LIGHT = (
    "bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet",
    "squeezenet", "vgg19", "zfnet512",
)  # fmt: skip
TORCHVISION = (
    "resnet18", "mobilenet_v2", "mobilenet_v3_small", "squeezenet1_1", "vgg11_bn",
    "efficientnet_b0", "shufflenet_v2_x0_5",
)  # fmt: skip
NETWORKS = {
    **{name: _torchvision(name) for name in TORCHVISION},
    **{name: _light(name) for name in LIGHT},
    "keras": _keras,
    "sklearn": _sklearn,
    "dynamic": _dynamic,
}
"""What makes the file of each."""
OPTIONS = {"dynamic": {"input_shape": (40, 28, 3)}, "sklearn": {"output": "probabilities"}}


def largest_difference(path, **options):
    """Of scores on random images, beside the largest score."""
    network = load(path, **options)
    # Noise alone says little behind hundreds of layers: images have their own mean and contrast.
    generator = np.random.default_rng(0)
    shape = network.input_shape
    images = generator.normal(size=(2, *shape)) + generator.normal(size=(2, *(1,) * len(shape)))
    images = images.astype(np.float32)
    given = images if images.ndim == 4 else images.reshape(2, 1, 1, -1)
    found = fastconv.Predictor(network, backend="numpy")(given)
    graph = onnx.load(path, load_external_data=False).graph
    held = {each.name for each in graph.initializer}
    (taken,) = (each for each in graph.input if each.name not in held)
    sizes = [d.dim_value for d in taken.type.tensor_type.shape.dim]
    if len(sizes) == 4 and sizes[1] == shape[-1]:
        images = np.ascontiguousarray(np.moveaxis(images, -1, 1))
    batches = [images] if sizes[0] != 1 else [images[:1], images[1:]]
    results = [of_onnxruntime(path, each) for each in batches]
    names = [each.name for each in graph.output]
    place = names.index(options["output"]) if "output" in options else 0
    expected = np.concatenate([result[place] for result in results])
    difference = np.abs(found.reshape(2, -1) - expected.reshape(2, -1)).max()
    return float(difference / np.abs(expected).max())


def make(name, folder):
    """The file of a network, made if it is not there."""
    path = Path(folder) / f"{name}.onnx"
    if not path.exists():
        NETWORKS[name](path)
    return path


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NETWORKS)}")
    parser.add_argument("--folder", help="where the files are, or are made")
    options = parser.parse_args(arguments)
    worst = 0.0
    with tempfile.TemporaryDirectory() as temporary:
        for name in options.names or NETWORKS:
            try:
                path = make(name, options.folder or temporary)
            except ImportError as fault:
                print(f"{name}: not made: {fault}")
                continue
            try:
                difference = largest_difference(path, **OPTIONS.get(name, {}))
            except OnnxError as fault:
                print(f"{name}: {fault}")
                worst = np.inf
                continue
            print(f"{name}: differs by {difference:.1e}")
            worst = max(worst, difference)
    return int(worst > AGREES)


if __name__ == "__main__":
    sys.exit(main())
