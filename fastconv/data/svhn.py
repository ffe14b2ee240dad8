"""SVHN: house numbers in MATLAB files, ``train_32x32.mat`` and ``test_32x32.mat``.

Source: Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning" (2011).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastconv.data.available_memory import require_memory
from fastconv.data.errors import DataError
from fastconv.data.source import Rows, Source, part_named


def svhn_files(folder: Path) -> dict[str, Path]:
    """Return the .mat files of a folder whose names say which part they are."""
    found: dict[str, Path] = {}
    for file in sorted(folder.glob("*.mat")):
        part = part_named(file.stem)
        if part is not None:
            found.setdefault(part, file)
    return found


def svhn_source(path: Path) -> Source:
    """Find SVHN at a path: a folder of its files, or one of them.

    Raises
    ------
    DataError
        If SciPy, which reads them, is not installed, or there is no file for training.
    """
    files = svhn_files(path) if path.is_dir() else {"training": path}
    if "training" not in files:
        raise DataError(f"{path}: there is no file for training; expected train_32x32.mat")

    def read(remarks: list[str]) -> dict[str, Rows]:
        remarks.append("SVHN writes the digit 0 as 10; it is class 0 here")
        return {part: _read(file) for part, file in files.items()}

    return Source(path, "SVHN", tuple(files.values()), read, lambda: tuple("0123456789"))


def _read(file: Path) -> Rows:
    try:
        from scipy.io import loadmat, whosmat  # type: ignore[import-untyped]
    except ImportError:
        raise DataError(
            f"{file}: SciPy, which reads .mat files, is not installed; pip install 'fastconv[svhn]'"
        ) from None
    try:
        shapes = {name: shape for name, shape, _ in whosmat(file)}
        shape = shapes.get("X", ())
        if len(shape) != 4 or "y" not in shapes:
            there = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "nothing"
            raise DataError(
                f"{file}: holds {there}; expected X of (height, width, channels, samples) and y, "
                f"as SVHN's cropped digits have"
            )
        require_memory(str(file), 2 * int(np.prod(shape)), "save X and y as .npy, which is mapped")
        content = loadmat(file, variable_names=("X", "y"))
    except DataError:
        raise
    except Exception as fault:
        # Damage can make SciPy raise nearly anything.
        reason = " ".join(str(fault).split())[:200]
        raise DataError(
            f"{file}: is no MATLAB file of version 5, or damaged ({reason}); download it again"
        ) from None
    images, labels = content["X"].transpose(3, 0, 1, 2), content["y"].reshape(-1)
    if len(images) != len(labels):
        raise DataError(f"{file}: holds {len(images)} images but {len(labels)} labels")
    numbers = labels.astype(np.int64)
    numbers[numbers == 10] = 0
    return Rows(images, numbers)
