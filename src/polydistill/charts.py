"""How the charts of the report look: inline SVG whose colours and fonts are those of the page around it."""

import hashlib
import io
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from polydistill.cell import Card, CurvePoint, StudentFacts

# matplotlib draws with these; in the page each becomes a CSS variable, so that light and dark come from one drawing.
INK, MUTED, GRID, PAPER = "#010101", "#020202", "#030303", "#040404"
SYNTHETIC, HUMAN, TEACHER, MIXED = "#050505", "#060606", "#070707", "#080808"
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--rule",
    PAPER: "--paper",
    SYNTHETIC: "--synthetic",
    HUMAN: "--human",
    TEACHER: "--teacher",
    MIXED: "--mixed",
}
# The width of a phone's text column, so that a chart needs no shrinking there; in points, with fonts to match.
WIDTH = 360
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",  # comes with matplotlib, so text takes the same room everywhere
    "font.size": 12,
    "text.color": MUTED,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 12,
    "axes.labelpad": 6,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.color": GRID,
    "ytick.labelcolor": MUTED,
    "ytick.major.size": 0,
    "lines.linewidth": 2,
}
LINES: dict[str, tuple[str, str, Any]] = {
    "synthetic": (SYNTHETIC, "o", "-"),
    "human": (HUMAN, "s", (0, (5, 2))),
    "mixed": (MIXED, "^", (0, (6, 1.5, 1.5, 1.5))),
}


def learning_curve(student: StudentFacts, teacher_accuracy: float | None, title: str) -> Markup:
    """Draw accuracy over the number of training texts, a line a source, with the teacher's accuracy across.

    The student must have a curve; its final scores are drawn as a diamond with their interval.
    """
    with mpl.rc_context(STYLE):
        figure, axes = _new_figure(height=240)
        _log_sizes(axes, [p.size for p in student.curve], last=student.final.size)
        for source, (color, marker, line) in LINES.items():
            _draw_curve(axes, [p for p in student.curve if p.source == source], color, marker, line)
        final = student.final
        axes.plot([final.size] * 2, final.interval.accuracy, color=SYNTHETIC, linewidth=1.4, solid_capstyle="butt")
        axes.plot(final.size, final.accuracy, "D", color=PAPER, markersize=7, markeredgecolor=SYNTHETIC, mew=2)
        if teacher_accuracy is not None:
            axes.axhline(teacher_accuracy, color=TEACHER, linewidth=2, linestyle=(0, (1, 1.6)))
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, 0), min(high, 1.01))
        if teacher_accuracy is not None and student.overtakes_teacher_at is not None:
            _mark_overtaking(axes, student.overtakes_teacher_at, teacher_accuracy)
        axes.set_xlabel("training texts (log scale)")
        _percent(axes.yaxis, most=8)
        return _page_svg(figure, title)


def overview(cards: Sequence[Card], title: str) -> Markup:
    """Draw a line a language: the student's accuracy with its interval, and the teacher's."""
    with mpl.rc_context(STYLE):
        figure, axes = _new_figure(height=44 + 26 * len(cards))
        rows = range(len(cards))
        for row, card in zip(rows, cards, strict=True):
            final, teacher = card.winning.final, card.teacher.accuracy
            axes.plot(final.interval.accuracy, [row, row], color=SYNTHETIC, linewidth=5, alpha=0.3)
            if teacher is not None:
                axes.plot(teacher, row, "D", color=PAPER, markersize=7, markeredgecolor=TEACHER, mew=2)
            axes.plot(final.accuracy, row, "o", color=SYNTHETIC, markersize=8)
        axes.set_yticks(rows, [card.language_name for card in cards], color=INK)
        axes.set_ylim(len(cards) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        _percent(axes.xaxis, most=6)
        return _page_svg(figure, title)


def readable_ticks(sizes: Sequence[int], room: float = 0.11) -> list[int]:
    """Return the sizes whose labels do not run into each other on a log axis, the largest among them.

    Args:
        sizes: The sizes that the axis shows, at least one.
        room: The share of the axis that a label takes.
    """
    ordered = sorted(set(sizes), reverse=True)
    min_ratio = (ordered[0] / ordered[-1]) ** room
    kept = ordered[:1]
    for size in ordered[1:]:
        if kept[-1] / size >= min_ratio:
            kept.append(size)
    return kept[::-1]


def _new_figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.add_subplot()


def _draw_curve(axes: Axes, points: Sequence[CurvePoint], color: str, marker: str, line: Any) -> None:
    if not points:
        return
    points = sorted(points, key=lambda p: p.size)
    sizes, means = [p.size for p in points], [p.mean for p in points]
    low, high = np.array([p.interval for p in points]).T
    if len(points) > 1:
        axes.fill_between(sizes, low, high, color=color, alpha=0.18, linewidth=0)
    else:
        axes.vlines(sizes, low, high, color=color, alpha=0.3, linewidth=5)
    axes.plot(sizes, means, color=color, marker=marker, linestyle=line, markersize=5.5)


def _mark_overtaking(axes: Axes, size: int, accuracy: float) -> None:
    left, right = axes.get_xlim()
    to_left = size > math.sqrt(left * right)
    axes.vlines(size, axes.get_ylim()[0], accuracy, color=INK, linewidth=1)
    axes.plot(size, accuracy, "o", color="none", markeredgecolor=INK, markersize=11, mew=1.4)
    axes.annotate(
        f"overtakes at {size:,}",
        (size, 0),
        xycoords=("data", "axes fraction"),
        xytext=(-5 if to_left else 5, 6),
        textcoords="offset points",
        ha="right" if to_left else "left",
        color=INK,
        bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1},
    )


def _log_sizes(axes: Axes, sizes: Sequence[int], last: int) -> None:
    axes.set_xscale("log")
    axes.set_xlim(min(*sizes, last) / 1.2, max(*sizes, last) * 1.2)
    axes.xaxis.set_major_locator(FixedLocator(readable_ticks(sizes)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:,.0f}"))
    axes.grid(visible=False, axis="x")


def _percent(axis: Axis, most: int) -> None:
    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g} %"))


def _page_svg(figure: Figure, title: str) -> Markup:
    """Return the drawing as an element for the page: no ids but those it uses, colours as CSS variables."""
    raw = io.StringIO()
    salt = hashlib.sha256(title.encode()).hexdigest()[:8]
    with mpl.rc_context({"svg.hashsalt": salt}):
        figure.savefig(raw, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = ET.fromstring(raw.getvalue())
    _strip(svg)
    svg.attrib = {"viewBox": svg.attrib["viewBox"], "role": "img", "aria-label": title, "class": "chart"}
    label = ET.Element("title")
    label.text = title
    svg.insert(0, label)
    return Markup(ET.tostring(svg, encoding="unicode"))


def _strip(svg: ET.Element) -> None:
    used = set(re.findall(r"#([\w-]+)", " ".join(" ".join(e.attrib.values()) for e in svg.iter())))
    for element in svg.iter():
        element.tag = _local(element.tag)
        element.attrib = {
            _local(name): _for_page(value)
            for name, value in element.attrib.items()
            if (name != "id" or value in used) and "rotate(-0" not in value
        }
        element.text = (element.text or "").strip()
        element.tail = ""
        for child in [c for c in element if _local(c.tag) in ("metadata", "style")]:
            element.remove(child)


def _for_page(value: str) -> str:
    for color, variable in VARIABLES.items():
        value = value.replace(color, f"var({variable})")
    value = re.sub(r"font: ([\d.]+px)[^;]*", r"font-size: \1", value)  # the page's font
    value = value.replace(" font-family: 'DejaVu Sans';", "")
    return re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", value)


def _local(name: str) -> str:
    return name.rpartition("}")[2]
