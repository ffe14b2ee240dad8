"""A folder of pictures, one folder for each class, is all that a training needs."""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fastconv import Sequential, Trainer, plots
from fastconv.data import load_own
from fastconv.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from fastconv.training_loop import fit

SHAPES = {"circle": 0, "square": 4, "triangle": 3}  # corners
draw = np.random.default_rng(0)


def picture(corners):
    """A bright shape of random size and place on a dark ground of 24 x 24 pixels."""
    radius, (x, y) = draw.uniform(6, 9), draw.uniform(9, 15, 2)
    image = Image.new("L", (24, 24), int(draw.integers(60)))
    pen, ink = ImageDraw.Draw(image), int(draw.integers(150, 255))
    if corners:
        pen.regular_polygon((x, y, radius), corners, rotation=draw.uniform(0, 360), fill=ink)
    else:
        pen.circle((x, y), radius, fill=ink)
    return image


folder = Path(tempfile.mkdtemp()) / "shapes"
for name, corners in SHAPES.items():
    (folder / name).mkdir(parents=True)
    for number in range(300):
        picture(corners).save(folder / name / f"{number:03}.png")

# A fifth of each class is held out for the test. On the command line all that follows is
# python -m fastconv.train --data shapes
data = load_own(folder)
layers = [Conv2D(8), ReLU(), Conv2D(16), ReLU(), MaxPool2D(2), Conv2D(32), ReLU(), MaxPool2D(2)]
network = Sequential([*layers, Flatten(), Dense(len(data.class_names))], data.image_shape)
trainer = Trainer(
    network,
    data.training,
    loss="softmax_cross_entropy",
    optimizer="adam",
    schedule=0.003,
    batch_size=16,
    preprocessing="scale",
)
fit(trainer, 20 * trainer.steps_per_epoch)
print(f"test accuracy {trainer.evaluate(data.test).accuracy:.3f}")

new = np.asarray(picture(SHAPES["triangle"]))[np.newaxis, :, :, np.newaxis]
print("a new triangle is taken for a", data.class_names[trainer.predict(new).argmax()])

some = data.test.images[::15]
names = [data.class_names[place] for place in trainer.predict(some).argmax(axis=1)]
answers = plots.image_grid(some, titles=names)
