"""A network trained here goes into an ONNX file; onnxruntime runs it, and fastconv reads it."""

import tempfile
from pathlib import Path

import onnxruntime

from fastconv import Predictor, Sequential, Trainer
from fastconv.data import load as load_data
from fastconv.interop.onnx import export, load, read_metadata
from fastconv.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU

data, options = load_data("digits"), {"optimizer": "adam", "schedule": 0.002, "batch_size": 32}
network = Sequential([Conv2D(8), ReLU(), MaxPool2D(2), Flatten(), Dense(10)], (8, 8, 1))
loss = "softmax_cross_entropy"
trainer = Trainer(network, data.training, loss=loss, preprocessing="scale", **options)
for _ in range(5):
    trainer.train(40)

path = Path(tempfile.mkdtemp()) / "digits.onnx"
export(
    network,
    path,
    preprocessing="scale",
    takes_pixels=True,
    order="NHWC",
    class_names=data.class_names,
)
images, names = data.test.images[:9], read_metadata(path).class_names
(scores,) = onnxruntime.InferenceSession(path).run(None, {"input": images})
print("onnxruntime:", *(names[k] for k in scores.argmax(1)))
print("fastconv:   ", *(names[k] for k in Predictor(load(path))(images).argmax(1)))
