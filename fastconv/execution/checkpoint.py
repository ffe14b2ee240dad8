"""Files of a training that stopped: what it takes to go on as if it had not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv._errors import UserError
from fastconv._extras import missing_extra
from fastconv._files import replace_file

FORMAT = 1
"""Version of the files; a newer one is refused."""
_KEY = "fastconv_checkpoint"
"""Of the metadata."""


class CheckpointError(UserError, ValueError):
    """A checkpoint that cannot be read or does not fit: which, why, and the fix, in one line."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """State of a training between two of its steps.

    Parameters
    ----------
    arrays
        By name: the network's as in the file of its weights, and those of the optimiser behind
        "optimizer/".
    state
        All else, as JSON has it: numbers keep all their bits.
    """

    arrays: dict[str, NDArray[Any]]
    state: dict[str, Any] = field(default_factory=dict)

    def write(self, path: str | Path) -> None:
        """Write it as safetensors, on the disk when this returns; the state is in the metadata.

        Parameters
        ----------
        path
            The file.
        """
        try:
            from safetensors.numpy import save
        except ModuleNotFoundError as fault:
            raise missing_extra("Checkpoint.write", fault) from None
        arrays = {name: np.ascontiguousarray(a) for name, a in sorted(self.arrays.items())}
        state = json.dumps(self.state)
        head = {"format": FORMAT, "blake2b": _digest(arrays, state), "state": state}
        # Under one key: the library writes several in any order, and equal states are equal files.
        content = save(arrays, metadata={_KEY: json.dumps(head)})
        with replace_file(path, "wb") as file:
            file.write(content)

    @classmethod
    def read(cls, path: str | Path) -> Checkpoint:
        """Read what :meth:`write` wrote.

        Parameters
        ----------
        path
            The file.

        Raises
        ------
        CheckpointError
            If it is not there, damaged in any bit, no checkpoint, or of a newer version.
        """
        try:
            from safetensors import SafetensorError, safe_open
        except ModuleNotFoundError as fault:
            raise missing_extra("Checkpoint.read", fault) from None
        if not Path(path).is_file():
            raise CheckpointError(f"checkpoint {path}: no such file; give one that was saved")
        try:
            with safe_open(path, framework="np") as file:
                metadata: Mapping[str, str] = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
        except OSError as fault:
            told = fault.strerror or fault
            raise CheckpointError(f"checkpoint {path}: cannot be read ({told})") from None
        except (SafetensorError, TypeError, AttributeError, ValueError) as fault:
            raise CheckpointError(f"checkpoint {path}: damaged ({fault}); use another") from None
        if _KEY not in metadata:
            raise CheckpointError(
                f"checkpoint {path}: holds weights alone, no state of a training; begin from them "
                f"with --init-from"
            )
        try:
            head = json.loads(metadata[_KEY])
            version, state, digest = (head[name] for name in ("format", "state", "blake2b"))
            newer = int(version) > FORMAT
        except (ValueError, KeyError, TypeError):
            version, state, digest, newer = 0, "", "", False
        if newer:
            raise CheckpointError(
                f"checkpoint {path}: its format is {version}, but this fastconv reads up to "
                f"{FORMAT}; update fastconv"
            )
        if digest != _digest(arrays, str(state)):
            raise CheckpointError(
                f"checkpoint {path}: damaged (its content is not what was written); use another"
            )
        return cls(arrays, json.loads(state))


def _digest(arrays: Mapping[str, NDArray[Any]], state: str) -> str:
    found = hashlib.blake2b(state.encode(), digest_size=32)
    for name, array in arrays.items():
        found.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        found.update(array.reshape(-1).view(np.uint8).data)
    return found.hexdigest()
