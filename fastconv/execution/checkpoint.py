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
_DAMAGE = (ValueError, KeyError, TypeError, OverflowError, RecursionError)
"""Errors that JSON of anybody's raises."""


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
            version, text, digest = (head[name] for name in ("format", "state", "blake2b"))
            newer = int(version) > FORMAT
            is_whole = digest == _digest(arrays, str(text))
            state = {} if newer or not is_whole else json.loads(text)
        except _DAMAGE:
            newer = is_whole = False
        if newer:
            raise CheckpointError(
                f"checkpoint {path}: its format is {version}, but this fastconv reads up to "
                f"{FORMAT}; update fastconv"
            )
        if not is_whole or not isinstance(state, dict):
            raise CheckpointError(
                f"checkpoint {path}: damaged (its content is not what was written); use another"
            )
        return cls(arrays, state)

    def part(self, name: str, kinds: Mapping[str, Any]) -> dict[str, Any]:
        """Return a part of the state, once it is what it may be.

        Parameters
        ----------
        name
            Of the part.
        kinds
            Types of its values, by name.

        Raises
        ------
        CheckpointError
            If one is missing, or of another type.

        Examples
        --------
        >>> Checkpoint({}, {"clock": {"seconds": 2}}).part("clock", {"seconds": int | float})
        {'seconds': 2}
        """
        found = self.state.get(name)
        table: dict[str, Any] = found if isinstance(found, dict) else {}
        for key, kind in kinds.items():
            value = table.get(key)
            # Python counts true and false among the integers.
            if not isinstance(value, kind) or isinstance(value, bool):
                raise CheckpointError(
                    f"checkpoint: damaged ({name}.{key} is {value!r:.60}; expected "
                    f"{getattr(kind, '__name__', kind)}); use another"
                )
        return table


def _digest(arrays: Mapping[str, NDArray[Any]], state: str) -> str:
    found = hashlib.blake2b(state.encode(), digest_size=32)
    for name, array in arrays.items():
        found.update(f"\n{name} {array.dtype.str} {array.shape}\n".encode())
        found.update(array.reshape(-1).view(np.uint8).data)
    return found.hexdigest()
