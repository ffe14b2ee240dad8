"""Layouts of the kernels over images: the input of a step, random changes, pooling."""

from __future__ import annotations

from typing import Any

from fastconv.backends.compiled.instructions.kernels import Kernel
from fastconv.backends.compiled.instructions.layout import Group
from fastconv.backends.compiled.instructions.layouts.declaration import declare

RANDOM_WORDS_KEY = Group("random_key", ("key0", "key1", "stream"))

POOL_WINDOWS = Group(
    "pool_windows",
    (
        "batch", "channels", "height", "width", "out_height", "out_width", "kernel_height",
        "kernel_width", "stride_height", "stride_width", "top", "left", "bottom", "right",
        "count_padding",
    ),
)  # fmt: skip
_OF_WINDOWS: dict[str, Any] = {
    "height": "rows of the images",
    "width": "columns of the images",
    "out_height": "rows of what is pooled",
    "out_width": "columns of what is pooled",
    "kernel_height": "rows of a window",
    "kernel_width": "columns of a window",
    "stride_height": "rows from window to window",
    "stride_width": "columns from window to window",
    "top": "padding above",
    "left": "padding at the left",
    "bottom": "padding below",
    "right": "padding at the right",
    "count_padding": "whether averages count the cells of the padding",
}
_ARGMAX = "int32: flat index of each maximum in the plane of its image"

_RESAMPLED = "batch height width channels out_height out_width top- left- kind align_corners"
_OF_RESAMPLED: dict[str, Any] = {
    "height": "rows of x",
    "width": "columns of x",
    "out_height": "rows of y",
    "out_width": "columns of y",
    "top": "row of y where the first pixel of x is; negative: a crop",
    "left": "column of y where the first pixel of x is",
    "kind": "number of the kind in fastconv.plans.resample_operation.RESAMPLE_KINDS",
    "align_corners": "whether the corners of x and y are the same points",
}

LAYOUTS = dict(
    (
        declare(
            Kernel.GATHER_IMAGES,
            "x[n] = images[indices[step * batch + n]]",
            "images indices x",
            "batch elements itemsize",
            images="uint8, float or double: all images",
            x="the batch",
            itemsize="bytes of an element of the images: 1, 4 or 8",
        ),
        declare(
            Kernel.GATHER_MIN_MAX_IMAGES,
            "gather_images of bytes and min_max_images in one",
            "images indices x",
            "batch elements",
            images="uint8: all images",
            x="the batch",
        ),
        declare(
            Kernel.GATHER_ROWS,
            "y[n] = rows[indices[step * batch + n]]: labels or targets of any type",
            "rows indices y",
            "batch bytes",
            rows="all rows",
            y="those of the batch",
            bytes="of a row",
        ),
        declare(
            Kernel.SCALE_IMAGES,
            "y = x * factor; y may be x",
            "x factor y",
            "size",
            factor="float64: one number",
        ),
        declare(
            Kernel.STANDARDIZE_IMAGES,
            "y = (x - mean) / std, mean and std repeating with a period; y may be x",
            "x mean std y",
            "rows period",
            mean="of each element of a period",
            std="standard deviation of each element of a period",
            rows="periods",
            period="elements of a period",
        ),
        declare(
            Kernel.MIN_MAX_IMAGES,
            "y = (x - smallest) / (largest - smallest) of each image; a constant image becomes 0",
            "x y",
            "batch elements",
        ),
        declare(
            Kernel.AUGMENT_IMAGES,
            "flip, crop, warp, cut out; fastconv.plans.operation.AugmentSpec has the formulas",
            "x step y",
            "batch height width channels flip crop warps cutout {random_key}",
            "rotation shear translation",
            field_groups=(RANDOM_WORDS_KEY,),
            height="rows of an image",
            width="columns of an image",
            flip="whether it flips",
            crop="pixels that an image is moved by, at most",
            warps="whether it warps",
            cutout="side of the square that is cut out; 0: none",
            rotation="radians, at most",
            shear="radians, at most",
            translation="part of a side, at most",
        ),
        declare(
            Kernel.JITTER_IMAGES,
            "colours and erasing, in place; fastconv.plans.jitter.JitterSpec has the formulas",
            "x step",
            "batch height width channels {random_key}",
            "brightness contrast saturation erase erase_area",
            field_groups=(RANDOM_WORDS_KEY,),
            height="rows of an image",
            width="columns of an image",
            brightness="largest change of the factor",
            contrast="largest change of the factor",
            saturation="largest change of the factor",
            erase="probability of a rectangle of 0",
            erase_area="its largest share of the area",
        ),
        declare(
            Kernel.RANDOM_WORDS,
            "the first words of a stream at a step",
            "step words",
            "count {random_key}",
            field_groups=(RANDOM_WORDS_KEY,),
            words="uint32: what is written",
            count="words",
        ),
        declare(
            Kernel.DROPOUT_FORWARD,
            "mask = word >> 8 >= threshold, y = scale x where kept, else 0",
            "x step mask y",
            "size threshold {random_key}",
            "scale",
            field_groups=(RANDOM_WORDS_KEY,),
            mask="uint8: 1 where kept",
            threshold="a word below it drops its element",
        ),
        declare(
            Kernel.DROPOUT_BACKWARD,
            "dx = scale dy where kept, else 0",
            "dy mask dx",
            "size",
            "scale",
            mask="uint8: 1 where kept",
        ),
        declare(
            Kernel.DROP_CHANNELS,
            "y = scale x in the channels of a sample that are kept, else 0; y may be x",
            "x mask y",
            "batch pixels channels",
            "scale",
            mask="uint8: for each channel of each sample, 1 where kept",
            pixels="pixels of a sample",
        ),
        declare(
            Kernel.RESAMPLE_FORWARD,
            "y = some pixels of x by their shares, along each axis by itself",
            "x y",
            _RESAMPLED,
            **_OF_RESAMPLED,
        ),
        declare(
            Kernel.RESAMPLE_BACKWARD,
            "dx = the shares of each pixel of the gradients that it is a part of",
            "dy dx",
            _RESAMPLED,
            **_OF_RESAMPLED,
        ),
        declare(
            Kernel.MAX_POOL2D_FORWARD,
            "the largest pixel of each window, and its flat index in the plane of the image",
            "x y argmax",
            "{pool_windows}",
            field_groups=(POOL_WINDOWS,),
            argmax=_ARGMAX,
            **_OF_WINDOWS,
        ),
        declare(
            Kernel.MAX_POOL2D_BACKWARD,
            "add the gradient of each window to the pixel of its maximum",
            "dy argmax dx",
            "{pool_windows}",
            field_groups=(POOL_WINDOWS,),
            argmax=_ARGMAX,
            **_OF_WINDOWS,
        ),
        declare(
            Kernel.MAX_POOL2D_BACKWARD_PAIRS,
            "the same for windows of 2x2 that lie side by side without padding",
            "dy argmax dx",
            "{pool_windows}",
            field_groups=(POOL_WINDOWS,),
            argmax=_ARGMAX,
            **_OF_WINDOWS,
        ),
        declare(
            Kernel.AVG_POOL2D_FORWARD,
            "the mean of each window",
            "x y",
            "{pool_windows}",
            field_groups=(POOL_WINDOWS,),
            **_OF_WINDOWS,
        ),
        declare(
            Kernel.AVG_POOL2D_BACKWARD,
            "spread the gradient of each window evenly over its pixels",
            "dy dx",
            "{pool_windows}",
            field_groups=(POOL_WINDOWS,),
            **_OF_WINDOWS,
        ),
        declare(
            Kernel.GLOBAL_AVG_POOL2D_FORWARD,
            "the mean of each channel over all pixels",
            "x y",
            "batch pixels channels",
            pixels="pixels of an image",
        ),
        declare(
            Kernel.GLOBAL_AVG_POOL2D_BACKWARD,
            "spread each channel's gradient evenly over all pixels",
            "dy dx",
            "batch height width channels",
            height="rows of the images",
            width="columns of the images",
        ),
    )
)
