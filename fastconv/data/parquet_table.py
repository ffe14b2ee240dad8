"""Tables in Parquet files: columns as in CSV, or pictures in one column, by PyArrow."""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import Any

import numpy as np

from fastconv.data.available_memory import require_memory
from fastconv.data.dataset import Array
from fastconv.data.errors import DataError
from fastconv.data.own_options import OwnOptions
from fastconv.data.source import Rows
from fastconv.data.table_columns import as_names, as_table_images, find_columns


def read_parquet(path: Path, options: OwnOptions, *, requires_label: bool = True) -> Rows:
    """Read a Parquet file.

    Parameters
    ----------
    path
        The file. A row has numbers in its columns; or its image in one, as a list of numbers.
    options
        Which columns are what.
    requires_label
        Whether a table without a column of classes is a mistake.

    Raises
    ------
    DataError
        If PyArrow is not installed, or a cell is not as it must be; it is named, with the column.
    """
    try:
        # By their names: type checkers need not have them.
        importlib.import_module("pyarrow")
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise DataError(
            f"{path}: pyarrow, which reads Parquet files, is not installed; pip install "
            f"'fastconv[parquet]'"
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            size = sum(
                file.metadata.row_group(n).total_byte_size
                for n in range(file.metadata.num_row_groups)
            )
            require_memory(str(path), 3 * size, "save it as .npz, which is mapped")
            columns = find_columns(str(path), schema.names, options, requires_label=requires_label)
            table = file.read()
    except DataError:
        raise
    except Exception as fault:  # damage can make PyArrow raise nearly anything
        reason = " ".join(str(fault).split())[:200] or type(fault).__name__
        raise DataError(
            f"{path}: is no Parquet file, or damaged ({reason}); save it again"
        ) from None
    if not table.num_rows:
        raise DataError(f"{path}: there are no rows; add some")
    values = [_column(path, table, n) for n in columns.values]
    joined = values[0] if len(values) == 1 and values[0].ndim > 1 else np.stack(values, axis=1)
    if joined.ndim > 2:
        images = joined if joined.ndim == 4 else joined[..., np.newaxis]
    elif len(columns.values) == 1 and joined.shape[1] > 1:
        images = _of_lists(path, joined, options)
    else:
        images = as_table_images(str(path), _narrow(joined), columns, options)
    labels = None if columns.label is None else _labels(path, table, columns.label)
    if columns.targets:
        of_targets = [_column(path, table, n).astype(np.float64) for n in columns.targets]
        labels = np.stack(of_targets, axis=1)
    groups = None
    if columns.group is not None:
        groups = [str(each) for each in table.column(columns.group).to_pylist()]
    return Rows(images, labels, groups=groups)


def _of_lists(path: Path, rows: Array, options: OwnOptions) -> Array:
    """Return images of a column of lists, one list a row."""
    from fastconv.data.table_columns import Columns

    count = rows.shape[1]
    names = tuple(f"pixel{n}" for n in range(count))
    return as_table_images(
        str(path), _narrow(rows), Columns(None, None, tuple(range(count)), names), options
    )


def _narrow(values: Array) -> Array:
    """Return whole numbers of a byte as such, and else float32."""
    if values.size and values.min() >= 0 and values.max() <= 255:
        small = values.astype(np.uint8)
        if np.array_equal(small, values):
            return small
    return values.astype(np.float32)


def _column(path: Path, table: Any, number: int) -> Array:
    """Return the numbers of a column: (rows,), or (rows, ...) of lists."""
    name, column = table.schema.names[number], table.column(number)
    where = f"{path}: column {name!r}"
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise DataError(
            f"{path}: row {row + 1}, column {name!r} is missing; expected a number; correct it, or "
            f"leave the column out with --set data.leave_out=[{name!r}]"
        )
    if str(column.type) in ("binary", "large_binary") or str(column.type).startswith(
        "struct<bytes"
    ):
        return _pictures(where, column)
    listed = "list<" in str(column.type)
    try:
        found = np.array(column.to_pylist()) if listed else column.to_numpy()
    except ValueError:
        raise DataError(f"{where} holds lists of different lengths; expected one length") from None
    if found.dtype.kind not in "iufb":
        raise DataError(
            f"{where} is of type {column.type}; expected numbers; leave it out with --set "
            f"data.leave_out=[{name!r}]"
        )
    if found.dtype.kind == "f":
        bad = ~np.isfinite(found.reshape(len(found), -1)).all(axis=1)
        if bad.any():
            row = int(bad.argmax())
            raise DataError(
                f"{path}: row {row + 1}, column {name!r} holds a value that is not finite; "
                f"expected a finite number; correct it, or take the row away"
            )
    return found


def _pictures(where: str, column: Any) -> Array:
    """Decode the pictures of a column: their bytes, or a structure with those."""
    from PIL import Image

    from fastconv.data.picture_files import bomb_is_error, open_picture

    decoded: list[Array] = []
    with bomb_is_error():
        for row, cell in enumerate(column.to_pylist()):
            content = cell["bytes"] if isinstance(cell, dict) else cell
            try:
                with open_picture(io.BytesIO(content)) as file:
                    picture = file.convert("L" if file.mode in ("1", "L", "LA") else "RGB")
            except (OSError, ValueError, TypeError, SyntaxError, Image.DecompressionBombError,
                    Image.DecompressionBombWarning) as fault:  # fmt: skip
                reason = type(fault).__name__
                raise DataError(
                    f"{where}, row {row + 1}: is no picture that Pillow can read ({reason}); "
                    f"correct it, or take the row away"
                ) from None
            pixels = np.asarray(picture)
            decoded.append(pixels if pixels.ndim == 3 else pixels[..., np.newaxis])
            if decoded[-1].shape != decoded[0].shape:
                raise DataError(
                    f"{where}, row {row + 1}: the picture has shape {decoded[-1].shape} but that "
                    f"of row 1 {decoded[0].shape}; expected one; save them as files in folders, "
                    f"where data.fit brings them to one size"
                )
    return np.stack(decoded)


def _labels(path: Path, table: Any, number: int) -> Array:
    column = table.column(number)
    if column.null_count:
        row = column.is_null().to_pylist().index(True)
        raise DataError(
            f"{path}: row {row + 1}, column {table.schema.names[number]!r} has no class; write it, "
            f"or take the row away"
        )
    values = column.to_pylist()
    if all(isinstance(value, str) for value in values):
        return as_names(f"{path}: column {table.schema.names[number]!r}", values)
    return np.array(values)
