"""A table of numbers: columns that a network is to find from the others."""

import tempfile
from pathlib import Path

import numpy as np

from fastconv import Sequential, Trainer, plots
from fastconv.data import load_own, training_statistics
from fastconv.layers import Dense, Flatten, ReLU
from fastconv.metrics import regression_scores
from fastconv.preprocessing import Preprocessing
from fastconv.training_loop import fit

# What pendulums of some length do when they are let go at some angle: a table as people have it,
# with a line of names, and columns in units of their own.
draw = np.random.default_rng(0)
length, degrees = draw.uniform(10, 200, 1500), draw.uniform(5, 120, 1500)
opening = np.radians(degrees)
stretch = 1 + opening**2 / 16 + 11 * opening**4 / 3072
seconds = 2 * np.pi * np.sqrt(length / 981) * stretch + draw.normal(0, 0.01, 1500)
table = Path(tempfile.mkdtemp()) / "pendulums.csv"
np.savetxt(
    table,
    np.column_stack([length, degrees, seconds]),
    delimiter=",",
    header="length_cm,degrees,seconds",
    comments="",
)

# With label= in place of target=, a column of classes. On the command line:
# python -m fastconv.train --data pendulums.csv --target seconds
data = load_own(table, target=("seconds",))
mean, std = training_statistics(data.training.images)
network = Sequential([Flatten(), Dense(32), ReLU(), Dense(32), ReLU(), Dense(1)], data.image_shape)
trainer = Trainer(
    network,
    data.training,
    loss="mean_squared_error",
    optimizer="adam",
    schedule=0.003,
    batch_size=32,
    preprocessing=Preprocessing("standardize", mean=mean, std=std),
)
fit(trainer, 60 * trainer.steps_per_epoch)
predicted = trainer.predict(data.test.images)
found = regression_scores(data.test.labels, predicted)
print(f"off by {found.root_mean_squared_error:.3f} s (root mean square), R2 {found.r2:.3f}")

picture = plots.predictions_against_targets(data.test.labels, predicted)
plots.save(picture, table.with_name("predictions"))
