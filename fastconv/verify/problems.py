"""Problems to verify, in the notation of oneDNN's benchdnn, one by one and in lists.

A descriptor is pairs of a name and a number in any order, with underscores wherever they help:
``mb1_ic3oc16_ih32oh32kh3sh1dh0ph1n"first"``. As in benchdnn, what is left out is deduced: the
width is like the height, the output follows from the padding or the padding from the output, the
batch is 2, and a dilation counts from 0. Without oc it is a pooling, without a kernel a dense
layer. ``ph2,1`` is ours: two rows of padding above and one below, where the output does not say it.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from fastconv._errors import UserError
from fastconv.spec import ConvSpec, DenseSpec, PoolSpec, SpecError

Spec = ConvSpec | DenseSpec | PoolSpec

_PAIR = re.compile(r"(mb|[iok][cdhw]|[spd][dhw]|g)(\d+)(?:,(\d+))?")
_POOL = re.compile(r".*cm[01]ip[01]")
_BATCH = 2
"""Of a descriptor without mb, in benchdnn too."""
_MOST_NESTED = 10


class ProblemError(UserError, ValueError):
    """A problem that cannot be read, or is none: which, why and the fix, in one line."""


@dataclass(frozen=True)
class Problem:
    """Something to verify.

    Parameters
    ----------
    spec
        The convolution, pooling or dense layer.
    name
        For people; may be empty.
    """

    spec: Spec
    name: str = ""

    @property
    def descriptor(self) -> str:
        """The problem as :func:`parse_descriptor` reads it."""
        return descriptor_of(self.spec)


def descriptor_of(spec: Spec) -> str:
    """Return the descriptor of a spec, with every number.

    Parameters
    ----------
    spec
        A convolution, a pooling or a dense layer.

    Examples
    --------
    >>> descriptor_of(ConvSpec(1, 3, 8, 8, 16, (3, 3), padding=((1, 0), (1, 1))))
    'g1mb1_ic3ih8iw8_oc16oh7ow8_kh3kw3_sh1sw1_ph1pw1_dh0dw0'
    """
    if isinstance(spec, DenseSpec):
        return f"mb{spec.batch}ic{spec.inputs}oc{spec.outputs}"
    if isinstance(spec, PoolSpec):
        return str(spec)
    (kh, kw), (sh, sw), (dh, dw) = spec.kernel, spec.stride, spec.dilation

    def written(padding: str) -> str:
        return (
            f"g{spec.groups}mb{spec.batch}_ic{spec.in_channels}ih{spec.height}iw{spec.width}"
            f"_oc{spec.out_channels}oh{spec.out_height}ow{spec.out_width}_kh{kh}kw{kw}_sh{sh}sw{sw}"
            f"_{padding}_dh{dh - 1}dw{dw - 1}"
        )

    (top, bottom), (left, right) = spec.padding
    short = written(f"ph{top}pw{left}")
    # Padding that no window reaches does not follow from the output.
    is_said = parse_descriptor(short).spec == spec
    return short if is_said else written(f"ph{top},{bottom}pw{left},{right}")


def is_descriptor(text: str) -> bool:
    """Whether a text is meant as a descriptor, rather than as the name of a recipe or a file.

    Examples
    --------
    >>> is_descriptor("mb1_ic3oc16_ih32kh3ph1"), is_descriptor("digits")
    (True, False)
    """
    return bool(re.fullmatch(r"(?:(?:mb|[iok][cdhw]|[spd][dhw]|g)\d+(?:,\d+)?_*)+.*", text))


def parse_descriptor(text: str, batch: int | None = None) -> Problem:
    """Read a problem.

    Parameters
    ----------
    text
        The descriptor, or a pooling as ``str(PoolSpec)`` writes it.
    batch
        In place of the descriptor's own.

    Raises
    ------
    ProblemError
        If it is none, has three dimensions, or its numbers do not go together.

    Examples
    --------
    >>> str(parse_descriptor("mb1_ic3oc16_ih32oh32kh3sh1dh0ph1").spec)
    'g1mb1ic3ih32iw32oc16kh3kw3sh1sw1ph1pw1dh1dw1'
    """
    if _POOL.fullmatch(text):
        try:
            return Problem(PoolSpec.parse(text))
        except ValueError as fault:
            raise ProblemError(f"problem {text!r}: {fault}") from None
    pairs, name = _pairs_of(text)
    if "id" in pairs or "kd" in pairs:
        raise ProblemError(
            f"problem {text!r}: has a depth (id, kd); expected two dimensions; leave it out"
        )
    if batch is not None:
        pairs["mb"] = batch
    try:
        return Problem(_spec_of(pairs), name)
    except KeyError as missing:
        raise ProblemError(
            f"problem {text!r}: has no {missing.args[0]}; add it, as in mb1_ic3oc16_ih32kh3ph1"
        ) from None
    except (ValueError, ZeroDivisionError) as fault:
        told = fault.said if isinstance(fault, SpecError) else fault
        raise ProblemError(f"problem {text!r}: {told}") from None


def _pairs_of(text: str) -> tuple[dict[str, int], str]:
    """The numbers of a descriptor by their names, and the name of the problem."""
    numbers, _, name = text.partition("n")
    pairs: dict[str, int] = {}
    place = 0
    while place < len(numbers):
        if numbers[place] == "_":
            place += 1
            continue
        found = _PAIR.match(numbers, place)
        if found is None or (found[3] is not None and found[1] not in ("ph", "pw")):
            raise ProblemError(
                f"problem {text!r}: {numbers[place:]!r} is no pair of a name and a number; "
                f"expected g, mb, ic, ih, iw, oc, oh, ow, kh, kw, sh, sw, ph, pw, dh or dw, as in "
                f"mb1_ic3oc16_ih32kh3ph1"
            )
        pairs[found[1]] = int(found[2])
        if found[3] is not None:
            pairs[f"{found[1]},"] = int(found[3])
        place = found.end()
    return pairs, name.strip('"')


def _spec_of(pairs: Mapping[str, int]) -> Spec:
    batch, channels = pairs.get("mb", _BATCH), pairs["ic"]
    if "kh" not in pairs and "kw" not in pairs:
        height = pairs.get("ih", 1)
        pixels = height * pairs.get("iw", height)
        return DenseSpec(batch, channels * pixels, pairs["oc"])
    rows, columns = _axes(pairs)
    sizes = rows.size, columns.size
    kernel, stride = (rows.kernel, columns.kernel), (rows.stride, columns.stride)
    padding = rows.padding, columns.padding
    if "oc" not in pairs:
        return PoolSpec(batch, channels, *sizes, kernel, stride, padding)
    return ConvSpec(
        batch, channels, *sizes, pairs["oc"], kernel, stride, padding,
        (rows.dilation, columns.dilation), pairs.get("g", 1),
    )  # fmt: skip


@dataclass(frozen=True)
class _Axis:
    size: int
    kernel: int
    stride: int
    dilation: int
    padding: tuple[int, int]


def _axes(pairs: Mapping[str, int]) -> tuple[_Axis, _Axis]:
    """The rows and the columns: equal where one of them alone is described by its height."""
    if "iw" in pairs and "ih" not in pairs:
        return _Axis(1, 1, 1, 1, (0, 0)), _axis(pairs, "w")
    rows = _axis(pairs, "h")
    return rows, _axis(pairs, "w") if "iw" in pairs else rows


def _axis(pairs: Mapping[str, int], of: str) -> _Axis:
    size, kernel = pairs[f"i{of}"], pairs[f"k{of}"]
    stride, dilation = pairs.get(f"s{of}", 1), pairs.get(f"d{of}", 0) + 1
    outputs, before, after = pairs.get(f"o{of}"), pairs.get(f"p{of}"), pairs.get(f"p{of},")
    span = (kernel - 1) * dilation + 1
    if outputs is None:
        side = before or 0
        return _Axis(size, kernel, stride, dilation, (side, side if after is None else after))
    both = (outputs - 1) * stride + span - size
    if before is None:
        before = max(0, both) // 2
    if after is None:
        after = max(0, both - before)
    made = (size + before + after - span) // stride + 1
    if made != outputs:
        raise ValueError(
            f"o{of} is {outputs} but the convolution gives {made} with p{of}{before}; leave one of "
            f"the two out"
        )
    return _Axis(size, kernel, stride, dilation, (before, after))


@dataclass(frozen=True)
class ProblemList:
    """Problems of a file of benchdnn's, and what of it was passed over.

    Parameters
    ----------
    problems
        In the order of the file.
    remarks
        Of each thing that was passed over, one line.
    """

    problems: tuple[Problem, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Options:
    """What options of a list say about the problems after them."""

    batch: int | None = None
    match: str = ""


_HARMLESS = ("reset", "cfg", "dt", "dir", "stag", "dtag", "wtag", "tag", "alg", "skip-impl")
"""Options that say what to do with a problem: everything is done with each here."""


def read_list(path: str, depth: int = 0) -> ProblemList:
    """Read a file of problems: descriptors, comments, ``--mb``, ``--match`` and ``--batch``.

    Other options that benchdnn has are passed over, and problems of three dimensions, with a remark
    each.

    Parameters
    ----------
    path
        The file.
    depth
        Of a list that another one names.

    Raises
    ------
    ProblemError
        If it cannot be read, or a line is no problem.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as fault:
        told = fault.strerror if isinstance(fault, OSError) else "it is no text"
        raise ProblemError(
            f"problem list {path}: cannot be read ({told}); give a file of descriptors, a "
            f"descriptor such as mb1_ic3oc16_ih32kh3ph1, or a recipe"
        ) from None
    if depth > _MOST_NESTED:
        raise ProblemError(f"problem list {path}: names itself by --batch; leave that out")
    problems: list[Problem] = []
    remarks: list[str] = []
    options = _Options()
    for number, line in enumerate(lines, start=1):
        for word in line.partition("#")[0].split():
            where = f"{path}, line {number}"
            options = _read_word(word, where, path, depth, options, problems, remarks)
    return ProblemList(tuple(problems), tuple(remarks))


def _read_word(
    word: str, where: str, path: str, depth: int, options: _Options,
    problems: list[Problem], remarks: list[str],
) -> _Options:  # fmt: skip
    """Take up a descriptor, or an option, which changes what holds for those after it."""
    if not word.startswith("--"):
        if re.search(options.match, word):
            try:
                problems.append(parse_descriptor(word, options.batch))
            except ProblemError as fault:
                if "has a depth" not in str(fault):
                    raise ProblemError(f"{where}: {fault}") from None
                remarks.append(f"{where}: {word} has three dimensions: passed over")
        return options
    name, _, value = word[2:].partition("=")
    if name == "reset":
        return _Options()
    if name == "mb" and value.isdecimal():
        return replace(options, batch=int(value) or None)
    if name == "match":
        return replace(options, match=value)
    if name == "batch":
        inner = read_list(os.path.join(os.path.dirname(path), value), depth + 1)
        problems += [each for each in inner.problems if re.search(options.match, each.name)]
        remarks += inner.remarks
    elif name not in _HARMLESS:
        remarks.append(f"{where}: {word} passed over")
    return options


def known_problems(most_flops: float, most_elements: int) -> Iterator[Problem]:
    """Yield the problems that are verified where none are named.

    Parameters
    ----------
    most_flops, most_elements
        Layers of known networks with more floating point operations, or more elements of input and
        output together, are left out.
    """
    from fastconv.verify.shapes import HARD_SHAPES, LAYERS_OF_NETWORKS, layer_of_network

    yield from map(Problem, HARD_SHAPES)
    for row in range(len(LAYERS_OF_NETWORKS)):
        name, spec = layer_of_network(row, 1)
        elements = math.prod(spec.x_shape) + math.prod(spec.y_shape)
        if spec.flops <= most_flops and elements <= most_elements:
            yield Problem(spec, name)
