"""How figures look that stand alone, in a folder or in the docs: learning curves, a panel beside the other."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from polydistill.charts import readable_ticks
from polydistill.files import new_file

# Told apart by those who see no red or green, and in print: of Okabe and Ito, "Color Universal Design" (2008).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "polydistill",  # the same drawing gives the same bytes
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
}
_COLUMNS = 3
_PANEL = (3.4, 2.7)


@dataclass(frozen=True)
class Point:
    """A score at a training size, as shares from 0 to 1, with the bounds of its interval."""

    size: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Panel:
    """Lines over training sizes, by their names, and levels that do not depend on a size."""

    lines: Mapping[str, Sequence[Point]]
    levels: Mapping[str, float]


def draw_curves(path: Path, panels: Mapping[str, Panel]) -> None:
    """Write an SVG file with a panel a title; a name has the same colour in each, and the same file comes again.

    Args:
        path: File to write.
        panels: At least one; sizes go along a log scale, scores are shown in per cent.
    """
    names = list(dict.fromkeys(name for panel in panels.values() for name in (*panel.lines, *panel.levels)))
    looks = dict(zip(names, cycle(zip(_COLOURS, _MARKERS, strict=True)), strict=False))
    columns = min(_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_PANEL[0] * max(columns, 2), _PANEL[1] * rows + 0.4), layout="constrained")
        FigureCanvasSVG(figure)
        places = figure.subplots(rows, columns, squeeze=False).flat
        for axes, (title, panel) in zip(places, panels.items(), strict=False):
            _draw_panel(axes, title, panel, looks)
        for axes in places[len(panels) :]:
            axes.set_visible(False)
        keys: dict[str, Artist] = {}
        for axes in places:
            handles, labels = axes.get_legend_handles_labels()
            keys |= dict(zip(labels, handles, strict=True))
        figure.legend(
            list(keys.values()), list(keys), loc="outside upper center", ncols=min(len(keys), 4), frameon=False
        )
        figure.supxlabel("training texts (log scale)", fontsize=9)
        with new_file(path) as partial:
            figure.savefig(partial, format="svg", metadata={"Date": None, "Creator": None})


def _draw_panel(axes: Axes, title: str, panel: Panel, looks: Mapping[str, tuple[str, str]]) -> None:
    for name, points in panel.lines.items():
        colour, marker = looks[name]
        points = sorted(points, key=lambda point: point.size)
        sizes = [point.size for point in points]
        low, high = [point.low for point in points], [point.high for point in points]
        axes.fill_between(sizes, low, high, color=colour, alpha=0.15, linewidth=0)
        means = [point.mean for point in points]
        axes.plot(sizes, means, color=colour, marker=marker, markersize=4, linewidth=1.6, label=name)
    for name, level in panel.levels.items():
        axes.axhline(level, color=looks[name][0], linestyle=(0, (2, 2)), linewidth=1.4, label=name)
    axes.set_title(title, fontsize=10)
    axes.set_xscale("log")
    sizes = sorted({point.size for points in panel.lines.values() for point in points})
    axes.xaxis.set_major_locator(FixedLocator(readable_ticks(sizes, room=0.13)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:,.0f}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g} %"))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
