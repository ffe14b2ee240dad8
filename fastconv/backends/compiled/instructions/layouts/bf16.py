"""Layouts of the kernels whose products have factors of bf16."""

from __future__ import annotations

from typing import Any

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.instructions.layout import Group
from fastconv.backends.compiled.instructions.layouts.declaration import declare

PATCHES = Group(
    "patches",
    (
        "samples", "height", "width", "channels", "rows", "columns", "last_columns", "taps_down",
        "taps_across", "depth", "stride_down", "stride_across", "dilation_down",
        "dilation_across", "top-", "left-", "groups", "outputs",
    ),
)  # fmt: skip
"""What the outputs of a convolution see of images in NHWC without gaps."""

_OF_PATCHES: dict[str, Any] = {
    "height": "rows of A",
    "width": "columns of A",
    "channels": "channels of A, of all groups",
    "rows": "rows of what is written, or of dy",
    "columns": "columns of it",
    "last_columns": "columns of its last row, and of that of A if they are fewer",
    "taps_down": "taps from top to bottom",
    "taps_across": "taps from left to right",
    "depth": "channels of a group of A",
    "stride_down": "rows of A from row to row of what is written",
    "stride_across": "columns of A from column to column of it",
    "dilation_down": "rows of A from tap to tap",
    "dilation_across": "columns of A from tap to tap",
    "top": "rows of A that the first tap lies above it",
    "left": "columns of A that the first tap lies left of it",
    "groups": "groups of channels",
}
_PIECES: dict[str, Any] = {
    "band_rows": "rows of what is written, or of dy, that are done together",
    "by_bands": "whether A is read as it lies, rounded; else its patches are copied",
    "scratch": "memory of each thread for what it rounds",
    "scratch_thread": "elements of it from thread to thread",
    "patch_elements": "the first of them, which hold float32 patches",
}

LAYOUTS = dict(
    (
        declare(
            Kernel.BF16_PACK_WEIGHTS,
            "packed[group][16 columns][step] = 32 rows of the matrix of weights, [tap, k][column], "
            "in pairs",
            "w packed",
            "groups outputs taps_down taps_across depth w_group w_output- w_down- w_across- "
            "w_depth-",
            packed="bf16: tiles of 16 rows of 16 pairs, filled up with zeros",
            groups="groups of channels",
            taps_down="taps from top to bottom",
            taps_across="taps from left to right",
            depth="weights of a tap and a column",
            w_group="stride of w from group to group",
            w_output="stride of w from column to column",
            w_down="stride of w from tap to tap down",
            w_across="stride of w from tap to tap across",
            w_depth="stride of w along depth",
        ),
        declare(
            Kernel.BF16_TILES,
            "C[sample, row, column, n] = bias[n] + sum over taps and k of A[...] B[tap, k, n], "
            "factors rounded to bf16",
            "a packed c scratch bias? other?",
            "{patches} c_sample c_row c_column c_group packed_group band_rows by_bands "
            "patch_elements scratch_thread epilogue",
            "slope",
            field_groups=(PATCHES,),
            packed="those of bf16_pack_weights",
            c="what is written",
            c_sample="stride of C from sample to sample",
            c_row="stride of C from row to row",
            c_column="stride of C from column to column",
            c_group="stride of C from group to group",
            packed_group="bf16 from group to group",
            epilogue="what becomes of the sums: STORE, LEAKY_RELU or LEAKY_GRADIENT",
            **_OF_PATCHES,
            **_PIECES,
        ),
        declare(
            Kernel.BF16_WEIGHT_SUMS,
            "sums[part][group][tap, k][n] = sum over samples of a part, and pixels, of A[...] "
            "dy[pixel, n], factors rounded to bf16; bias_sums[part][n] = sum of dy",
            "a dy sums scratch bias_sums?",
            "{patches} parts together depth_block band_rows by_bands patch_elements scratch_thread",
            field_groups=(PATCHES,),
            sums="whole tiles of rows and columns",
            bias_sums="float64: of all groups",
            parts="parts of the samples, each with sums of its own",
            together="bands that are summed in registers",
            depth_block="channels of a group that are done together",
            **_OF_PATCHES,
            **_PIECES,
        ),
        declare(
            Kernel.BF16_WEIGHT_GRADIENT,
            "dw[tap, k][group][n] = the sums of all parts, which are added in their order; db "
            "likewise",
            "sums dw bias_sums? db? rate?",
            "groups rows outputs parts epilogue",
            "decay bias_decay",
            sums="those of bf16_weight_sums",
            bias_sums="float64: those of bf16_weight_sums",
            groups="groups of channels",
            rows="taps times the channels of a group",
            parts="how many there are",
            epilogue="STORE or UPDATE",
            decay="UPDATE: factor of rate * w that is subtracted beside",
            bias_decay="UPDATE: factor of rate * b that is subtracted beside",
        ),
    )
)
