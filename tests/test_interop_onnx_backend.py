"""fastconv as a backend of ONNX: its own tests of backends, some of them here, all by night.

python -m tests.onnx_node_tests
"""

import re

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx_models import model_of, node  # noqa: E402
from onnx_node_tests import KINDS, cases_of, main, node_cases, run_cases  # noqa: E402

from fastconv.interop.onnx import OnnxError  # noqa: E402
from fastconv.interop.onnx.backend import FastconvBackend  # noqa: E402


def test_a_model_runs_with_its_weights_as_inputs():
    model = model_of([node("Relu", "x")], (3,))
    ready = FastconvBackend.prepare(model)
    (found,) = ready.run([np.array([[-1.0, 0.0, 2.0]], np.float32)])
    assert found.tolist() == [[0.0, 0.0, 2.0]]


def test_two_inputs_are_both_data():
    model = model_of([node("Sub", "x z")], (3,))
    model.graph.input.append(
        onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, ["N", 3])
    )
    x, z = np.array([[[1, 2, 3], [4, 5, 6]], [[1, 1, 1], [0, 5, 7]]], np.float32)
    (found,) = FastconvBackend.run_model(model, {"x": x, "z": z})
    np.testing.assert_allclose(found, [[0, 1, 2], [4, 0, -1]], atol=1e-6)


def test_devices_and_options():
    assert FastconvBackend.supports_device("CPU")
    assert not FastconvBackend.supports_device("TPU")
    model = model_of([node("Relu", "x")], (3,))
    with pytest.raises(OnnxError, match="device is 'TPU'; expected one that works here"):
        FastconvBackend.prepare(model, "TPU")
    with pytest.raises(OnnxError, match="threads is unknown; expected backend"):
        FastconvBackend.prepare(model, threads=3)
    with pytest.raises(OnnxError, match="input 'x' is missing; give an array for it"):
        FastconvBackend.run_model(model, [])
    with pytest.raises(OnnxError, match=r"input 'x' is int64 \(2, 3\); expected float32"):
        FastconvBackend.run_model(model, [np.zeros((2, 3), np.int64)])


SOME = ("conv", "averagepool", "hardswish", "batch_normalization", "globalmaxpool", "concat")


def test_some_of_the_tests_of_onnx_pass():
    outcome = run_cases(node_cases(*SOME))
    assert outcome.failed == {}
    assert len(outcome.passed) >= 20
    for told in outcome.left_out.values():
        assert re.search(r"expected|does not|fastconv has no layer|the batch", told), told


def test_networks_that_pytorch_converted_long_ago_pass():
    outcome = run_cases(cases_of("pytorch-converted"))
    assert outcome.failed == {}
    assert len(outcome.passed) >= 50


def test_the_command_counts(capsys):
    assert main(["--kind", "simple", "--only", "relu|shrink", "--reasons"]) == 0
    told = capsys.readouterr().out
    assert "simple: 2 tests, 1 passed, 1 left out, 0 failed" in told
    assert "Shrink" in told or "where" in told.lower() or "fastconv has no layer" in told


LEAST_PASSED = {"node": 320, "pytorch-converted": 63, "pytorch-operator": 28, "simple": 3}
"""Of each kind, with onnx 1.23; the others are integers, lists, whole batches, loops and so on."""


@pytest.mark.nightly
@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_all_tests_of_onnx_pass_or_are_left_out_with_a_reason(kind):
    outcome = run_cases(cases_of(kind))
    assert outcome.failed == {}
    assert len(outcome.passed) >= LEAST_PASSED[kind]
    assert all(outcome.left_out.values())
