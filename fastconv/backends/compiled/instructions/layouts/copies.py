"""Layouts of the kernels that copy, repeat or add up what products take and make."""

from __future__ import annotations

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.instructions.layouts.declaration import declare

LAYOUTS = dict(
    (
        declare(
            Kernel.PAD_IMAGES,
            "y = x among zeros: padding around images, and more channels",
            "x y",
            "samples height width channels out_height out_width out_channels top- left-",
            height="rows of x",
            width="columns of x",
            channels="channels of x",
            out_height="rows of y",
            out_width="columns of y",
            out_channels="channels of y",
            top="row of y where the first pixel of x goes; negative: a crop",
            left="column of y where the first pixel of x goes",
        ),
        declare(
            Kernel.PACK_WEIGHTS,
            "packed[group][block][tap down][tap across][k][lane] = w[...]",
            "w packed",
            "groups vectors outputs taps_down taps_across depth w_group w_output w_down- "
            "w_across- w_depth packed_group packed_block",
            groups="groups of channels",
            vectors="vectors of a block",
            taps_down="taps from top to bottom",
            taps_across="taps from left to right",
            depth="elements of a tap",
            w_group="stride of w from group to group",
            w_output="stride of w from output to output",
            w_down="stride of w from tap to tap down; they may go backwards",
            w_across="stride of w from tap to tap across",
            w_depth="stride of w along depth",
            packed_group="stride of the copy from group to group",
            packed_block="stride of the copy from block to block",
        ),
        declare(
            Kernel.PACK_SUBPIXEL_PHASES,
            "packed[block][tap down][tap across][k][phase, input] = w[...]: the weights of some "
            "sub-pixel phases of the columns side by side",
            "w packed",
            "vectors phases inputs taps_down taps_across depth w_down- w_across w_input first- "
            "step- packed_block",
            vectors="vectors of a block",
            phases="sub-pixel phases",
            taps_down="taps from top to bottom",
            taps_across="taps from left to right",
            depth="elements of a tap, side by side in w",
            w_down="stride of w from tap to tap down",
            w_across="stride of w from column to column of the kernel",
            w_input="stride of w from input to input",
            first="column of the kernel of the first phase and the first tap across",
            step="columns of the kernel from tap to tap across",
            packed_block="stride of the copy from block to block",
        ),
        declare(
            Kernel.SUM_PIXELS,
            "total[channel] = sum over pixels",
            "x total",
            "pixels channels",
            total="what is written",
        ),
        declare(
            Kernel.SPREAD_CHANNELS,
            "every channel repeated, or the repetitions added up: for more than one output channel "
            "for each input channel",
            "x y b?",
            "pixels channels times adds",
            b="for each channel; only where they are added up",
            channels="channels without the repetition",
            times="how often a channel is there",
            adds="whether to add up",
        ),
        declare(
            Kernel.TRANSPOSE,
            "y[n][row of c][j] = x[n][row of j][c] for matrices n; j and c run through the rows "
            "and columns of x in the order of x_period and the rows of y in that of y_period",
            "x y",
            "matrices rows columns x_period y_period tile_rows tile_columns",
            matrices="matrices",
            rows="rows of a matrix of x",
            columns="columns of a matrix of x",
            x_period="row j of the order is row j % period * (rows / period) + j / period of x; "
            "1 is the order of the matrix",
            y_period="the same of the rows of y",
            tile_rows="rows of a tile",
            tile_columns="columns of a tile",
        ),
        declare(
            Kernel.FIND_NOT_FINITE,
            "found[part] = whether a NaN or an infinity is in that part of x",
            "x found",
            "size",
            found="int64: 16 words, a condition of other instructions",
        ),
    )
)
