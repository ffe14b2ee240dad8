"""Small ONNX models made by hand, and what onnxruntime computes for them."""

import warnings
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

KINDS = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "float64": TensorProto.DOUBLE}


def model_of(nodes, input_sizes, *, constants=None, outputs=("y",), opset=18, open_batch=True):
    """A model with the input x, of sizes without the batch, and constants by name."""
    batch: Any = "N" if open_batch else 2
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *input_sizes])
    y = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    initializers = [
        numpy_helper.from_array(np.asarray(array), name)
        for name, array in (constants or {}).items()
    ]
    graph = helper.make_graph(nodes, "by_hand", [x], y, initializer=initializers)
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, ir_version=8, opset_imports=opsets)


def node(kind, inputs, outputs="y", **attributes):
    """A node; names are given in one text each."""
    name = f"the_{kind}" if outputs == "y" else f"{kind}_{outputs}"
    return helper.make_node(kind, inputs.split(), outputs.split(), name=name, **attributes)


def saved(model, folder, name="model.onnx"):
    """The path of a file with a model."""
    path = folder / name
    onnx.save(model, path)
    return path


def of_onnxruntime(model, *arrays):
    """What onnxruntime computes, for a model or its file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    given = str(model) if not hasattr(model, "SerializeToString") else model.SerializeToString()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        session = onnxruntime.InferenceSession(given, options, ["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return session.run(None, dict(zip(names, arrays, strict=True)))
