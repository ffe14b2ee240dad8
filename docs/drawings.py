"""Draw the pictures of docs/how_it_works.md: ``python docs/drawings.py``.

Each is an SVG file in ``docs/drawings``, narrow enough for a phone, with the colours of a light and
a dark page. Calls, arrays and instructions are those of a plan that is made here.
"""

import math
import os
from collections.abc import Callable
from pathlib import Path

import fastconv
from fastconv.backends.compiled.instructions.instruction import Target
from fastconv.backends.compiled.lowering.lowering import lower
from fastconv.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from fastconv.optimizers import Optimizer
from fastconv.plans.plan import Plan
from fastconv.plans.plan_builder import Purpose, Source, build_plan

FOLDER = Path(__file__).parent / "drawings"
WIDTH = 440
_LIGHT = "--ink:#1f2328;--quiet:#656d76;--line:#afb8c1;--one:#0969da;--two:#bc4c00;--three:#1a7f37"
_DARK = "--ink:#e6edf3;--quiet:#9198a1;--line:#484f58;--one:#58a6ff;--two:#f0883e;--three:#3fb950"
_STYLE = f"""
.drawing {{ {_LIGHT} }}
@media (prefers-color-scheme: dark) {{ .drawing {{ {_DARK} }} }}
[data-theme="light"] .drawing {{ {_LIGHT} }}
[data-theme="dark"] .drawing {{ {_DARK} }}
.drawing text {{ font: 13px system-ui, sans-serif; fill: var(--ink); }}
.drawing .quiet {{ fill: var(--quiet); }}
.drawing .code {{ font: 11.5px ui-monospace, monospace; }}
.drawing .grid {{ fill: none; stroke: var(--line); }}
.drawing .arrow {{ fill: none; stroke: var(--quiet); stroke-width: 1.5; }}
.drawing .one {{ fill: var(--one); }} .drawing .two {{ fill: var(--two); }}
.drawing .three {{ fill: var(--three); }}
.drawing .edge-one {{ fill: none; stroke: var(--one); stroke-width: 2.5; }}
.drawing .edge-two {{ fill: none; stroke: var(--two); stroke-width: 2.5; }}
"""


class Drawing:
    """Shapes and texts of one SVG file.

    Parameters
    ----------
    title, description
        For those who do not see it.
    height
        In the units of the texts, whose letters are 13 high.
    """

    def __init__(self, title: str, description: str, height: int) -> None:
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="drawing" role="img" '
            f'viewBox="0 0 {WIDTH} {height}">',
            f"<title>{title}</title>",
            f"<desc>{description}</desc>",
            f"<style>{_STYLE}</style>",
        ]

    def rectangle(
        self, x: float, y: float, width: float, height: float, kind: str, opacity: float = 1
    ) -> None:
        """Add a rectangle; its kind is a class of the style."""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" class="{kind}"'
            + (f' opacity="{opacity:g}"' if opacity != 1 else "")
            + "/>"
        )

    def line(self, x: float, y: float, to_x: float, to_y: float, kind: str) -> None:
        """Add a line; its kind is a class of the style."""
        self.parts.append(f'<path class="{kind}" d="M{x:g} {y:g}L{to_x:g} {to_y:g}"/>')

    def text(
        self,
        x: float,
        y: float,
        text: str,
        kind: str = "",
        anchor: str = "start",
        *,
        turned: bool = False,
    ) -> None:
        """Add a line of text, whose baseline begins at (x, y); turned, it leads up."""
        turn = f' transform="rotate(-90 {x:g} {y:g})"' if turned else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" class="{kind}"{turn}>{text}</text>'
        )

    def arrow(self, x: float, y: float, to_x: float, to_y: float) -> None:
        """Add a line across or down, with a head."""
        if y == to_y:
            head = f"M{to_x - 5:g} {to_y - 4:g}L{to_x:g} {to_y:g}L{to_x - 5:g} {to_y + 4:g}"
        else:
            head = f"M{to_x - 4:g} {to_y - 5:g}L{to_x:g} {to_y:g}L{to_x + 4:g} {to_y - 5:g}"
        self.parts.append(f'<path class="arrow" d="M{x:g} {y:g}L{to_x:g} {to_y:g}{head}"/>')

    def grid(self, x: float, y: float, rows: int, columns: int, size: float) -> None:
        """Add lines between cells."""
        for row in range(rows):
            for column in range(columns):
                self.rectangle(x + column * size, y + row * size, size, size, "grid")

    def finish(self) -> str:
        """The whole file."""
        return "\n".join([*self.parts, "</svg>", ""])


def draw_im2col() -> str:
    """A 3x3 convolution of a 5x5 image: nine windows are the rows of a matrix."""
    drawing = Drawing(
        "im2col: a convolution as a product of matrices",
        "Each window of 3 by 3 pixels of a 5 by 5 image becomes a row of 9 numbers. The matrix of "
        "all nine rows, times the weights as columns, gives all outputs.",
        262,
    )
    size, left, top = 22, 8, 46
    drawing.text(left, top - 14, "image, 5x5 pixels")
    for pixel in range(25):
        row, column = divmod(pixel, 5)
        x, y = left + column * size, top + row * size
        drawing.rectangle(x, y, size, size, "one", round(0.1 + 0.03 * pixel, 2))
    drawing.grid(left, top, 5, 5, size)
    windows = {0: "edge-one", 5: "edge-two"}
    for window, kind in windows.items():
        row, column = divmod(window, 3)
        x, y = left + column * size, top + row * size
        drawing.rectangle(x, y, 3 * size, 3 * size, kind)
    cell, left, first = 15, 152, top
    drawing.arrow(124, 104, 145, 104)
    drawing.text(left, first - 14, "a row for each window")
    for window in range(9):
        row, column = divmod(window, 3)
        for tap in range(9):
            pixel = (row + tap // 3) * 5 + column + tap % 3
            x, y = left + tap * cell, first + window * cell
            drawing.rectangle(x, y, cell, cell, "one", round(0.1 + 0.03 * pixel, 2))
    drawing.grid(left, first, 9, 9, cell)
    for window, kind in windows.items():
        drawing.rectangle(left, first + window * cell, 9 * cell, cell, kind)
    drawing.text(300, 117, "x", anchor="middle")
    drawing.text(314, first - 14, "weights")
    for tap in range(9):
        for channel in range(2):
            x, y = 314 + channel * cell, first + tap * cell
            drawing.rectangle(x, y, cell, cell, "three", round(0.25 + 0.3 * channel, 2))
    drawing.grid(314, first, 9, 2, cell)
    drawing.text(362, 117, "=", anchor="middle")
    drawing.text(380, first - 14, "outputs")
    for window in range(9):
        for channel in range(2):
            x, y = 380 + channel * cell, first + window * cell
            drawing.rectangle(x, y, cell, cell, "three", round(0.25 + 0.3 * channel, 2))
    drawing.grid(380, first, 9, 2, cell)
    for window, kind in windows.items():
        drawing.rectangle(380, first + window * cell, 2 * cell, cell, kind)
    drawing.text(8, 212, "A pixel stands in up to nine rows: the matrix is nine", "quiet")
    drawing.text(8, 230, "times the image. The kernels read the image where it", "quiet")
    drawing.text(8, 248, "lies, and never write the matrix.", "quiet")
    return drawing.finish()


def draw_tile_product() -> str:
    """One tile of outputs kept in registers, while its inputs and weights are read once."""
    drawing = Drawing(
        "The product of a tile",
        "A tile of 14 pixels by 2 vectors of output channels stays in registers. In every step a "
        "number of each pixel, broadcast, is multiplied with two vectors of weights and added.",
        356,
    )
    cell, depth, rows, vectors, lanes = 11, 9, 14, 2, 6
    a_left, c_left, a_top, b_top = 70, 220, 152, 38
    width = vectors * lanes * cell
    drawing.text(c_left, b_top - 14, "weights: 2 vectors in each row")
    for k in range(depth):
        for lane in range(vectors * lanes):
            kind, opacity = ("two", 0.75) if k == 3 else ("three", 0.22)
            drawing.rectangle(c_left + lane * cell, b_top + k * cell, cell, cell, kind, opacity)
    for vector in range(vectors):
        x = c_left + vector * lanes * cell
        drawing.rectangle(x, b_top, lanes * cell, depth * cell, "grid")
    drawing.text(a_left, a_top - 14, "pixels, taps")
    for row in range(rows):
        for k in range(depth):
            kind, opacity = ("two", 0.75) if k == 3 else ("one", 0.22)
            drawing.rectangle(a_left + k * cell, a_top + row * cell, cell, cell, kind, opacity)
    drawing.grid(a_left, a_top, rows, depth, cell)
    drawing.text(62, a_top + rows * cell / 2 + 4, "14 rows", "quiet", "end")
    for row in range(rows):
        for vector in range(vectors):
            x, y = c_left + vector * lanes * cell, a_top + row * cell
            drawing.rectangle(x, y, lanes * cell, cell, "three", 0.5)
            drawing.rectangle(x, y, lanes * cell, cell, "grid")
    drawing.rectangle(c_left, a_top, width, rows * cell, "edge-two")
    drawing.text(c_left + width + 10, a_top + 60, "28 sums", "quiet")
    drawing.text(c_left + width + 10, a_top + 78, "in registers", "quiet")
    drawing.arrow(a_left + depth * cell + 14, a_top + 77, c_left - 8, a_top + 77)
    drawing.arrow(c_left + width / 2, b_top + depth * cell + 2, c_left + width / 2, a_top - 5)
    drawing.text(8, 330, "A step, orange: 14 numbers, each times 2 vectors of weights.", "quiet")
    drawing.text(8, 348, "The sums are stored once, after the last step.", "quiet")
    return drawing.finish()


def small_plan(batch: int) -> Plan:
    """The plan of a training step of a small network, that of the page."""
    layers = [Conv2D(8), ReLU(), MaxPool2D(2), Flatten(), Dense(10)]
    network = fastconv.Sequential(layers, input_shape=(12, 12, 1))
    optimizer = Optimizer("sgd").spec(network)
    purpose = Purpose(True, True, fastconv.Loss("softmax_cross_entropy"), optimizer)
    return build_plan(network, batch, purpose, Source(100))


def draw_plan() -> str:
    """The calls of a training step, and from which to which each array lives."""
    plan = small_plan(32)
    row, top, left, width = 17, 146, 222, 21
    first, last = {}, {}
    for number, call in enumerate(plan.calls):
        for argument in call.arguments:
            owner, _ = plan.memory_of(argument) or (None, 0)
            if owner is not None:
                first.setdefault(owner, number)
                last[owner] = number
    large = [
        number
        for number in sorted(first, key=first.__getitem__)
        if math.prod(plan.buffers[number].shape) >= plan.batch * 10
        and not plan.buffers[number].shared
    ]
    height = top + row * len(plan.calls) + 50
    drawing = Drawing(
        "The plan of a training step",
        "A list of kernel calls, from the gathering of images to the update of the parameters. "
        "Bars show from which call to which each array is needed.",
        height,
    )
    for number, call in enumerate(plan.calls):
        y = top + number * row
        drawing.text(4, y + 12, call.kernel.split(".")[1], "code")
        drawing.line(4, y + row, left + width * len(large), y + row, "grid")
    for column, number in enumerate(large):
        x = left + column * width
        name = plan.buffers[number].name.removesuffix(".memory").replace("gradient", "dx")
        kind = "two" if name.endswith(".dx") else "one"
        y, end = top + first[number] * row, top + (last[number] + 1) * row
        drawing.rectangle(x + 3, y + 2, width - 6, end - y - 4, kind, 0.7)
        drawing.text(x + 15, top - 6, name, "code", turned=True)
    drawing.text(4, height - 26, "Blue: values, kept for the way back. Orange: gradients.", "quiet")
    drawing.text(4, height - 8, "Memory is used again after an array's last reader.", "quiet")
    return drawing.finish()


def draw_barrier() -> str:
    """The instruction stream of that plan, walked by two threads."""
    instructions = lower(small_plan(32), Target("avx512", 64, 32, masks=True)).instructions
    row, top, lefts, width = 17, 30, (226, 336), 98
    height = top + row * len(instructions) + 50
    drawing = Drawing(
        "Two threads and the barriers of an instruction stream",
        "A list of native kernels with two columns, one for each thread. Small kernels are run by "
        "the first thread alone. A line across both columns is a barrier.",
        height,
    )
    for thread, left in enumerate(lefts):
        drawing.text(left + width / 2, top - 10, f"thread {thread}", anchor="middle")
    for number, instruction in enumerate(instructions):
        y = top + number * row
        drawing.text(4, y + 13, str(instruction.kernel), "code")
        for left in lefts[: instruction.max_threads]:
            drawing.rectangle(left, y + 2, width, row - 3, "one", 0.6)
        if instruction.barrier:
            drawing.line(lefts[0] - 8, y + row, lefts[1] + width + 4, y + row, "edge-two")
    drawing.text(
        4, height - 26, "Orange: both wait here until both have come. Between two such", "quiet"
    )
    drawing.text(4, height - 8, "lines no thread needs what the other makes.", "quiet")
    return drawing.finish()


DRAWINGS: dict[str, Callable[[], str]] = {
    "im2col": draw_im2col,
    "tile_product": draw_tile_product,
    "plan": draw_plan,
    "barrier": draw_barrier,
}


def main() -> None:
    """Write all of them."""
    FOLDER.mkdir(exist_ok=True)
    for name, draw in DRAWINGS.items():
        path = FOLDER / f"{name}.svg"
        temporary = path.with_suffix(".svg.new")
        temporary.write_text(draw(), encoding="utf-8")
        os.replace(temporary, path)


if __name__ == "__main__":
    main()
