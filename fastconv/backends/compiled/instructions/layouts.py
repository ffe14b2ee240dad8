"""What stands in a record: the names of its pointers, integers and reals, for each kernel.

The kernels themselves (``kernels/cpu`` and the numba backend) say what each means and read them by
place; everything in Python that looks into a record does so by name. A pointer, integer or real
that a record leaves out at the end is not there: None, or an error for a number.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from fastconv.backends.compiled.instructions.record import Pointer, Record


@dataclass(frozen=True, slots=True)
class Layout:
    """Names in a record, in their order.

    Parameters
    ----------
    pointers, integers, reals
        The names.
    """

    pointers: tuple[str, ...]
    integers: tuple[str, ...] = ()
    reals: tuple[str, ...] = ()


def _layout(pointers: str, integers: str = "", reals: str = "") -> Layout:
    return Layout(tuple(pointers.split()), tuple(integers.split()), tuple(reals.split()))


_CONV_TAPS = "taps_down a_down {0}_down taps_across a_across {0}_across depth"
_C_STRIDES = "a_sample a_row a_column c_sample c_row c_column"
_POOL = (
    "batch channels height width out_height out_width kernel_height kernel_width stride_height "
    "stride_width top left bottom right count_padding"
)
_DEPTHWISE = (
    "samples channels height width rows columns taps_down taps_across stride_down stride_across "
    "dilation_down dilation_across top left"
)
_PLANES = (
    "samples channels height width rows columns taps_down taps_across dilation_down "
    "dilation_across stride_down stride_across spacing top left w_channel w_down w_across "
    "other_row other_plane tile_columns tile_rows tile_down tile_across line_step phases length"
)
_PENALTIES = "l2 coupled_decay decoupled_decay"

LAYOUTS: dict[str, Layout] = {
    "conv_tiles": _layout(
        "a b c bias other",
        f"samples rows columns vectors outputs tile_rows {_C_STRIDES} {_CONV_TAPS.format('b')} "
        "b_depth b_block groups a_group b_group c_group start finish blocks_outside last_columns",
        "slope",
    ),
    "conv_weight_tiles": _layout(
        "a dy dw db rate",
        "samples rows columns vectors outputs tile_rows "
        f"a_sample a_row a_column dy_sample dy_row dy_column {_CONV_TAPS.format('dw')} "
        "dw_depth groups a_group dy_group dw_group together finish",
        "decay bias_decay",
    ),
    "interleaved_tiles": _layout(
        "a b c bias other",
        f"samples rows columns tile_outputs outputs tile_pixels {_C_STRIDES} "
        f"{_CONV_TAPS.format('b')} b_depth groups a_group b_group c_group finish "
        "first_row image first_column image_row",
        "slope",
    ),
    "interleaved_weight_tiles": _layout(
        "a dy dw db sums",
        "samples rows columns tile_outputs outputs tile_inputs "
        f"a_sample a_row a_column dy_sample dy_row dy_column {_CONV_TAPS.format('dw')} "
        "dw_depth groups a_group dy_group dw_group parts first_row image rows_together dw_part",
    ),
    "winograd_weights": _layout(
        "w transformed", "outputs inputs vectors w_down w_across w_input place"
    ),
    "winograd_tiles": _layout(
        "a b c bias other",
        f"samples tile_rows tiles vectors outputs together {_C_STRIDES} inputs finish place",
        "slope",
    ),
    "winograd_weight_sums": _layout(
        "a dy sums bias_sums",
        "samples tile_rows tiles vectors outputs tile_inputs "
        "a_sample a_row a_column dy_sample dy_row dy_column inputs parts together",
    ),
    "winograd_weight_gradient": _layout(
        "sums bias_sums dw db rate", "inputs outputs parts finish", "decay bias_decay"
    ),
    "pad_images": _layout(
        "x y",
        "samples height width channels out_height out_width out_channels top left",
    ),
    "pack_weights": _layout(
        "w packed",
        "groups vectors outputs taps_down taps_across depth "
        "w_group w_output w_down w_across w_depth packed_group packed_block",
    ),
    "pack_phases": _layout(
        "w packed",
        "vectors phases inputs taps_down taps_across depth w_down w_across w_input first step "
        "packed_block",
    ),
    "sum_pixels": _layout("x total", "pixels channels"),
    "transpose": _layout("x y", "matrices rows columns x_period y_period tile_rows tile_columns"),
    "depthwise_tiles": _layout(
        "x w b y",
        f"{_DEPTHWISE} w_down w_across first_row first_column row_step column_step "
        "y_height y_width",
    ),
    "depthwise_weight_tiles": _layout("x dy dw db", _DEPTHWISE),
    "spread_channels": _layout("x y b", "pixels channels times adds"),
    "plane_products": _layout("x w b y", _PLANES),
    "plane_weight_products": _layout("x dy dw db", f"{_PLANES} parts together"),
    "row_products": _layout("a b c", "a_rows b_rows depth a_row b_row c_row"),
    "add_parts": _layout("terms b y", "size b_size parts finish", "slope"),
    "dense_backward_update": _layout(
        "dy x w b dx other rate", "inputs outputs finish", "decay bias_decay slope"
    ),
    "pooled_lists": _layout(
        "dy argmax y gradient offset sorted_gradient channel count",
        "samples rows columns channels plane_width x_row x_pixel",
        "slope",
    ),
    "pooled_weight_tiles": _layout(
        "x gradient offset dw db",
        "samples pixels channels x_sample x_row taps_down vectors tile_rows band",
    ),
    "pooled_data_tiles": _layout(
        "gradient channel count w dx other",
        "samples rows columns channels height width inputs strip finish",
        "slope",
    ),
    "transpose_weights": _layout(
        "sums bias_sums dw db rate", "depth outputs finish", "decay bias_decay"
    ),
    "gather_images": _layout("images indices x", "batch elements itemsize"),
    "gather_min_max_images": _layout("images indices x", "batch elements"),
    "gather_rows": _layout("rows indices y", "batch bytes"),
    "scale_images": _layout("x factor y", "size"),
    "standardize_images": _layout("x mean deviation y", "rows period"),
    "min_max_images": _layout("x y", "batch elements"),
    "augment_images": _layout(
        "x step y",
        "batch height width channels flip crop warps cutout key0 key1 stream",
        "rotation shear translation",
    ),
    "random_words": _layout("step words", "count key0 key1 stream"),
    "dropout_forward": _layout("x step mask y", "size threshold key0 key1 stream", "scale"),
    "dropout_backward": _layout("dy mask dx", "size", "scale"),
    "activation_forward": _layout("x y", "size kind", "alpha scale"),
    "activation_backward": _layout("dy y dx", "size kind", "alpha scale"),
    "softmax_forward": _layout("x y", "rows classes together"),
    "softmax_backward": _layout("dy y dx", "rows classes together"),
    "log_softmax_forward": _layout("x y powers", "rows classes together"),
    "log_softmax_backward": _layout("dy y dx powers", "rows classes together"),
    "max_pool2d_forward": _layout("x y argmax", _POOL),
    "max_pool2d_backward": _layout("dy argmax dx", _POOL),
    "max_pool2d_backward_pairs": _layout("dy argmax dx", _POOL),
    "avg_pool2d_forward": _layout("x y", _POOL),
    "avg_pool2d_backward": _layout("dy dx", _POOL),
    "global_avg_pool2d_forward": _layout("x y", "batch pixels channels"),
    "global_avg_pool2d_backward": _layout("dy dx", "batch height width channels"),
    "norm_sums": _layout("x sums", "rows channels"),
    "norm_statistics": _layout(
        "sums gamma running_mean running_variance mean inverse_deviation factor",
        "rows channels",
        "epsilon momentum",
    ),
    "norm_factor": _layout("gamma variance factor", "channels", "epsilon"),
    "norm_apply": _layout("x mean factor beta y", "rows channels"),
    "norm_gradient_sums": _layout("dy x mean inverse_deviation sums", "rows channels"),
    "norm_gradients": _layout(
        "sums gamma inverse_deviation dgamma dbeta means factor", "rows channels"
    ),
    "norm_backward_data": _layout("dy x mean inverse_deviation means factor dx", "rows channels"),
    "softmax_cross_entropy_forward": _layout(
        "scores labels losses probabilities", "batch outputs together"
    ),
    "softmax_cross_entropy_backward": _layout(
        "probabilities labels dscores", "batch outputs together"
    ),
    "nll_forward": _layout("scores labels losses", "batch outputs together"),
    "nll_backward": _layout("labels dscores", "batch outputs together"),
    "mean_squared_error_forward": _layout("y target losses", "batch outputs together"),
    "mean_squared_error_backward": _layout("y target dy", "size"),
    "sum_losses": _layout("losses statistics", "batch"),
    "count_correct": _layout("scores labels statistics", "batch outputs"),
    "sgd_update": _layout("w dw rate", "size weights decayed", _PENALTIES),
    "momentum_update": _layout(
        "w dw m rate", "size weights decayed nesterov", f"{_PENALTIES} momentum share"
    ),
    "adam_update": _layout(
        "w dw m v rate step", "size weights decayed", f"{_PENALTIES} beta1 beta2 epsilon"
    ),
}
"""By the names of the kernels."""


@functools.cache
def place_of(kernel: str, name: str) -> int:
    """Return the number of an integer among those of a kernel's records, by its name."""
    return LAYOUTS[kernel].integers.index(name)


@functools.cache
def pointer_place(kernel: str, name: str) -> int:
    """Return the number of a pointer among those of a kernel's records, by its name."""
    return LAYOUTS[kernel].pointers.index(name)


def integers_of(record: Record) -> Any:
    """Return the integers of a record as attributes.

    Raises
    ------
    ValueError
        If the record has more integers than its layout has names.
    """
    names = LAYOUTS[record.kernel].integers
    if len(record.integers) > len(names):
        raise ValueError(
            f"{record.kernel}: {len(record.integers)} integers; its layout has {len(names)} names"
        )
    return SimpleNamespace(**dict(zip(names, record.integers, strict=False)))


def pointer_of(record: Record, name: str) -> Pointer | None:
    """Return a pointer of a record by its name; None where it has none."""
    place = pointer_place(record.kernel, name)
    return record.pointers[place] if place < len(record.pointers) else None
