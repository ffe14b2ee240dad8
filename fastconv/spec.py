"""Specs with a geometry: convolution, pooling, dense, as plain frozen data.

This module is the only place where output sizes, padding and FLOPs are computed. Every kernel
of every backend takes a spec as its first argument; those without a geometry are in
:mod:`fastconv.plans.operation`. Shapes are those that kernels see: images NHWC, convolution
weights HWIO.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

Pair: TypeAlias = tuple[int, int]
Padding: TypeAlias = tuple[Pair, Pair]
Shape: TypeAlias = tuple[int, ...]


_LONGEST_SHOWN = 100
"""Characters of a value in a message."""


def shown(value: object) -> str:
    """Return a value as messages show it: in one line of a readable length.

    Parameters
    ----------
    value
        Anything that was given as an argument.

    Examples
    --------
    >>> shown("same"), len(shown(10**300))
    ("'same'", 103)
    """
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # of an integer of thousands of digits
        text = f"a very large {type(value).__name__}"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


class _Shown:
    """Stands for a value in a sentence."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __repr__(self) -> str:
        return shown(self._value)


class SpecError(ValueError):
    """A value that is not what it may be, in parts, so that a caller can name it as it knows it.

    Parameters
    ----------
    owner
        Who was given the value: a spec, a function; empty for nobody who is worth naming.
    field
        Its name there.
    value
        The value.
    expected
        What it may be, and the fix where that does not say it.
    sentence
        How to say it, in the words ``{field}``, ``{value!r}`` and ``{expected}``.

    Examples
    --------
    >>> fault = SpecError("OptimizerSpec", "coupled_decay", -1.0, "0 or more")
    >>> str(fault)
    'OptimizerSpec: coupled_decay is -1.0; expected 0 or more'
    >>> str(fault.of("Optimizer", coupled_decay="weight_decay"))
    'Optimizer: weight_decay is -1.0; expected 0 or more'
    """

    def __init__(
        self,
        owner: str,
        field: str,
        value: object,
        expected: str,
        sentence: str = "{field} is {value!r}; expected {expected}",
    ) -> None:
        super().__init__(owner, field, value, expected, sentence)
        self.owner, self.field, self.value = owner, field, value
        self.expected, self._sentence = expected, sentence

    def __str__(self) -> str:
        return f"{self.owner}: {self.said}" if self.owner else self.said

    @property
    def said(self) -> str:
        """The message without the owner."""
        value = _Shown(self.value)
        return self._sentence.format(field=self.field, value=value, expected=self.expected)

    def of(self, owner: str, **names: str) -> SpecError:
        """Return the same fault as a caller knows it.

        Parameters
        ----------
        owner
            Who was called.
        **names
            The caller's names of fields, where it has others.
        """
        field = names.get(self.field, self.field)
        return SpecError(owner, field, self.value, self.expected, self._sentence)

    def within(self, path: str) -> SpecError:
        """Return the same fault of a key in a file.

        Parameters
        ----------
        path
            Of the section that the key is in, such as "optimizer".
        """
        field = f"{path}.{self.field}" if path else self.field
        return SpecError("", field, self.value, self.expected, self._sentence)


def as_plain(value: Any) -> Any:
    """Turn numbers and arrays of NumPy's into Python's numbers and tuples; all else stays.

    Examples
    --------
    >>> import numpy as np
    >>> as_plain(np.int64(3)), as_plain(np.array([[1, 1], [0, 2]])), as_plain("same")
    (3, ((1, 1), (0, 2)), 'same')
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
        return _as_tuple(value) if isinstance(value, list) else value
    return value


def _as_tuple(items: list[Any]) -> tuple[Any, ...]:
    return tuple(_as_tuple(item) if isinstance(item, list) else item for item in items)


_LARGEST = 2**31 - 1
"""Of a stride and the like: the product of two still fits where kernels count."""


def require_int(owner: str, name: str, value: object, least: int) -> int:
    """Return an integer of any kind, NumPy's too, as Python's.

    Raises
    ------
    SpecError
        That names ``owner`` and ``name``, unless ``value`` is an integer >= ``least``.
    """
    plain = as_plain(value)
    if isinstance(plain, bool) or not isinstance(plain, int) or plain < least:
        raise SpecError(owner, name, value, f"an integer of {least} or more")
    return plain


def as_pair(owner: str, name: str, value: object, least: int = 1) -> Pair:
    """Turn an integer or a (height, width) pair into a pair of integers.

    Parameters
    ----------
    owner, name
        The function and the argument, for the error message.
    value
        An int, or a sequence of two ints; NumPy's are taken too.
    least
        The smallest value allowed.

    Returns
    -------
    tuple of two int

    Raises
    ------
    ValueError
        If ``value`` is neither, or is below ``least``.
    """
    items: tuple[Any, ...]
    given, value = value, as_plain(value)
    items = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    pair = tuple(
        int(item.__index__())
        for item in items
        if hasattr(item, "__index__") and not isinstance(item, bool)
    )
    if not (len(items) == len(pair) == 2 and min(pair) >= least):
        expected = f"an integer of {least} or more, or a (height, width) pair of them"
        raise SpecError(owner, name, given, expected)
    if max(pair) > _LARGEST:
        # Not the number itself, which may have hundreds of digits.
        sentence = "{field} is beyond 2**31 - 1; expected {expected}"
        raise SpecError(owner, name, given, f"{least} to 2**31 - 1", sentence)
    return pair[0], pair[1]


def resolve_padding(
    owner: str,
    padding: object,
    size: Pair,
    kernel: Pair,
    stride: Pair,
    dilation: Pair = (1, 1),
) -> Padding:
    """Turn any accepted form of padding into ``((top, bottom), (left, right))``.

    Parameters
    ----------
    owner
        The function that asks, for the error message.
    padding
        An int, (height, width), ((top, bottom), (left, right)), "valid" (none) or "same"
        (output size = ceil(input size / stride); an odd rest goes to the bottom and right).
    size, kernel, stride, dilation
        (height, width) pairs of the input, the kernel, the stride and the dilation.

    Returns
    -------
    ((top, bottom), (left, right))

    Raises
    ------
    ValueError
        If ``padding`` has none of these forms.

    Examples
    --------
    >>> resolve_padding("conv2d", "same", (5, 8), (3, 3), (1, 2))
    ((1, 1), (0, 1))
    """
    given, padding = padding, as_plain(padding)
    if isinstance(padding, str):
        if padding == "valid":
            return (0, 0), (0, 0)
        if padding == "same":
            sides = []
            for n, k, s, d in zip(size, kernel, stride, dilation, strict=True):
                out = -(-n // s)
                total = max(0, (out - 1) * s + (k - 1) * d + 1 - n)
                sides.append((total // 2, total - total // 2))
            return sides[0], sides[1]
    elif isinstance(padding, (tuple, list)) and len(padding) == 2:
        if all(isinstance(side, (tuple, list)) for side in padding):
            rows = as_pair(owner, "padding", padding[0], least=0)
            columns = as_pair(owner, "padding", padding[1], least=0)
            return rows, columns
        height, width = as_pair(owner, "padding", padding, least=0)
        return (height, height), (width, width)
    elif hasattr(padding, "__index__") and not isinstance(padding, bool):
        height, width = as_pair(owner, "padding", padding, least=0)
        return (height, height), (width, width)
    raise SpecError(
        owner,
        "padding",
        given,
        "an integer, (height, width), ((top, bottom), (left, right)), 'same' or 'valid'",
    )


def _too_wide(
    owner: str, kernel: Pair, span: int, side: str, size: int, padding: Pair
) -> SpecError:
    room = size + sum(padding)
    sentence = (
        f"the {{field}} spans {span} in {side} but the padded input has only {room} "
        f"({size} + padding {padding[0]} + {padding[1]}); use {{expected}}"
    )
    smaller = "a smaller kernel or dilation" if owner == "ConvSpec" else "a smaller kernel"
    return SpecError(owner, "kernel", kernel, f"{smaller}, or more padding", sentence)


def _text_padding(letter: str, sides: Pair) -> str:
    return f"p{letter}{sides[0]}" if sides[0] == sides[1] else f"p{letter}{sides[0]},{sides[1]}"


def _parse_padding(text: str) -> Pair:
    first, _, second = text.partition(",")
    return int(first), int(second or first)


_CONV_TEXT = re.compile(
    r"g(\d+)mb(\d+)ic(\d+)ih(\d+)iw(\d+)oc(\d+)kh(\d+)kw(\d+)sh(\d+)sw(\d+)"
    r"ph(\d+(?:,\d+)?)pw(\d+(?:,\d+)?)dh(\d+)dw(\d+)"
)
_POOL_TEXT = re.compile(
    r"mb(\d+)ic(\d+)ih(\d+)iw(\d+)kh(\d+)kw(\d+)sh(\d+)sw(\d+)"
    r"ph(\d+(?:,\d+)?)pw(\d+(?:,\d+)?)cm([01])ip([01])"
)


@dataclass(frozen=True, slots=True)
class ConvSpec:
    """One 2-D convolution (cross-correlation, as in every deep-learning library).

    Parameters
    ----------
    batch, in_channels, height, width
        The input: ``x`` has shape (batch, height, width, in_channels). ``batch`` may be 0.
    out_channels
        Number of filters.
    kernel, stride, dilation
        (height, width) pairs. A dilation of 1 is a dense kernel.
    padding
        ((top, bottom), (left, right)), zeros.
    groups
        Input and output channels are split into this many independent groups.

    Raises
    ------
    ValueError
        If a value is out of range, the groups do not divide the channels, or the kernel does
        not fit into the padded input.

    Notes
    -----
    ``str(spec)`` is a line in the notation of oneDNN's benchdnn, except that ``dh1dw1`` is a dense
    kernel here, and ``ph1,2`` gives top and bottom. :meth:`parse` reads it back.

    Examples
    --------
    >>> spec = ConvSpec(2, 3, 32, 32, 16, kernel=(3, 3), padding=((1, 1), (1, 1)))
    >>> str(spec)
    'g1mb2ic3ih32iw32oc16kh3kw3sh1sw1ph1pw1dh1dw1'
    >>> spec.y_shape, spec.flops
    ((2, 32, 32, 16), 1769472)
    >>> ConvSpec.parse(str(spec)) == spec
    True
    """

    batch: int
    in_channels: int
    height: int
    width: int
    out_channels: int
    kernel: Pair
    stride: Pair = (1, 1)
    padding: Padding = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        for name in ("batch", "in_channels", "height", "width", "out_channels", "groups"):
            size = require_int("ConvSpec", name, getattr(self, name), int(name != "batch"))
            object.__setattr__(self, name, size)
        # Integers and lists are welcome, but what is stored is pairs, so that specs can be hashed.
        for name in ("kernel", "stride", "dilation"):
            object.__setattr__(self, name, as_pair("ConvSpec", name, getattr(self, name)))
        image = self.height, self.width
        padding = resolve_padding(
            "ConvSpec", self.padding, image, self.kernel, self.stride, self.dilation
        )
        object.__setattr__(self, "padding", padding)
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise SpecError(
                "ConvSpec",
                "groups",
                self.groups,
                f"a number that divides the input channels ({self.in_channels}) and the output "
                f"channels ({self.out_channels})",
            )
        for name, size, sides, k, d in zip(
            ("height", "width"),
            (self.height, self.width),
            self.padding,
            self.kernel,
            self.dilation,
            strict=True,
        ):
            span = (k - 1) * d + 1
            if size + sum(sides) < span:
                raise _too_wide("ConvSpec", self.kernel, span, name, size, sides)

    @classmethod
    def of_transposed(
        cls,
        batch: int,
        in_channels: int,
        height: int,
        width: int,
        out_channels: int,
        kernel: Pair,
        stride: Pair = (1, 1),
        padding: Padding = ((0, 0), (0, 0)),
        output_padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
        groups: int = 1,
    ) -> ConvSpec:
        """Spec of the convolution whose transpose maps the given input to ``x_shape``.

        Parameters
        ----------
        batch, in_channels, height, width
            The input of the transposed convolution.
        out_channels
            Channels of its output.
        kernel, stride, padding, dilation, groups
            Of the convolution that is transposed.
        output_padding
            Rows and columns added at the bottom and right of the output, less than the stride.

        Raises
        ------
        ValueError
            If a value is out of range or the output would be empty.

        Examples
        --------
        >>> ConvSpec.of_transposed(1, 8, 5, 5, 4, kernel=(3, 3), stride=(2, 2)).x_shape
        (1, 11, 11, 4)
        """
        sizes = []
        for axis, (name, size) in enumerate((("height", height), ("width", width))):
            if output_padding[axis] >= stride[axis]:
                raise SpecError(
                    "ConvSpec",
                    "output_padding",
                    output_padding[axis],
                    f"less than the stride ({stride[axis]})",
                    f"{{field}} is {{value!r}} in {name}; expected {{expected}}",
                )
            out = (size - 1) * stride[axis] - sum(padding[axis])
            out += (kernel[axis] - 1) * dilation[axis] + 1 + output_padding[axis]
            if out < 1:
                raise SpecError(
                    "ConvSpec",
                    "padding",
                    padding[axis],
                    "less",
                    f"{{field}} is {{value!r}} in {name}, which leaves {out} of the output; "
                    f"use {{expected}}",
                )
            sizes.append(out)
        return cls(
            batch, out_channels, sizes[0], sizes[1], in_channels, kernel, stride, padding, dilation,
            groups,
        )  # fmt: skip

    @property
    def dilation_height(self) -> int:
        """Rows from one tap to the next."""
        height, _ = self.dilation
        return height

    @property
    def dilation_width(self) -> int:
        """Columns from one tap to the next."""
        _, width = self.dilation
        return width

    @property
    def out_height(self) -> int:
        """Rows of the output."""
        dilation, _ = self.dilation
        span = (self.kernel[0] - 1) * dilation + 1
        return (self.height + sum(self.padding[0]) - span) // self.stride[0] + 1

    @property
    def out_width(self) -> int:
        """Columns of the output."""
        _, dilation = self.dilation
        span = (self.kernel[1] - 1) * dilation + 1
        return (self.width + sum(self.padding[1]) - span) // self.stride[1] + 1

    @property
    def x_shape(self) -> Shape:
        """Shape of the input, NHWC."""
        return self.batch, self.height, self.width, self.in_channels

    @property
    def w_shape(self) -> Shape:
        """Shape of the weights, HWIO (I = in_channels / groups)."""
        return (*self.kernel, self.in_channels // self.groups, self.out_channels)

    @property
    def y_shape(self) -> Shape:
        """Shape of the output, NHWC."""
        return self.batch, self.out_height, self.out_width, self.out_channels

    @property
    def flops(self) -> int:
        """Floating point operations of the forward pass; a multiply and an add count as two."""
        taps = self.kernel[0] * self.kernel[1] * (self.in_channels // self.groups)
        return 2 * self.batch * self.out_height * self.out_width * self.out_channels * taps

    def __str__(self) -> str:
        (kh, kw), (sh, sw), (dh, dw) = self.kernel, self.stride, self.dilation
        ph, pw = _text_padding("h", self.padding[0]), _text_padding("w", self.padding[1])
        return (
            f"g{self.groups}mb{self.batch}ic{self.in_channels}ih{self.height}iw{self.width}"
            f"oc{self.out_channels}kh{kh}kw{kw}sh{sh}sw{sw}{ph}{pw}dh{dh}dw{dw}"
        )

    @classmethod
    def parse(cls, text: str) -> ConvSpec:
        """Read the one-line text form back.

        Raises
        ------
        ValueError
            If ``text`` is not in that form, or names an impossible convolution.
        """
        match = _CONV_TEXT.fullmatch(text.strip())
        if match is None:
            raise ValueError(
                f"ConvSpec.parse: {text!r} is not a convolution; expected a line such as "
                f"'g1mb2ic3ih32iw32oc32kh3kw3sh1sw1ph0pw0dh1dw1'"
            )
        g, mb, ic, ih, iw, oc, kh, kw, sh, sw, ph, pw, dh, dw = match.groups()
        return cls(
            int(mb),
            int(ic),
            int(ih),
            int(iw),
            int(oc),
            kernel=(int(kh), int(kw)),
            stride=(int(sh), int(sw)),
            padding=(_parse_padding(ph), _parse_padding(pw)),
            dilation=(int(dh), int(dw)),
            groups=int(g),
        )


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """One 2-D pooling window sliding over NHWC images.

    Parameters
    ----------
    batch, channels, height, width
        The input: ``x`` has shape (batch, height, width, channels). ``batch`` may be 0.
    kernel, stride
        (height, width) pairs.
    padding
        ((top, bottom), (left, right)), each smaller than the kernel, so that every window holds
        at least one pixel. Max pooling pads with minus infinity, average pooling with zero.
    ceil_mode
        Round the output size up instead of down; a window must still start inside the input or
        its top/left padding.
    count_include_pad
        Average pooling: divide by the window's size with its padding (cells that only
        ``ceil_mode`` adds are never counted) instead of by its number of pixels.

    Raises
    ------
    ValueError
        If a value is out of range or the kernel does not fit into the padded input.

    Examples
    --------
    >>> PoolSpec(1, 8, 7, 7, kernel=(2, 2), stride=(2, 2)).y_shape
    (1, 3, 3, 8)
    >>> PoolSpec(1, 8, 7, 7, kernel=(2, 2), stride=(2, 2), ceil_mode=True).y_shape
    (1, 4, 4, 8)
    """

    batch: int
    channels: int
    height: int
    width: int
    kernel: Pair
    stride: Pair
    padding: Padding = ((0, 0), (0, 0))
    ceil_mode: bool = False
    count_include_pad: bool = True

    def __post_init__(self) -> None:
        for name in ("batch", "channels", "height", "width"):
            size = require_int("PoolSpec", name, getattr(self, name), int(name != "batch"))
            object.__setattr__(self, name, size)
        for name in ("kernel", "stride"):
            object.__setattr__(self, name, as_pair("PoolSpec", name, getattr(self, name)))
        for name in ("ceil_mode", "count_include_pad"):
            try:
                is_known = getattr(self, name) in (True, False)
            except ValueError:  # an array, whose elements are compared
                is_known = False
            if not is_known:
                raise SpecError("PoolSpec", name, getattr(self, name), "True or False")
        image = self.height, self.width
        padding = resolve_padding("PoolSpec", self.padding, image, self.kernel, self.stride)
        object.__setattr__(self, "padding", padding)
        for name, size, sides, k in zip(
            ("height", "width"), (self.height, self.width), self.padding, self.kernel, strict=True
        ):
            if max(sides) >= k:
                raise SpecError(
                    "PoolSpec",
                    "padding",
                    sides,
                    f"less than the kernel's {k}, or a window would hold no pixel",
                    f"{{field}} is {{value!r}} in {name}; expected {{expected}}",
                )
            if size + sum(sides) < k:
                raise _too_wide("PoolSpec", self.kernel, k, name, size, sides)

    def _out(self, axis: int) -> int:
        size = (self.height, self.width)[axis]
        before, after = self.padding[axis]
        stride = self.stride[axis]
        room = size + before + after - self.kernel[axis]
        if not self.ceil_mode:
            return room // stride + 1
        out = -(-room // stride) + 1
        # The last window must start inside the input or its first padding.
        return out - 1 if (out - 1) * stride >= size + before else out

    @property
    def out_height(self) -> int:
        """Rows of the output."""
        return self._out(0)

    @property
    def out_width(self) -> int:
        """Columns of the output."""
        return self._out(1)

    @property
    def x_shape(self) -> Shape:
        """Shape of the input, NHWC."""
        return self.batch, self.height, self.width, self.channels

    @property
    def y_shape(self) -> Shape:
        """Shape of the output, NHWC."""
        return self.batch, self.out_height, self.out_width, self.channels

    @property
    def flops(self) -> int:
        """Operations of the forward pass: one per window cell."""
        cells = self.kernel[0] * self.kernel[1]
        return self.batch * self.out_height * self.out_width * self.channels * cells

    def __str__(self) -> str:
        (kh, kw), (sh, sw) = self.kernel, self.stride
        ph, pw = _text_padding("h", self.padding[0]), _text_padding("w", self.padding[1])
        return (
            f"mb{self.batch}ic{self.channels}ih{self.height}iw{self.width}kh{kh}kw{kw}"
            f"sh{sh}sw{sw}{ph}{pw}cm{int(self.ceil_mode)}ip{int(self.count_include_pad)}"
        )

    @classmethod
    def parse(cls, text: str) -> PoolSpec:
        """Read the one-line text form back.

        Raises
        ------
        ValueError
            If ``text`` is not in that form, or names an impossible pooling.
        """
        match = _POOL_TEXT.fullmatch(text.strip())
        if match is None:
            raise ValueError(
                f"PoolSpec.parse: {text!r} is not a pooling; expected a line such as "
                f"'mb1ic8ih28iw28kh2kw2sh2sw2ph0pw0cm0ip1'"
            )
        mb, ic, ih, iw, kh, kw, sh, sw, ph, pw, ceil, include = match.groups()
        return cls(
            int(mb),
            int(ic),
            int(ih),
            int(iw),
            kernel=(int(kh), int(kw)),
            stride=(int(sh), int(sw)),
            padding=(_parse_padding(ph), _parse_padding(pw)),
            ceil_mode=ceil == "1",
            count_include_pad=include == "1",
        )


@dataclass(frozen=True, slots=True)
class DenseSpec:
    """A fully connected layer: ``y = x @ w + b`` with x (batch, inputs), w (inputs, outputs).

    Examples
    --------
    >>> DenseSpec(2, 1600, 256).flops
    1638400
    """

    batch: int
    inputs: int
    outputs: int

    def __post_init__(self) -> None:
        for name in ("batch", "inputs", "outputs"):
            size = require_int("DenseSpec", name, getattr(self, name), int(name != "batch"))
            object.__setattr__(self, name, size)

    @property
    def flops(self) -> int:
        """Floating point operations of the forward pass."""
        return 2 * self.batch * self.inputs * self.outputs


def describe(spec: object) -> str:
    """One line for any spec: its text form if it has one, else its fields.

    Examples
    --------
    >>> describe(DenseSpec(2, 3, 4))
    'batch=2 inputs=3 outputs=4'
    """
    if isinstance(spec, (ConvSpec, PoolSpec)):
        return str(spec)
    return " ".join(f"{f.name}={getattr(spec, f.name)}" for f in fields(spec))  # type: ignore[arg-type]


def tap_range(outputs: int, size: int, stride: int, before: int, offset: int) -> Pair:
    """Outputs for which one kernel tap falls inside the input, along one axis.

    Output ``o`` reads input ``o * stride - before + offset``.

    Parameters
    ----------
    outputs, size
        Sizes of the output and the unpadded input along the axis.
    stride, before
        Stride, and the padding in front.
    offset
        Where the tap stands: tap number times dilation.

    Returns
    -------
    (first, end)
        The half-open range of outputs; empty (first == end) when the tap never meets the input.

    Examples
    --------
    >>> tap_range(outputs=4, size=4, stride=1, before=1, offset=0)
    (1, 4)
    """
    first = max(0, -((offset - before) // stride))
    end = min(outputs, (size - 1 + before - offset) // stride + 1)
    return (first, end) if first < end else (0, 0)
