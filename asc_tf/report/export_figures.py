"""Figures of export.html, as `svg` elements in the colours of the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from asc_tf.report.canvas import PAGE, add_legend_below, new_figure, style_axes, to_svg
from asc_tf.report.study_figures import COLORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = Sequence[tuple[str, float, float, float | None, float | None]]

PARTS = {
    "weights": "weights of the network",
    "mel_matrix": "mel matrix",
    "frontend": "other constants of the front-end",
    "quantization": "scales and zero points",
    "names": "names",
    "metadata": "metadata",
    "graph": "operations and tensors",
}
"""Parts of a .tflite, in the order in which they are drawn."""

PART_COLORS = dict(zip(PARTS, COLORS, strict=False))

MIN_POINTS = 6.0
"""Smallest range of a figure in percentage points of accuracy."""

_PLACES = [
    (ring, across, up)
    for ring in (10, 22, 36, 52)
    for across, up in (
        *((1, 0), (-1, 0), (0, 1), (0, -1)),
        *((1, 1), (-1, 1), (1, -1), (-1, -1)),
    )
]
"""Places of a name: distance to its point in points, and direction."""


def draw_tradeoff(points: Points, label: str, name: str) -> str:
    """Draw the change of accuracy over a cost, one named point per format.

    Args:
        points: Name, cost, change against Keras in [-1, 1], and the ends of its
            interval or None.
        label: Label of the axis of costs.
        name: Name of the figure, unique in its page.

    Returns:
        An `svg` element.
    """
    figure = new_figure(5.2, 3.9, PAGE)
    axes = figure.add_subplot()
    style_axes(axes, PAGE, grid="both")
    axes.set(xlabel=label, ylabel="change of accuracy (percentage points)")
    axes.axhline(0, color=PAGE.muted, linewidth=1.2, linestyle="--")
    costs = [cost for _, cost, *_ in points]
    if min(costs) > 0 and max(costs) > 3 * min(costs):
        _use_log_axis(axes, min(costs), max(costs))
    else:
        axes.margins(x=0.3)
    axes.margins(y=0.2)
    for _, cost, change, low, high in points:
        if low is not None and high is not None:
            ends = [100 * low, 100 * high]
            axes.plot([cost, cost], ends, color=PAGE.first, alpha=0.35, linewidth=1.6)
        axes.plot(cost, 100 * change, "o", color=PAGE.first, markersize=6)
    _widen_scale(axes)
    _place_names(figure, axes, points)
    return to_svg(figure, name)


def _widen_scale(axes: Axes) -> None:
    """Show at least some points of accuracy, so that a clip does not fill the axis."""
    low, high = axes.get_ylim()
    missing = max(MIN_POINTS - (high - low), 0.0)
    axes.set_ylim(low - missing / 2, high + missing / 2)


def _use_log_axis(axes: Axes, low: float, high: float) -> None:
    """Make the axis of costs logarithmic, with plain numbers at 1, 2 and 5."""
    axes.set_xscale("log")
    axes.set_xlim(low / 1.8, high * 1.8)
    decades = [10.0**power for power in range(-3, 9)]
    ticks = [factor * decade for decade in decades for factor in (1, 2, 5)]
    shown = [tick for tick in ticks if low / 1.8 <= tick <= high * 1.8]
    axes.set_xticks(shown, [f"{tick:,g}" for tick in shown])
    axes.minorticks_off()


def _place_names(figure: Figure, axes: Axes, points: Points) -> None:
    """Write the names of points where they cover neither a point nor another name."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.transforms import Bbox

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    pixels = figure.dpi / 72
    dots = [axes.transData.transform((x, 100 * y)) for _, x, y, *_ in points]
    taken = [Bbox.from_bounds(x - 9, y - 9, 18, 18) for x, y in dots]
    frame = axes.get_window_extent(renderer)
    _, zero = axes.transData.transform((1, 0))
    taken.append(Bbox.from_bounds(frame.x0, zero - 2, frame.width, 4))
    for (name, cost, change, *_), dot in zip(points, dots, strict=True):
        place = (cost, 100 * change)
        text = _write_name(axes, name, place, _PLACES[0])
        size = text.get_window_extent(renderer)
        text.remove()
        width, height = size.width, size.height
        choices = []
        for ring, across, up in _PLACES:
            x = dot[0] + ring * across * pixels - (1 - across) / 2 * width
            y = dot[1] + ring * up * pixels - (1 - up) / 2 * height
            box = Bbox.from_bounds(x, y, width, height).padded(2 * pixels)
            covered = sum(_overlap(box, other) for other in taken)
            outside = box.width * box.height - _overlap(box, frame)
            # A name that is nearer to another point would be taken for that point's.
            others = [_measure_distance(box, other) for other in dots]
            is_unclear = min(others) < _measure_distance(box, dot)
            cost_of_place = covered + outside + is_unclear * box.width * box.height / 2
            choices.append((cost_of_place, ring, (ring, across, up), box))
        _, _, best, box = min(choices, key=lambda each: each[:2])
        _write_name(axes, name, place, best)
        taken.append(box)


def _write_name(
    axes: Axes, name: str, place: tuple[float, float], where: tuple[int, int, int]
) -> Any:
    """Write a name beside a point; one that is far from it gets a line."""
    ring, across, up = where
    arrow = {"arrowstyle": "-", "color": PAGE.muted, "linewidth": 0.6}
    return axes.annotate(
        name,
        place,
        xytext=(across * ring, up * ring),
        textcoords="offset points",
        ha={1: "left", 0: "center", -1: "right"}[across],
        va={1: "bottom", 0: "center", -1: "top"}[up],
        fontsize=9,
        color=PAGE.text,
        arrowprops=arrow if ring > _PLACES[0][0] else None,
        parse_math=False,
    )


def _measure_distance(box: Any, dot: Any) -> float:
    """Measure the distance of a point from a box in pixels; 0 inside of it."""
    across = max(box.x0 - dot[0], 0, dot[0] - box.x1)
    up = max(box.y0 - dot[1], 0, dot[1] - box.y1)
    return math.hypot(across, up)


def _overlap(first: Any, second: Any) -> float:
    """Compute the area that two boxes share."""
    width = min(first.x1, second.x1) - max(first.x0, second.x0)
    height = min(first.y1, second.y1) - max(first.y0, second.y0)
    return float(max(width, 0) * max(height, 0))


def draw_sizes(parts: Mapping[str, Mapping[str, int]]) -> str:
    """Draw the size of each file as a bar of its parts.

    Args:
        parts: Bytes by part by format; the parts are those of `PARTS`.

    Returns:
        An `svg` element.
    """
    figure = new_figure(8.8, 1.3 + 0.36 * len(parts), PAGE)
    axes = figure.add_subplot()
    style_axes(axes, PAGE, grid="x")
    for place, sizes in enumerate(parts.values()):
        start = 0.0
        for part in PARTS:
            width = sizes.get(part, 0) / 1000
            axes.barh(place, width, 0.66, left=start, color=PART_COLORS[part])
            start += width
        axes.text(
            start, place, f" {start:,.1f}", va="center", fontsize=8.5, color=PAGE.muted
        )
    axes.set_yticks(range(len(parts)), list(parts), fontsize=9, parse_math=False)
    axes.set(ylim=(len(parts) - 0.5, -0.5), xlabel="kB")
    axes.margins(x=0.1)
    axes.set_xlim(left=0)
    handles = [axes.barh([0], [0], color=PART_COLORS[part]) for part in PARTS]
    add_legend_below(figure, PAGE, handles, PARTS.values())
    return to_svg(figure, "sizes")
