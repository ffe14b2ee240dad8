"""Small data of one's own for tests: what a person has on the disk, drawn by a seed."""

import gzip
import struct

import numpy as np
from PIL import Image

MODES = ("L", "RGB", "RGBA", "P", "LA", "I;16")


def stripes(count, side=8, classes=3, seed=0):
    """Grey pictures (count, side, side) uint8 whose class is the row of the bright stripe."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    images = generator.integers(0, 40, (count, side, side), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 2] += 200
    return images, labels


def save_picture(file, pixels, mode="L"):
    """Write grey pixels as a picture of any mode."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if mode == "I;16":
        Image.fromarray(pixels.astype(np.uint16) * 257).save(file)
    else:
        Image.fromarray(pixels).convert(mode).save(file)
    return file


def picture_folder(folder, count=30, names=("bottom", "middle", "top"), mode="L", **more):
    """Write stripes as PNG files, one folder for each class."""
    images, labels = stripes(count, classes=len(names), **more)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        save_picture(folder / names[label] / f"{number:03}.png", image, mode)
    return images, labels


def write_idx(file, array, code=0x08):
    """Write an IDX file, compressed where its name says so."""
    header = struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape)
    content = header + np.ascontiguousarray(array).tobytes()
    file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)


def write_csv(file, images, labels, head="label", pixel="pixel"):
    """Write a table in the form of Kaggle's digits."""
    rows = images.reshape(len(images), -1)
    lines = [",".join([head, *(f"{pixel}{n}" for n in range(rows.shape[1]))])]
    lines += [",".join(map(str, [label, *row])) for label, row in zip(labels, rows, strict=True)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file
