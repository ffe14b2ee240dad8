"""Packages that only a part of fastconv needs, by the extras of pyproject.toml that bring them."""

from __future__ import annotations

import importlib.util
import sys

from fastconv._errors import UserError

_TRAIN = (
    "rich", "platformdirs", "pooch", "safetensors", "tomli_w", "threadpoolctl", "jinja2", "PIL",
)  # fmt: skip
EXTRAS = {
    "numba": ("numba",),
    "train": _TRAIN,
    "plots": ("matplotlib",),
    "search": (*_TRAIN, "matplotlib", "optuna", "sklearn"),
    "sklearn": ("sklearn",),
    "parquet": ("pyarrow",),
    "svhn": ("scipy",),
    "onnx": ("onnx",),
    "pandas": ("pandas",),
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow",),
    "wandb": ("wandb",),
    "mpi": ("mpi4py",),
    "joblib": ("joblib",),
    "dask": ("dask", "distributed"),
    "ray": ("ray",),
    "torch": ("torch",),
    "jax": ("jax",),
}
"""By their names: the modules that they bring."""


class MissingExtra(UserError, ImportError):
    """A package that is not installed: who needs it, and which extra brings it, in one line."""


def missing_extra(owner: str, fault: ModuleNotFoundError, wanted: str | None = None) -> ImportError:
    """Return the error to raise where an import failed.

    Parameters
    ----------
    owner
        What needs the package.
    fault
        The import's; returned as it is where the module belongs to no extra.
    wanted
        The extra to name, where several bring the package.

    Examples
    --------
    >>> str(missing_extra("save_weights", ModuleNotFoundError(name="safetensors.numpy")))
    "save_weights: needs safetensors, which is not installed; pip install 'fastconv[train]'"
    """
    module = (fault.name or "").partition(".")[0]
    for extra, modules in EXTRAS.items():
        if module in modules and wanted in (None, extra):
            return MissingExtra(f"{owner}: {_told(module, extra)}")
    return fault


def require_extra(extra: str, command: str) -> None:
    """End the process with one line and exit code 2 unless all of an extra can be imported.

    For the start of a command's module, before it imports what needs them.

    Parameters
    ----------
    extra
        One of :data:`EXTRAS`.
    command
        As it is typed.
    """
    for module in EXTRAS[extra]:
        if importlib.util.find_spec(module) is None:
            print(f"{command}: {_told(module, extra)}", file=sys.stderr)
            sys.exit(2)


def _told(module: str, extra: str) -> str:
    package = {"PIL": "pillow", "tomli_w": "tomli-w", "sklearn": "scikit-learn"}.get(module, module)
    return f"needs {package}, which is not installed; pip install 'fastconv[{extra}]'"
