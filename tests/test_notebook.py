"""A notebook that trains: the bar in its cell, and the curve under it."""

import base64
import importlib.util
import io
import re

import numpy as np
import pytest
from PIL import Image

from fastconv.inference import Score
from fastconv.notebook import bar_html

_MISSING = [
    name for name in ("nbclient", "nbformat", "ipykernel", "matplotlib")
    if importlib.util.find_spec(name) is None
]  # fmt: skip

TRAINING = """
import numpy as np
from fastconv import Sequential, Trainer
from fastconv.data import Samples
from fastconv.layers import Dense, Flatten
from fastconv.notebook import ProgressBar
from fastconv.training_loop import fit

generator = np.random.default_rng(0)
images = generator.integers(0, 256, (64, 4, 4, 1), np.uint8)
samples = Samples(images, (images.mean(axis=(1, 2, 3)) > 127).astype(np.int64))
trainer = Trainer(
    Sequential([Flatten(), Dense(2)], (4, 4, 1)), samples, loss="softmax_cross_entropy",
    optimizer="adam", schedule=0.05, batch_size=16, preprocessing="scale", backend="numpy",
)
result = fit(trainer, 40, validation=samples, observer=ProgressBar(40))
"""
CURVE = """
from fastconv import plots
rows = result.rows()
plots.learning_curves(
    {"training": ([r["step"] for r in rows], [r["loss"] for r in rows])}, ylabel="loss"
)
"""


def test_the_bar_says_where_the_training_is():
    shown = bar_html(50, 200, 2, Score(10.0, 18.0, 20.0), "a <b> line")
    assert '<progress value="50" max="200">' in shown
    assert "epoch 2, step 50 of 200, loss 0.5000, accuracy 90.00 %" in shown
    assert "a &lt;b&gt; line" in shown
    assert "accuracy" not in bar_html(1, 2, 1, Score(1.0, 0.0, 2.0, False))


@pytest.mark.slow
@pytest.mark.skipif(bool(_MISSING), reason=f"not installed: {', '.join(_MISSING)}")
def test_a_notebook_shows_the_bar_at_its_end_and_the_curve():
    import nbformat
    from nbclient import NotebookClient

    cells = [nbformat.v4.new_code_cell(source) for source in (TRAINING, CURVE)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    training, curve = notebook.cells
    bars = [each.data["text/html"] for each in training.outputs if each.output_type != "stream"]
    assert len(bars) == 1  # moved, not shown anew
    assert '<progress value="40" max="40">' in bars[0]
    assert re.search(r"step 40: training loss 0\.\d{4}, validation loss 0\.\d{4}", bars[0])
    (picture,) = (each.data["image/png"] for each in curve.outputs if "image/png" in each.data)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))).convert("RGB"))
    assert min(pixels.shape[:2]) > 200
    assert 0.001 < (pixels.min(axis=2) < 200).mean() < 0.5  # ink on paper
