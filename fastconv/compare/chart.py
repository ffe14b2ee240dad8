"""The ratios as a chart: a panel for each peer and depth, a line for each batch size."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from fastconv.compare.outcome import NAMES, Measured, series
from fastconv.plots.style import ink, stroke


def chart(measured: Sequence[Measured], peers: Sequence[str]) -> Figure:
    """Draw how much faster fastconv is, by the width of the network.

    Parameters
    ----------
    measured
        All settings.
    peers
        Who took turns with fastconv.

    Returns
    -------
    Figure
        Above the line at 1, fastconv is faster.
    """
    depths = sorted({each.setting.depth for each in measured})
    batches = sorted({each.setting.batch for each in measured})
    widths = sorted({each.setting.width for each in measured})
    size = 1 + 2.75 * len(depths), 0.9 + 2.75 * len(peers)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(peers), len(depths), sharex=True, sharey=True, squeeze=False)
    for peer, row in zip(peers, panels, strict=True):
        for depth, ax in zip(depths, row, strict=True):
            ax.axhline(1, color=ink(), linewidth=0.8)
            for number, batch in enumerate(batches):
                own = series(measured, depth, batch)
                at = [each.setting.width for each in own]
                ratios = [each.ratio(peer) for each in own]
                ax.plot(at, ratios, label=f"batch {batch}", **stroke(number, len(at)))
            ax.set(xscale="log", yscale="log", title=f"{NAMES[peer]}, {depth} convolutions")
            ax.set_xticks(widths, [str(width) for width in widths])
            ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            for axis in (ax.xaxis, ax.yaxis):
                axis.set_minor_formatter(NullFormatter())
            # From 1 to 10 there may be no other tick.
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    figure.supxlabel("width: filters of each convolution")
    figure.supylabel("its time over fastconv's")
    lines = panels[0, 0].get_legend_handles_labels()
    figure.legend(*lines, loc="outside upper center", ncols=len(batches))
    return figure
