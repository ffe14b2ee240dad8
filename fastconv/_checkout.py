"""Saying so when a source checkout hides an installed fastconv."""

from __future__ import annotations

import os
import sys
import warnings

_HERE = os.path.dirname(os.path.realpath(__file__))


def warn_if_shadowing() -> None:
    """Warn when this is a checkout and another fastconv, which it hides, is installed.

    Python looks for packages in the current folder first, so that in a checkout ``python -m
    fastconv.train`` runs the sources there, without the compiled extension that was installed
    elsewhere. An editable install has no other copy. Only a few looks at the file system: this runs
    at every import.
    """
    root = os.path.dirname(_HERE)
    if not os.path.isfile(os.path.join(root, "setup.py")):
        return
    for entry in sys.path:
        other = os.path.realpath(os.path.join(entry, "fastconv"))
        if other != _HERE and os.path.isfile(os.path.join(other, "__init__.py")):
            warnings.warn(
                f"fastconv is imported from the checkout {root}, which hides the one in "
                f"{os.path.dirname(other)}; run from another folder, or pip install -e {root}",
                RuntimeWarning,
                stacklevel=3,
            )
            return
