"""Layouts of the kernels that multiply: convolutions and dense layers."""

from __future__ import annotations

from typing import Any

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.instructions.layout import Group
from fastconv.backends.compiled.instructions.layouts.declaration import declare

_EPILOGUE = "what becomes of the sums: STORE, LEAKY_RELU, LEAKY_GRADIENT or UPDATE"

_STRIDES_OF_A: dict[str, Any] = {
    "a_sample": "stride of A from sample to sample of what is written, or of dy",
    "a_row": "stride of A from row to row of it",
    "a_column": "stride of A from column to column of it",
}
_STRIDES_OF_IMAGE: dict[str, Any] = {
    "a_sample": "stride of A from sample to sample",
    "a_row": "stride of A from row to row",
    "a_column": "stride of A from pixel to pixel",
}
_SEEN_IMAGE: dict[str, Any] = _STRIDES_OF_IMAGE | {
    "top": "rows above the image where the first tiles begin; what is outside of it is 0",
    "left": "pixels beside it",
}
_SIDE = "outputs of a tile, down and across: 2 or 4"
_WRITTEN_SIZE: dict[str, Any] = {
    "c_height": "rows of C: what the last tiles have beyond them is left out",
    "c_width": "pixels of a row of C",
}
_STRIDES_OF_C: dict[str, Any] = {
    "c_sample": "stride of C from sample to sample",
    "c_row": "stride of C from row to row",
    "c_column": "stride of C from column to column",
}
_STRIDES_OF_DY: dict[str, Any] = {
    "dy_sample": "stride of dy from sample to sample",
    "dy_row": "stride of dy from row to row",
    "dy_column": "stride of dy from column to column",
}
_TAPS: dict[str, Any] = {
    "taps_down": "taps from top to bottom",
    "a_down": "stride of A from tap to tap down",
    "taps_across": "taps from left to right",
    "a_across": "stride of A from tap to tap across",
}
_TAPS_OF_B: dict[str, Any] = _TAPS | {
    "b_down": "stride of B from tap to tap down",
    "b_across": "stride of B from tap to tap across",
}
_TAPS_OF_DW: dict[str, Any] = _TAPS | {
    "dw_down": "stride of dw from tap to tap down",
    "dw_across": "stride of dw from tap to tap across",
    "dw_depth": "stride of dw along depth",
}
_GROUPS: dict[str, Any] = {
    "groups": "groups of channels",
    "a_group": "stride of A from group to group",
}
_GROUPS_OF_C: dict[str, Any] = _GROUPS | {
    "b_group": "stride of B from group to group",
    "c_group": "stride of C from group to group",
}
_GROUPS_OF_DW: dict[str, Any] = _GROUPS | {
    "dy_group": "stride of dy from group to group",
    "dw_group": "stride of dw from group to group",
}
_DECAYS: dict[str, Any] = {
    "decay": "UPDATE: factor of rate * w that is subtracted beside",
    "bias_decay": "UPDATE: factor of rate * b that is subtracted beside",
}

_DEPTHWISE = (
    "samples channels height width rows columns taps_down taps_across stride_down stride_across "
    "dilation_down dilation_across top- left-"
)
_OF_DEPTHWISE: dict[str, Any] = {
    "height": "rows of x",
    "width": "columns of x",
    "taps_down": "taps from top to bottom",
    "taps_across": "taps from left to right",
    "stride_down": "rows of x from row to row of what is written, or of dy",
    "stride_across": "columns of x from column to column of it",
    "dilation_down": "rows of x from tap to tap",
    "dilation_across": "columns of x from tap to tap",
    "top": "padding above",
    "left": "padding at the left",
}

PLANE_SIZES = Group(
    "plane_sizes",
    (
        "samples", "channels", "height", "width", "rows", "columns", "taps_down", "taps_across",
        "dilation_down", "dilation_across", "stride_down", "stride_across", "spacing", "top-",
        "left-", "w_channel", "w_down-", "w_across-", "other_row", "other_plane", "tile_columns",
        "tile_rows", "tile_down", "tile_across", "line_step", "phases", "length",
    ),
)  # fmt: skip
_OF_PLANES: dict[str, Any] = _OF_DEPTHWISE | {
    "height": "rows of a plane that is copied",
    "width": "columns of a plane that is copied",
    "rows": "rows of the other planes",
    "columns": "columns of the other planes",
    "spacing": "columns that the copy makes of one: zeros in between",
    "w_channel": "stride of the weights from channel to channel",
    "w_down": "stride of the weights from tap to tap down",
    "w_across": "stride of the weights from tap to tap across",
    "other_row": "stride of the other planes from row to row",
    "other_plane": "stride of the other planes from plane to plane",
    "tile_columns": "columns that are done together",
    "tile_rows": "rows that are done together",
    "tile_down": "taps down that are done together",
    "tile_across": "taps across that are done together",
    "line_step": "rows of the plane from line to line of the copy",
    "phases": "phases of the columns in a line: those of a stride lie apart",
    "length": "elements of a phase",
}

LAYOUTS = dict(
    (
        declare(
            Kernel.CONV_TILES,
            "C[sample, row, column, n] = init + sum over taps and k of A[...] B[tap, k, n]",
            "a b c bias? other?",
            "samples rows columns vectors outputs tile_rows a_sample a_row a_column c_sample c_row "
            "c_column taps_down a_down b_down taps_across a_across b_across depth b_depth b_block "
            "groups a_group b_group c_group accumulator_init epilogue blocks_outside last_columns",
            "slope",
            b="the weights, packed in blocks or as they lie",
            c="what is written",
            bias="INIT_BIAS: for each column of C; INIT_ROW_BIAS: for each row",
            vectors="vectors of a block of B",
            tile_rows="rows of a tile: columns of C",
            **_STRIDES_OF_A,
            **_STRIDES_OF_C,
            **_TAPS_OF_B,
            b_depth="stride of B along depth; 0: packed in blocks",
            b_block="stride of B from block to block",
            **_GROUPS_OF_C,
            accumulator_init="what the sums start from: INIT_ZERO, INIT_BIAS, INIT_C or "
            "INIT_ROW_BIAS",
            epilogue=_EPILOGUE,
            blocks_outside="whether blocks of B are the outer loop",
            last_columns="columns of the last row of C",
        ),
        declare(
            Kernel.CONV_WEIGHT_TILES,
            "dw[tap, k, n] = sum over samples and pixels of A[...] dy[pixel, n]; "
            "db[n] = sum of dy[pixel, n]",
            "a dy dw db? rate?",
            "samples rows columns vectors outputs tile_rows a_sample a_row a_column dy_sample "
            "dy_row dy_column taps_down a_down dw_down taps_across a_across dw_across depth "
            "dw_depth groups a_group dy_group dw_group together epilogue",
            "decay bias_decay",
            rows="rows of dy",
            columns="columns of dy",
            vectors="vectors of a block of dw",
            tile_rows="rows of a tile: elements along depth",
            **_STRIDES_OF_A,
            **_STRIDES_OF_DY,
            **_TAPS_OF_DW,
            **_GROUPS_OF_DW,
            together="samples that are taken through all tiles together; all of them for UPDATE",
            epilogue="STORE or UPDATE",
            **_DECAYS,
        ),
        declare(
            Kernel.IM2COL_TILES,
            "y[sample][output][pixel] = bias + sum over k of w[output][k] matrix[k][pixel], with "
            "the im2col matrix of images in NCHW",
            "x w y bias?",
            "samples channels height width rows columns taps_down taps_across stride_down "
            "stride_across dilation_down dilation_across top left groups outputs vectors tile_rows "
            "pixels_together depth_together outputs_together",
            channels="input channels of a group",
            stride_down="rows of x from row to row of y",
            stride_across="columns of x from column to column of y",
            dilation_down="rows of x from tap to tap",
            dilation_across="columns of x from tap to tap",
            taps_down="taps from top to bottom",
            taps_across="taps from left to right",
            top="padding above",
            left="padding at the left",
            groups="groups of channels",
            vectors="vectors of a block of the matrix",
            tile_rows="rows of a tile: outputs",
            pixels_together="columns of the matrix that are made together: whole blocks",
            depth_together="rows of the matrix that are made together",
            outputs_together="outputs of a piece of work",
        ),
        declare(
            Kernel.BATCH_BLOCKED_TILES,
            "C[sample, row, column, n] = bias + sum over taps and k of A[...] B[tap, k, n], "
            "a vector of samples at a time",
            "a b c bias? other?",
            "samples rows columns tile_outputs outputs tile_pixels a_sample a_row a_column "
            "c_sample c_row c_column taps_down a_down b_down taps_across a_across b_across depth "
            "b_depth groups a_group b_group c_group epilogue first_row- image first_column- "
            "image_row",
            "slope",
            c="what is written",
            samples="vectors of samples",
            tile_outputs="outputs of a tile",
            tile_pixels="pixels of a tile",
            **_STRIDES_OF_A,
            **_STRIDES_OF_C,
            **_TAPS_OF_B,
            b_depth="stride of B along depth",
            **_GROUPS_OF_C,
            epilogue=_EPILOGUE,
            first_row="where row 0 and the first tap down are, from the beginning of the image",
            image="elements of the image",
            first_column="where column 0 and the first tap across are, from the left edge",
            image_row="elements of a row of the image",
        ),
        declare(
            Kernel.BATCH_BLOCKED_WEIGHT_TILES,
            "dw[part][tap, k, n] = sum over the samples of a part, and pixels, of "
            "A[...] dy[pixel, n]; db[part][n] = sum of dy[pixel, n]",
            "a dy dw db? sums",
            "samples rows columns tile_outputs outputs tile_inputs a_sample a_row a_column "
            "dy_sample dy_row dy_column taps_down a_down dw_down taps_across a_across dw_across "
            "depth dw_depth groups a_group dy_group dw_group parts first_row- image rows_together "
            "dw_part",
            sums="workspace: the sums of each lane",
            samples="vectors of samples",
            rows="rows of dy",
            columns="columns of dy",
            tile_outputs="outputs of a tile",
            tile_inputs="elements along depth of a tile",
            **_STRIDES_OF_A,
            **_STRIDES_OF_DY,
            **_TAPS_OF_DW,
            **_GROUPS_OF_DW,
            parts="parts of the samples, each with a sum of its own",
            first_row="where row 0 and the first tap down are, from the beginning of the image",
            image="elements of the image",
            rows_together="rows that are taken through the tiles of a tap down together",
            dw_part="elements of the gradient of a part",
        ),
        declare(
            Kernel.WINOGRAD_WEIGHTS,
            "transformed[place][block][k][n] = G g G' of the weights g of input k and output n",
            "w transformed",
            "side outputs inputs vectors w_down- w_across- w_input place",
            side=_SIDE,
            transformed="what is written",
            outputs="output channels, whole blocks",
            vectors="vectors of a block",
            w_down="stride of w from row to row of the kernel",
            w_across="stride of w from column to column of the kernel",
            w_input="stride of w from input to input",
            place="stride of the result from place to place: no multiple of 4 KiB, with which all "
            "places would be in one set of a cache",
        ),
        declare(
            Kernel.WINOGRAD_TILES,
            "C[sample, row, column, n] = bias + sum over 3x3 taps and k of A[...] w[tap, k, n]",
            "a b c bias? other?",
            "side samples tile_rows tiles vectors outputs together a_sample a_row a_column height "
            "width top- left- c_sample c_row c_column c_height c_width inputs epilogue place",
            "slope",
            b="the transformed weights",
            c="what is written",
            side=_SIDE,
            tile_rows="rows of tiles",
            tiles="tiles of a row",
            vectors="vectors of a block",
            together="tiles of a group, at most",
            **_WRITTEN_SIZE,
            **_SEEN_IMAGE,
            **_STRIDES_OF_C,
            epilogue=_EPILOGUE,
            place="stride of the weights from place to place",
        ),
        declare(
            Kernel.WINOGRAD_PIXELS,
            "transformed[place][tile][k] = (B' d B)[place][k] of the pixels d that a tile sees",
            "a transformed",
            "side first count tile_rows tiles a_sample a_row a_column height width top- left- "
            "inputs",
            side=_SIDE,
            transformed="what is written",
            first="number of the first tile, counted through the samples",
            count="tiles",
            tile_rows="rows of tiles of a sample",
            tiles="tiles of a row",
            **_SEEN_IMAGE,
        ),
        declare(
            Kernel.WINOGRAD_OUTPUTS,
            "C[sample, row, column, n] = bias + (A' m A)[row, column][n] of the sums m of a tile, "
            "whose parts are added in their order",
            "sums c bias?",
            "side first count tile_rows tiles c_sample c_row c_column c_height c_width outputs "
            "parts",
            side=_SIDE,
            sums="of each part and place, tile by tile",
            parts="parts of the sums",
            c="what is written",
            first="number of the first tile, counted through the samples",
            count="tiles",
            tile_rows="rows of tiles of a sample",
            tiles="tiles of a row",
            **_WRITTEN_SIZE,
            **_STRIDES_OF_C,
        ),
        declare(
            Kernel.WINOGRAD_WEIGHT_SUMS,
            "sums[part][place][k][n] = sum over the tiles of the part's samples of "
            "(B' d B)[k] (A dy A')[n]; bias_sums[part][n] = sum of dy",
            "a dy sums bias_sums?",
            "side samples tile_rows tiles vectors outputs tile_inputs a_sample a_row a_column "
            "height width top- left- dy_sample dy_row dy_column dy_height dy_width inputs parts "
            "together sums_row sums_place",
            side=_SIDE,
            dy_height="rows of dy",
            dy_width="pixels of a row of dy",
            sums="what is written",
            bias_sums="float64: what is written for the bias",
            tile_rows="rows of tiles",
            tiles="tiles of a row",
            vectors="vectors of a block",
            tile_inputs="inputs of a tile of sums",
            **_SEEN_IMAGE,
            **_STRIDES_OF_DY,
            parts="parts of the samples, each with a sum of its own",
            together="tiles that are taken through all products together",
            sums_row="stride of the sums from input to input, and of bias_sums from part to part",
            sums_place="stride of the sums from place to place",
        ),
        declare(
            Kernel.WINOGRAD_WEIGHT_GRADIENT,
            "dw[tap][k][n] = G' u G of the sums u of all parts, which are added in their order; "
            "db likewise",
            "sums bias_sums? dw db? rate?",
            "side inputs outputs parts epilogue",
            "decay bias_decay",
            side=_SIDE,
            sums="those of winograd_weight_sums",
            bias_sums="float64: those of winograd_weight_sums",
            parts="how many there are",
            epilogue="STORE or UPDATE",
            **_DECAYS,
        ),
        declare(
            Kernel.DEPTHWISE_TILES,
            "y[sample, row, column, c] = b[c] + sum over taps of x[..., c] w[tap, c]",
            "x w b? y",
            f"{_DEPTHWISE} w_down- w_across- first_row first_column row_step column_step y_height "
            "y_width",
            b="for each channel",
            **_OF_DEPTHWISE,
            w_down="stride of w from tap to tap down; a data gradient takes them backwards",
            w_across="stride of w from tap to tap across",
            first_row="row of y where to begin",
            first_column="column of y where to begin",
            row_step="rows of y from one that is written to the next: a data gradient writes its "
            "sub-pixel phases one by one",
            column_step="columns of y from one that is written to the next",
            y_height="rows of all of y",
            y_width="columns of all of y",
        ),
        declare(
            Kernel.DEPTHWISE_WEIGHT_TILES,
            "dw[tap, c] = sum over samples and pixels of x[..., c] dy[pixel, c]; "
            "db[c] = sum of dy[pixel, c]",
            "x dy dw db?",
            _DEPTHWISE,
            **_OF_DEPTHWISE | {"rows": "rows of dy", "columns": "columns of dy"},
        ),
        declare(
            Kernel.PLANE_PRODUCTS,
            "y[plane, row, column] = b + sum over taps of the filter times the plane of x; "
            "the planes of y are the others",
            "x w b? y",
            "{plane_sizes}",
            field_groups=(PLANE_SIZES,),
            b="for each channel",
            **_OF_PLANES,
        ),
        declare(
            Kernel.PLANE_WEIGHT_PRODUCTS,
            "dw[part][channel, tap] = sum over samples of a part, and pixels, of x times dy; "
            "db[part][channel] = sum of dy; the planes of dy are the others",
            "x dy dw db?",
            "{plane_sizes} parts together",
            field_groups=(PLANE_SIZES,),
            **_OF_PLANES,
            parts="parts of the samples, each with a sum of its own",
            together="channels that are taken through the samples together",
        ),
        declare(
            Kernel.ROW_PRODUCTS,
            "c[i, j] = sum over k of a[i, k] b[j, k]: rows of two matrices, contiguous along k",
            "a b c",
            "a_rows b_rows depth a_row b_row c_row",
            a="a matrix",
            b="a matrix",
            c="what is written",
            a_rows="rows of a",
            b_rows="rows of b",
            depth="elements of a row",
            a_row="stride of a from row to row",
            b_row="stride of b from row to row",
            c_row="stride of c from row to row",
        ),
        declare(
            Kernel.ADD_PARTS,
            "y = b + the sum of parts, in their order",
            "terms b? y",
            "size b_size parts epilogue",
            "slope",
            terms="the parts, one behind the other",
            b="what is repeated as often as it goes into y",
            size="elements of y",
            b_size="elements of b",
            parts="how many there are",
            epilogue="STORE or LEAKY_RELU",
        ),
        declare(
            Kernel.DENSE_BACKWARD_UPDATE,
            "for one sample, dx[i] = sum over j of dy[j] w[i, j] with the weights as they are, "
            "then w = keep * w - rate * x[i] dy[j]; and the same update of b",
            "dy x w b? dx other? rate",
            "inputs outputs epilogue",
            "decay bias_decay slope",
            b="the bias",
            inputs="elements of x",
            outputs="elements of dy",
            epilogue="STORE or LEAKY_GRADIENT",
            decay="factor of rate * w that is subtracted beside",
            bias_decay="factor of rate * b that is subtracted beside",
        ),
        declare(
            Kernel.POOLED_LISTS,
            "the gradient of each pooled pixel with the place of the maximum that it belongs to, "
            "and the same in the order of these places",
            "dy argmax y? gradient offset sorted_gradient? channel? count?",
            "samples rows columns channels plane_width x_row x_pixel",
            "slope",
            argmax="int32: flat index of each maximum in the plane of its image",
            y="the pooled output; NULL: there is no activation before the pool",
            gradient="dy, times the slope of the activation",
            offset="int32: of each maximum, in elements of x",
            sorted_gradient="by place in the window; NULL: no data gradient is made",
            channel="int32: of each sorted gradient",
            count="int32: how many of a pixel have each of the four places",
            rows="pooled rows",
            columns="pooled columns",
            channels="channels of dy",
            plane_width="columns of the plane that argmax counts in",
            x_row="stride of x from row to row",
            x_pixel="stride of x from pixel to pixel",
            slope="of the activation",
        ),
        declare(
            Kernel.POOLED_WEIGHT_TILES,
            "dw[n][i][j] = sum over samples and pooled pixels of gradient * x, for each channel n "
            "of dy",
            "x gradient offset dw db?",
            "samples pixels channels x_sample x_row taps_down vectors tile_rows band",
            gradient="of each pooled pixel",
            offset="int32: of each maximum, in elements of x",
            dw="gradient of the weights, by output channel",
            db="gradient of the bias",
            pixels="pooled pixels of a sample",
            channels="channels of dy",
            x_sample="stride of x from sample to sample",
            x_row="stride of x from row to row",
            taps_down="taps from top to bottom",
            vectors="vectors of a row of taps",
            tile_rows="rows of taps in a tile",
            band="pooled pixels of a band, which is taken through all channels",
        ),
        declare(
            Kernel.POOLED_DATA_TILES,
            "dx of a 3x3 convolution: every pooled pixel adds to a region of 4x4 pixels",
            "gradient channel count w dx other?",
            "samples rows columns channels height width inputs strip epilogue",
            "slope",
            gradient="of each pooled pixel, sorted by place in the window",
            channel="int32: of each sorted gradient",
            count="int32: how many of a pixel have each of the four places",
            w="the weights as [vector of dx][channel of dy][9][lane]",
            rows="pooled rows",
            columns="pooled columns",
            channels="channels of dy",
            height="rows of dx",
            width="columns of dx",
            inputs="channels of dx",
            strip="rows of a strip, which is a piece of work",
            epilogue="STORE or LEAKY_GRADIENT",
        ),
        declare(
            Kernel.TRANSPOSE_WEIGHTS,
            "dw[k][n] = sums[n][k], as a gradient or as an update",
            "sums bias_sums? dw db? rate?",
            "depth outputs epilogue",
            "decay bias_decay",
            sums="the gradient by output channel",
            bias_sums="the gradient of the bias",
            depth="elements for each output channel",
            epilogue="STORE or UPDATE",
            **_DECAYS,
        ),
    )
)
