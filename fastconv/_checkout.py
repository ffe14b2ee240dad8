"""Saying so when a source checkout hides an installed fastconv."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

_HERE = Path(__file__).resolve().parent


def warn_if_shadowing() -> None:
    """Warn when this is a checkout and another fastconv, which it hides, is installed.

    Python looks for packages in the current folder first, so that in a checkout ``python -m
    fastconv.train`` runs the sources there, without the compiled extension that was installed
    elsewhere. Outside a checkout this costs one look at the file system.
    """
    if not (_HERE.parent / "setup.py").is_file():
        return
    from importlib import metadata

    try:
        installed = metadata.distribution("fastconv")
    except metadata.PackageNotFoundError:
        return
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        return
    other = Path(str(installed.locate_file("fastconv"))).resolve()
    if other.is_dir() and other != _HERE:
        warnings.warn(
            f"fastconv is imported from the checkout {_HERE.parent}, which hides the one installed "
            f"in {other.parent}; run from another folder, or pip install -e the checkout",
            RuntimeWarning,
            stacklevel=3,
        )
