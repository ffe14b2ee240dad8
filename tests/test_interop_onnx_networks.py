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


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_others_gives_what_onnxruntime_gives(name, tmp_path):
    for module in NEEDS[name]:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    path = make(name, tmp_path)
    assert largest_difference(path, **OPTIONS.get(name, {})) < AGREES
