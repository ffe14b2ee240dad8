"""Every reader of files, with honest files of its kind to make hostile ones of."""

from __future__ import annotations

import functools
import gzip
import io
import json
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Reader:
    """One reader.

    ``seeds`` are honest contents; ``file`` is where a content goes in the folder that ``read`` is
    given; ``wrap`` brings a content into the file that holds it, such as an archive, whose own
    checksums would keep damage from what is inside; ``prepare`` puts beside it what is needed.
    ``takes_memory``: whether an honest file may ask for more than there is.
    """

    seeds: Callable[[], list[bytes]]
    read: Callable[[Path], Any]
    file: str = "file"
    wrap: Callable[[bytes], bytes] = bytes
    prepare: Callable[[Path], Any] = lambda folder: None
    takes_memory: bool = False


def _pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


# ---- data sets -------------------------------------------------------------------------------


def _idx() -> list[bytes]:
    pixels = struct.pack(">HBB3I", 0, 8, 3, 3, 5, 4) + _pixels(3, 5, 4).tobytes()
    numbers = struct.pack(">HBBI", 0, 0x0D, 1, 4) + np.arange(4, dtype=">f4").tobytes()
    return [pixels, numbers, gzip.compress(pixels), struct.pack(">HBBI", 0, 8, 1, 0)]


def _read_idx(folder: Path) -> Any:
    from fastconv.data.idx import read_idx

    return read_idx(folder / "file")


def _batch(version: int, rows: int = 2) -> bytes:
    batch = {b"data": _pixels(rows, 3072), b"labels": [3] * rows, b"batch_label": b"one"}
    return pickle.dumps(batch, version)


def _batches() -> list[bytes]:
    return [_batch(version) for version in range(6)]


def _read_batch(folder: Path) -> Any:
    from fastconv.data.batch_pickle import load_batch_pickle

    return load_batch_pickle("file", (folder / "file").read_bytes())


def _archives() -> list[bytes]:
    names = [*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]
    members = {name: _batch(2) for name in names}
    members["batches.meta"] = pickle.dumps({b"label_names": [b"%d" % n for n in range(10)]}, 2)
    made = []
    for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w", format=format) as archive:
            for name, inside in members.items():
                member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
                member.size = len(inside)
                archive.addfile(member, io.BytesIO(inside))
        made.append(content.getvalue())
    return made


def _read_archive(folder: Path) -> Any:
    from fastconv.data.cifar10 import load_cifar10

    return load_cifar10(folder / "cifar-10-python.tar.gz")


def _saved(save: Callable[..., Any], *values: Any, **named: Any) -> bytes:
    content = io.BytesIO()
    save(content, *values, **named)
    return content.getvalue()


def _npy() -> list[bytes]:
    images = _pixels(3, 5, 4, 1)
    return [
        _saved(np.save, each)
        for each in (images, np.asfortranarray(images.astype(">f4")), np.zeros(0), np.array("text"))
    ]


def _read_npy(folder: Path) -> Any:
    from fastconv.data.array_files import images_of_file

    return np.array(images_of_file(folder / "images.npy"))


def _npz() -> list[bytes]:
    arrays = {"images": _pixels(3, 5, 4, 1), "labels": np.array([0, 1, 2])}
    return [_saved(save, **arrays) for save in (np.savez, np.savez_compressed)]


def _npz_around(npy: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("images.npy", npy)
        archive.writestr("labels.npy", _saved(np.save, np.array([0, 1, 2])))
    return content.getvalue()


def _read_npz(folder: Path) -> Any:
    from fastconv.data.array_files import array_file
    from fastconv.data.own_options import OwnOptions

    return array_file(folder / "file.npz", OwnOptions("file.npz")).read([])


def _tables() -> list[bytes]:
    rows = "".join(f"{n % 3},{n},{2.5 * n},7\n" for n in range(9))
    return [
        f"label,a,b,c\n{rows}".encode(),
        rows.replace(",", ";").encode("utf-8-sig"),
        b'label,"a,1",b\n"x",1,2\n"y",3,"4"\n',
    ]


def _read_table(folder: Path, ending: str = "csv") -> Any:
    from fastconv.data.own_options import OwnOptions
    from fastconv.data.tables import read_table

    return read_table(folder / f"file.{ending}", OwnOptions(f"file.{ending}"))


def _parquet() -> list[bytes]:
    import pyarrow
    from pyarrow import parquet

    numbers = pyarrow.table({"label": [0, 1, 2], "a": [1.0, 2.0, 3.0], "b": [7, 8, 9]})
    lists = pyarrow.table({"label": ["x", "y"], "pixels": [[1, 2, 3, 4], [5, 6, 7, 8]]})
    picture = _picture("PNG")
    images = pyarrow.table({"label": [0, 1], "image": [picture, picture]})
    return [_saved(lambda file, table: parquet.write_table(table, file), table)
            for table in (numbers, lists, images)]  # fmt: skip


def _mat() -> list[bytes]:
    from scipy.io import savemat

    arrays = {"X": _pixels(32, 32, 3, 2), "y": np.array([[10], [1]], np.uint8)}
    return [_saved(savemat, arrays, do_compression=packed) for packed in (False, True)]


def _read_mat(folder: Path) -> Any:
    from fastconv.data.svhn import svhn_source

    return svhn_source(folder / "train_32x32.mat").read([])


# ---- pictures --------------------------------------------------------------------------------


def _picture(format: str) -> bytes:
    from PIL import Image

    return _saved(Image.fromarray(_pixels(6, 5, 3)).save, format=format)


def _pictures(*formats: str) -> Callable[[], list[bytes]]:
    return lambda: [_picture(format) for format in formats]


def _with_checksums(png: bytes) -> bytes:
    """The chunks of a PNG file with the checksums that they should have."""
    made, place = bytearray(png[:8]), 8
    while place + 12 <= len(png):
        size = min(int.from_bytes(png[place : place + 4], "big"), len(png) - place - 12)
        inside = png[place + 4 : place + 8 + size]
        made += png[place : place + 4] + inside + struct.pack(">I", zlib.crc32(inside))
        place += size + 12
    return bytes(made)


def _read_picture(folder: Path) -> Any:
    from fastconv.data.picture_files import read_picture

    return read_picture(folder / "file", (8, 8, 3))


# ---- recipes, runs, weights, checkpoints -----------------------------------------------------


def _recipes() -> list[bytes]:
    from fastconv.recipe import recipe_names
    from fastconv.recipes import shipped_files

    folder = Path(shipped_files.__file__).parent
    return [(folder / f"{name}.toml").read_bytes() for name in recipe_names()]


def _read_recipe(folder: Path) -> Any:
    from fastconv.recipe import load_recipe

    return load_recipe(str(folder / "file.toml"))


LAYERS = [{"kind": "conv2d", "filters": 2}, {"kind": "flatten"}, {"kind": "dense", "units": 3}]
STEPS = 3


@functools.cache
def _run_files() -> dict[str, bytes]:
    """The files of a finished run with a checkpoint, by their names."""
    import tempfile

    from saved_runs import recipe_of, save_run, shades

    from fastconv.runs.checkpoints import CheckpointInterval, RunCheckpoints
    from fastconv.training_loop import Progress

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        recipe = recipe_of(LAYERS, epochs=1, validate_every=2)
        experiment = save_run(folder, recipe, shades(samples=60))
        environment = {"fastconv": "0", "processor": "one"}
        RunCheckpoints(
            folder, experiment.trainer, CheckpointInterval(),
            lambda: {"probe": "", "environment": environment, "recipe": recipe.table()}, print,
        ).save(Progress())  # fmt: skip
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }


def _put_run(folder: Path) -> None:
    for name, content in _run_files().items():
        (folder / "run" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "run" / name).write_bytes(content)


def _read_run(folder: Path) -> Any:
    from fastconv.runs.saved_run import load_run

    run = load_run(folder / "run")
    return run.network(), run.preprocessing, run.history, run.probe


def _file_of_run(name: str) -> Reader:
    return Reader(
        lambda: [_run_files()[name]], _read_run, f"run/{name}", prepare=_put_run, takes_memory=True
    )


CHECKPOINT = f"checkpoints/step-{STEPS:09}.safetensors"


def _states() -> list[bytes]:
    """The JSON of a checkpoint's state."""
    from fastconv.execution import checkpoint

    content = _run_files()[CHECKPOINT]
    size = int.from_bytes(content[:8], "little")
    head = json.loads(content[8 : 8 + size])["__metadata__"][checkpoint._KEY]
    return [json.loads(head)["state"].encode()]


def _checkpoint_around(state: bytes) -> bytes:
    """A checkpoint of the same arrays and another state, whose digest is right all the same."""
    from safetensors.numpy import load, save

    from fastconv.execution import checkpoint

    arrays = dict(sorted(load(_run_files()[CHECKPOINT]).items()))
    text = state.decode("utf-8", "replace")
    head = {"format": 1, "blake2b": checkpoint._digest(arrays, text), "state": text}
    return save(arrays, metadata={checkpoint._KEY: json.dumps(head)})


@functools.cache
def _experiment() -> Any:
    from saved_runs import recipe_of, shades

    from fastconv.execution.config import ExecutionConfig
    from fastconv.runs.experiment import prepare

    recipe = recipe_of(LAYERS, epochs=1, validate_every=2)
    return prepare(recipe, dataset=shades(samples=60), config=ExecutionConfig("numpy"))


def _resume(folder: Path) -> Any:
    """Go on with a run, up to its first step."""
    from fastconv.runs.resumption import reopen

    experiment = _experiment()
    resumption = reopen(folder / "run", [("epochs", 2)])
    try:
        resumption.check_data(experiment.plain_dataset)
        progress = resumption.restore(experiment.trainer, 2 * STEPS)
        return progress, resumption.remarks_on(experiment.trainer)
    finally:
        resumption.folder.close()


def _read_weights(folder: Path) -> Any:
    network = _experiment().trainer.network
    before = network.parameters.copy()
    try:
        network.load_weights(folder / "file")
    finally:
        network.parameters[...] = before


def _weights() -> list[bytes]:
    from safetensors.numpy import save

    return [_run_files()["weights.safetensors"], save({"a": np.zeros((2, 3), np.float16)})]


READERS: dict[str, Reader] = {
    "idx": Reader(_idx, _read_idx),
    "pickled batch": Reader(_batches, _read_batch),
    "tar": Reader(
        _archives, _read_archive, "cifar-10-python.tar.gz", lambda c: gzip.compress(c, 1)
    ),
    "tar.gz": Reader(
        lambda: [gzip.compress(c, 9) for c in _archives()], _read_archive, "cifar-10-python.tar.gz"
    ),
    "npy": Reader(_npy, _read_npy, "images.npy"),
    "npz": Reader(_npz, _read_npz, "file.npz"),
    "npy in npz": Reader(lambda: _npy()[:2], _read_npz, "file.npz", _npz_around),
    "csv": Reader(_tables, _read_table, "file.csv"),
    "parquet": Reader(_parquet, lambda f: _read_table(f, "parquet"), "file.parquet"),
    "mat": Reader(_mat, _read_mat, "train_32x32.mat"),
    "png": Reader(_pictures("PNG"), _read_picture, wrap=_with_checksums),
    "pictures": Reader(
        _pictures("JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "ICO", "PCX", "SGI", "TGA"),
        _read_picture,
    ),
    "recipe": Reader(_recipes, _read_recipe, "file.toml"),
    **{
        f"run: {name}": _file_of_run(name)
        for name in ("model.json", "summary.json", "environment.json", "history.csv", "probe.csv",
                     "recipe.toml", "weights.safetensors")
    },
    "weights": Reader(_weights, _read_weights),
    "checkpoint": Reader(
        lambda: [_run_files()[CHECKPOINT]], _resume, f"run/{CHECKPOINT}", prepare=_put_run
    ),
    "checkpoint's state": Reader(
        _states, _resume, f"run/{CHECKPOINT}", _checkpoint_around, _put_run
    ),
    **{
        f"resumed {name}": Reader(
            lambda name=name: [_run_files()[name]], _resume, f"run/{name}", prepare=_put_run
        )
        for name in ("model.json", "environment.json", "summary.json", "recipe.toml")
    },
}  # fmt: skip
