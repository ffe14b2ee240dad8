"""Networks that others exported give the scores that onnxruntime gives; see tests/onnx_networks."""

import importlib.util

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx_networks import AGREES, NETWORKS, OPTIONS, TORCHVISION, largest_difference, make

NEEDS = {
    **dict.fromkeys(TORCHVISION, ("torchvision", "onnxscript")),
    "keras": ("keras", "torch", "onnxscript"),
    "sklearn": ("skl2onnx",),
    "dynamic": ("torch",),
}


SMALL = ("squeezenet", "shufflenet")


@pytest.mark.parametrize("name", SMALL)
def test_a_small_network_that_comes_with_onnx_gives_what_onnxruntime_gives(name, tmp_path):
    assert largest_difference(make(name, tmp_path)) < AGREES


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in SMALL])
def test_a_network_of_others_gives_what_onnxruntime_gives(name, tmp_path):
    for module in NEEDS.get(name, ()):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    path = make(name, tmp_path)
    assert largest_difference(path, **OPTIONS.get(name, {})) < AGREES
