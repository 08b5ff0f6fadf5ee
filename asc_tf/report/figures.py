"""Figures of a report: PNG files for its folder, SVG for its page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from asc_tf.report.canvas import (
    LIGHT,
    PAGE,
    Theme,
    new_figure,
    shorten,
    style_axes,
    to_png,
    to_svg,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_LABEL_LENGTH = 28
MIN_CELL_POINTS = 10


def draw_confusion_matrix(
    labels: Sequence[str],
    values: Sequence[Sequence[float | None]],
    *,
    percent: bool,
    counted: str = "clips",
    theme: Theme = LIGHT,
) -> bytes:
    """Draw a confusion matrix with its numbers in the cells that do not round to 0.

    Args:
        labels: Labels, meant for up to 50.
        values: Rows (true label) of values (predicted label), `[labels, labels]`; a row
            of None (no clips) is left empty and says so.
        percent: Whether the values are shares in [0, 1], to be shown as per cent.
        counted: Name of what is counted, for the title.
        theme: Colours.

    Returns:
        A PNG file.
    """
    import numpy as np
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    names = [shorten(label, MAX_LABEL_LENGTH) for label in labels]
    shares = np.array(values, dtype=float)
    # In inches: 50 classes fit a wide page, hundreds still a PNG.
    cell = min(max(4.6 / len(names), 0.2), 0.56, 20 / len(names))
    side = cell * len(names)
    # No layout engine, and axes that fill the figure: the cells keep their size, the
    # labels lie outside and the cut around the drawing takes them in.
    figure = new_figure(side, side, theme, layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    title = f"number of {counted}"
    if percent:
        title = f"per cent of the {counted} of each true label"
    style_axes(axes, theme, title)
    axes.spines[:].set_visible(False)
    # A linear scale would hide confusions of a few per cent beside the diagonal.
    top = 1.0 if percent else max(float(np.nanmax(shares)), 1.0)
    norm = PowerNorm(0.6, vmin=0.0, vmax=top)
    ticks = range(len(names))
    axes.pcolormesh(
        ticks,
        ticks,
        np.ma.masked_invalid(shares),
        cmap=LinearSegmentedColormap.from_list("asc_tf", [theme.low, theme.high]),
        norm=norm,
        edgecolors=theme.surface,
        linewidth=0.8,
        shading="nearest",
    )
    axes.invert_yaxis()
    if cell * 72 >= MIN_CELL_POINTS:
        _write_cells(axes, shares, norm, percent, cell * 72, theme)
    points = min(cell * 36, 9.5)
    axes.set_xticks(ticks, names, rotation=90, fontsize=points, parse_math=False)
    axes.set_yticks(ticks, names, fontsize=points, parse_math=False)
    axes.set(xlabel="predicted label", ylabel="true label")
    return to_png(figure)


def draw_per_class(rows: Sequence[Mapping[str, Any]], *, theme: Theme = LIGHT) -> bytes:
    """Draw accuracy and F1 of each class as horizontal bars, the best F1 on top.

    Args:
        rows: List `per_class` of `asc_tf.evaluation.metrics.compute_metrics`. Classes
            without clips come last and have no bar.
        theme: Colours.

    Returns:
        A PNG file.
    """
    rows = sorted(rows, key=lambda row: -1.0 if row["f1"] is None else row["f1"])
    places = range(len(rows))
    figure = new_figure(8.4, 1.1 + 0.36 * len(rows), theme)
    axes = figure.add_subplot()
    style_axes(axes, theme, grid="x")
    small: dict[str, Any] = {"va": "center", "fontsize": 7.5, "color": theme.muted}
    for key, name, color, offset in (
        ("accuracy", "accuracy", theme.first, 0.19),
        ("f1", "F1", theme.second, -0.19),
    ):
        widths = [100 * (row[key] or 0.0) for row in rows]
        centres = [place + offset for place in places]
        axes.barh(centres, widths, height=0.34, color=color, label=name)
        for centre, width, row in zip(centres, widths, rows, strict=True):
            if row[key] is not None:
                axes.text(width + 0.8, centre, f"{width:.1f}", **small)
    for place, row in zip(places, rows, strict=True):
        if row["f1"] is None:
            axes.text(0.8, place, "no clips", style="italic", **small)
    names = [shorten(row["label"], MAX_LABEL_LENGTH) for row in rows]
    axes.set_yticks(places, names, fontsize=9, parse_math=False)
    axes.set_xticks(range(0, 101, 20))
    axes.set(xlim=(0, 106), ylim=(-0.6, len(rows) - 0.4), xlabel="per cent")
    axes.spines["bottom"].set_visible(False)
    _add_legend(axes, theme, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)
    return to_png(figure)


def draw_history(
    curves: Mapping[str, list[float]],
    best_epoch: int | None = None,
    *,
    theme: Theme = LIGHT,
) -> bytes:
    """Draw loss, accuracy and learning rate over the epochs, those that are known.

    Args:
        curves: Columns of history.csv as `read_history` returns them; NaN leaves a gap.
        best_epoch: Epoch of the model, which is marked.
        theme: Colours.

    Returns:
        A PNG file.
    """
    titles = _find_panels(curves)
    figure = new_figure(10.4, 3.3, theme)
    for index, title in enumerate(titles):
        axes = figure.add_subplot(1, len(titles), index + 1)
        _draw_panel(axes, title, curves, best_epoch, theme)
    return to_png(figure)


def draw_history_panels(
    curves: Mapping[str, list[float]], best_epoch: int | None = None
) -> dict[str, str]:
    """Draw what `draw_history` draws, each panel as an `svg` element, by its title."""
    drawn = {}
    for title in _find_panels(curves):
        figure = new_figure(4.0, 2.9, PAGE)
        _draw_panel(figure.add_subplot(), title, curves, best_epoch, PAGE)
        drawn[title] = to_svg(figure, f"history {title}")
    return drawn


def draw_reliability(
    bins: Sequence[Mapping[str, Any]], calibrated: Sequence[Mapping[str, Any]] = ()
) -> str:
    """Draw a reliability diagram: how often the model is right, over how sure it is.

    Args:
        bins: Bins of the probability of the predicted label: `low`, `high`, `n_clips`,
            and mean `confidence` and `accuracy`, None where there is no clip.
        calibrated: The same after temperature scaling.

    Returns:
        An `svg` element.
    """
    figure = new_figure(4.4, 4.6, PAGE)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    style_axes(axes, PAGE, grid="both")
    style_axes(below, PAGE)
    axes.set_ylabel("accuracy")
    below.set_ylabel("clips")
    lows = [row["low"] for row in bins]
    widths = [0.94 * (row["high"] - row["low"]) for row in bins]
    heights = [row["accuracy"] or 0.0 for row in bins]
    bars: dict[str, Any] = {"align": "edge", "width": widths}
    axes.bar(lows, heights, color=PAGE.first, alpha=0.7, label="as predicted", **bars)
    below.bar(lows, [row["n_clips"] for row in bins], color=PAGE.muted, **bars)
    axes.plot([0, 1], [0, 1], color=PAGE.muted, linestyle="--", linewidth=1.2)
    if points := [row for row in calibrated if row["n_clips"]]:
        axes.plot(
            [row["confidence"] for row in points],
            [row["accuracy"] for row in points],
            "s",
            color=PAGE.second,
            markersize=5,
            label="after temperature scaling",
        )
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    _add_legend(axes, PAGE, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2)
    below.locator_params(axis="y", nbins=2, integer=True)
    below.set_xlabel("probability of the predicted label")
    return to_svg(figure, "reliability")


PANELS = {
    "loss": ("loss", "val_loss"),
    "accuracy": ("accuracy", "val_accuracy"),
    "learning rate": ("learning_rate",),
}
"""Titles of the panels of a history, and their columns."""


def _find_panels(curves: Mapping[str, list[float]]) -> list[str]:
    return [title for title, keys in PANELS.items() if any(k in curves for k in keys)]


def _draw_panel(
    axes: Axes,
    title: str,
    curves: Mapping[str, list[float]],
    best_epoch: int | None,
    theme: Theme,
) -> None:
    """Draw the curves of a panel, and a line where the epoch of the model is."""
    accuracy = title == "accuracy"
    style_axes(axes, theme, "accuracy (per cent)" if accuracy else title, grid="both")
    for key in PANELS[title]:
        if key not in curves:
            continue
        validation = key.startswith("val_")
        names = {"learning_rate": "learning rate"}
        axes.plot(
            curves["epoch"],
            [100 * y if accuracy else y for y in curves[key]],
            color=theme.second if validation else theme.first,
            linestyle="--" if validation else "-",
            linewidth=1.8,
            # A line through one epoch would not show.
            marker="o" if len(curves["epoch"]) == 1 else None,
            label=names.get(key, "validation" if validation else "training"),
        )
    axes.set_xlabel("epoch")
    axes.locator_params(axis="x", integer=True)
    if best_epoch is not None and best_epoch in curves["epoch"]:
        axes.axvline(
            best_epoch,
            color=theme.text,
            linestyle=":",
            linewidth=1.2,
            label=f"model (epoch {best_epoch})",
        )
    # Its background hides the grid.
    _add_legend(axes, theme, loc="best", frameon=True)


def _add_legend(
    axes: Axes, theme: Theme, *, frameon: bool = False, **options: Any
) -> None:
    axes.legend(
        frameon=frameon,
        framealpha=0.85,
        facecolor=theme.surface,
        edgecolor="none",
        fontsize=9,
        labelcolor=theme.text,
        **options,
    )


def _write_cells(
    axes: Axes, shares: Any, norm: Any, percent: bool, cell_points: float, theme: Theme
) -> None:
    small: dict[str, Any] = {"va": "center", "fontsize": min(cell_points / 2, 8)}
    for row, values in enumerate(shares):
        if all(math.isnan(value) for value in values):
            axes.text(0, row, "no clips", style="italic", color=theme.muted, **small)
            continue
        for column, value in enumerate(values):
            text = f"{100 * value:.0f}" if percent else f"{value:.0f}"
            if text == "0":
                continue
            axes.text(
                column,
                row,
                text,
                ha="center",
                va="center",
                fontsize=min(cell_points * min(0.42, 1.35 / len(text)), 9),
                color=theme.text_on_high if norm(value) > theme.turn else theme.text,
            )
