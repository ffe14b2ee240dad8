"""Images, and weights and activations as images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from fastconv.plots.arguments import FloatArray, names_of, with_axes
from fastconv.plots.pixels import (
    from_zero_to_one,
    grey_of,
    heat_opacity,
    image_colours,
    largest,
    signed_colours,
)
from fastconv.plots.style import axes_or_new, colour_bar, signed_amounts
from fastconv.plots.tiles import draw_tiles, hide_frame

if TYPE_CHECKING:
    from fastconv.preprocessing import Augmentation


def image_grid(
    images: npt.ArrayLike,
    *,
    titles: Sequence[str] | None = None,
    columns: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    r"""Draw images side by side.

    Parameters
    ----------
    images
        (N, height, width, channels), 1 channel (grey) or 3 (red, green, blue): uint8, or floating
        from 0 to 1.
    titles
        Short text under each image; ``"cat 97 %\nis dog"`` has two lines.
    columns
        Images in a row; None: as many as look well.
    ax
        Where to draw; None makes a figure.

    Returns
    -------
    Axes
        All images are one image on it.

    Raises
    ------
    TypeError, ValueError
        If the images are no such array, or the titles are not one for each.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import plots
    >>> axes = plots.image_grid(np.zeros((2, 8, 8, 1), np.uint8), titles=["a", "b"])
    >>> [text.get_text() for text in axes.texts]
    ['a', 'b']
    """
    owner = "image_grid"
    colours = image_colours(owner, "images", images, "NHWC")
    if titles is not None:
        titles = names_of(owner, "titles", titles, len(colours), "image")
    _check_columns(owner, columns)
    return draw_tiles(colours, titles=titles, columns=columns, ax=ax)


def augmented_images(
    images: npt.ArrayLike,
    augmentation: Augmentation,
    *,
    times: int = 7,
    seed: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """Draw what training makes of images: a row for each, the image itself first.

    Parameters
    ----------
    images
        (N, height, width, channels), 1 channel (grey) or 3 (red, green, blue): uint8, or floating
        from 0 to 1.
    augmentation
        The random changes; images are mixed with one another.
    times
        How often each is drawn.
    seed
        Of the draws.
    ax
        Where to draw; None makes a figure.

    Returns
    -------
    Axes
        All images are one image on it.

    Raises
    ------
    TypeError, ValueError
        If the images are no such array.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import plots
    >>> from fastconv.preprocessing import Augmentation
    >>> images = np.zeros((2, 8, 8, 1), np.uint8)
    >>> axes = plots.augmented_images(images, Augmentation(flip=True, crop=2), times=3)
    >>> len(axes.images)
    1
    """
    # Only here: other pictures need no plans.
    from fastconv.analysis.augmented_images import augmented_images as made_of

    owner = "augmented_images"
    image_colours(owner, "images", images, "NHWC")  # checks them
    given = np.asarray(images)
    made = made_of(given, augmentation, times=times, seed=seed)
    if given.dtype != np.uint8:
        made = np.clip(made, 0, 1)
    rows = np.concatenate([given[:, None], made], axis=1)
    colours = image_colours(owner, "images", rows.reshape(-1, *given.shape[1:]), "NHWC")
    return draw_tiles(colours, columns=1 + times, ax=ax)


def filters(weights: npt.ArrayLike, *, columns: int | None = None, ax: Axes | None = None) -> Axes:
    """Draw the filters of a convolution, most often of the first.

    Parameters
    ----------
    weights
        (height, width, channels, filters): HWIO. With 3 channels each filter is a picture in
        colours, in which grey is 0. With 1 channel it is drawn in blue (negative), white (0) and
        red (positive). With any other number there is a row for each filter, of one tile for each
        channel. All filters share one scale, which ends at the largest magnitude.
    columns
        Tiles in a row; None: as many as look well, or the channels.
    ax
        Where to draw; None makes a figure.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError, ValueError
        If the weights are no such array.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import plots
    >>> axes = plots.filters(np.random.default_rng(0).normal(size=(3, 3, 1, 16)), columns=8)
    >>> len(axes.images)  # all filters are tiles of one
    1
    """
    owner = "filters"
    values = with_axes(owner, "weights", weights, "HWIO")
    _check_columns(owner, columns)
    height, width, channels, count = values.shape
    if channels == 3:
        return _draw_signed(np.moveaxis(values, 3, 0), None, columns, ax)
    tiles = values.transpose(3, 2, 0, 1).reshape(count * channels, height, width, 1)
    by_channel = channels > 1 and columns is None
    ax = _draw_signed(tiles, None, channels if by_channel else columns, ax)
    if by_channel:
        ax.set_xlabel("channel")
        ax.set_ylabel("filter")
    return ax


def class_templates(
    weights: npt.ArrayLike,
    image_shape: tuple[int, int, int],
    class_names: Sequence[str],
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw the weights of a linear classifier: what each class should look like.

    Parameters
    ----------
    weights
        (features, classes): the weights of the one dense layer.
    image_shape
        (height, width, channels) of its input, 1 or 3 channels; features are in that order.
    class_names
        One name for each class.
    ax
        Where to draw; None makes a figure.

    Returns
    -------
    Axes
        Colours are those of :func:`filters`.

    Raises
    ------
    TypeError, ValueError
        If the weights do not fit the shape, or the names the classes.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import plots
    >>> weights = np.random.default_rng(0).normal(size=(64, 2))
    >>> axes = plots.class_templates(weights, (8, 8, 1), ["cat", "dog"])
    >>> [text.get_text() for text in axes.texts]
    ['cat', 'dog']
    """
    owner = "class_templates"
    values = with_axes(owner, "weights", weights, "IO")
    if len(image_shape) != 3 or image_shape[2] not in (1, 3):
        raise ValueError(
            f"{owner}: image_shape is {image_shape!r}; expected (height, width, channels) with 1 "
            f"or 3 channels"
        )
    if np.prod(image_shape) != len(values):
        raise ValueError(
            f"{owner}: weights has {len(values)} rows but image_shape {image_shape} has "
            f"{np.prod(image_shape)} features"
        )
    names = names_of(owner, "class_names", class_names, values.shape[1], "class")
    return _draw_signed(values.T.reshape(-1, *image_shape), names, None, ax)


def feature_maps(
    maps: npt.ArrayLike,
    *,
    scale: Literal["common", "each"] = "common",
    columns: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the activations of a layer for one image: a tile for each channel.

    Parameters
    ----------
    maps
        (height, width, channels).
    scale
        "common": one scale for all, with a bar that gives it; "each": every map from its own
        smallest to its own largest value.
    columns
        Maps in a row; None: as many as look well.
    ax
        Where to draw; None makes a figure.

    Returns
    -------
    Axes
        Values that are not finite stay blank.

    Raises
    ------
    TypeError, ValueError
        If an argument is no such array or value.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import plots
    >>> axes = plots.feature_maps(np.random.default_rng(0).random((32, 32, 6)), columns=3)
    >>> axes.images[0].get_array().shape  # 2 rows of 3 tiles, with gaps of 2 pixels
    (66, 100)
    """
    owner = "feature_maps"
    if scale not in ("common", "each"):
        raise ValueError(f"{owner}: scale is {scale!r}; expected 'common' or 'each'")
    tiles = np.moveaxis(with_axes(owner, "maps", maps, "HWC"), 2, 0)
    _check_columns(owner, columns)
    tiles = np.where(np.isfinite(tiles), tiles, np.nan)
    if scale == "each":
        tiles = np.stack([from_zero_to_one(tile) for tile in tiles]) if len(tiles) else tiles
    bar = "activation" if scale == "common" else None
    return draw_tiles(tiles, columns=columns, bar=bar, ax=ax, cmap="viridis")


def saliency(
    image: npt.ArrayLike,
    heat: npt.ArrayLike,
    *,
    signed: bool | None = None,
    bar: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """Draw where in an image a network looks: heat laid over the image in grey.

    Parameters
    ----------
    image
        (height, width, channels), 1 or 3 channels: uint8, or floating from 0 to 1.
    heat
        (rows, columns): any size, stretched over the image. Without negative values it is drawn
        from clear to yellow; with them, from blue (negative) over clear to red (positive).
        Values that are not finite stay clear.
    signed
        Whether to draw as with negative values; None: as the values are.
    bar
        Whether a bar beside it gives the scale.
    ax
        Where to draw; None makes a figure.

    Returns
    -------
    Axes

    Raises
    ------
    TypeError, ValueError
        If an argument is no such array.

    Examples
    --------
    >>> import numpy as np
    >>> from fastconv import plots
    >>> axes = plots.saliency(np.zeros((8, 8, 1), np.uint8), [[0.0, 1.0], [0.5, 0.25]])
    >>> axes.images[1].get_array().tolist()
    [[0.0, 1.0], [0.5, 0.25]]
    """
    owner = "saliency"
    colours = image_colours(owner, "image", image, "HWC")
    values = with_axes(owner, "heat", heat, "HW")
    if not colours.size or not values.size:
        name, shape = ("heat", values.shape) if colours.size else ("image", colours.shape[:2])
        raise ValueError(f"{owner}: {name} has shape {shape}; expected at least one pixel")
    grey = grey_of(colours)
    ax = axes_or_new(ax, width=4.5, height=3.6, layout="compressed")
    ax.imshow(grey, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    hide_frame(ax)
    most = largest(values)
    if signed is None:
        signed = bool((values < 0).any())
    height, width = grey.shape
    drawn = ax.imshow(
        np.ma.masked_invalid(values),
        cmap=signed_amounts() if signed else "inferno",
        vmin=-most if signed else 0,
        vmax=most,
        alpha=heat_opacity(values),
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        interpolation="nearest",
    )
    if bar:
        colour_bar(drawn, "saliency")
    return ax


def _draw_signed(
    tiles: FloatArray, titles: Sequence[str] | None, columns: int | None, ax: Axes | None
) -> Axes:
    """Draw tiles (N, H, W, 1 or 3) of numbers of either sign on one scale around 0."""
    if tiles.shape[3] == 3:
        return draw_tiles(signed_colours(tiles), titles=titles, columns=columns, ax=ax)
    most = largest(tiles)
    return draw_tiles(
        tiles[..., 0], titles=titles, columns=columns, bar="weight", ax=ax,
        cmap=signed_amounts(), vmin=-most, vmax=most,
    )  # fmt: skip


def _check_columns(owner: str, columns: int | None) -> None:
    if columns is not None and columns < 1:
        raise ValueError(f"{owner}: columns is {columns}; expected 1 or more")
