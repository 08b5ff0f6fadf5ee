"""Figures of a report as PNG files, in the colours of a light or a dark page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from asc_tf.report.canvas import LIGHT, Theme, new_figure, style_axes, to_png

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

    names = [_shorten(label) for label in labels]
    shares = np.array(values, dtype=float)
    cell = _choose_cell_inches(len(names))
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
    norm = _make_norm(shares, percent)
    ticks = range(len(names))
    axes.pcolormesh(
        ticks,
        ticks,
        np.ma.masked_invalid(shares),
        cmap=_make_colormap(theme),
        norm=norm,
        edgecolors=theme.surface,
        linewidth=0.8,
        shading="nearest",
    )
    axes.invert_yaxis()
    _write_cells(axes, shares, percent, cell * 72, theme)
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
    style_axes(axes, theme)
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
    names = [_shorten(row["label"]) for row in rows]
    axes.set_yticks(places, names, fontsize=9, parse_math=False)
    axes.set_xticks(range(0, 101, 20))
    axes.set(xlim=(0, 106), ylim=(-0.6, len(rows) - 0.4), xlabel="per cent")
    axes.grid(axis="x", color=theme.grid, linewidth=0.8)
    axes.spines["bottom"].set_visible(False)
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1.0, 1.0),
        ncols=2,
        frameon=False,
        fontsize=9,
        labelcolor=theme.text,
    )
    return to_png(figure)


def draw_history(curves: Mapping[str, list[float]], *, theme: Theme = LIGHT) -> bytes:
    """Draw loss, accuracy and learning rate over the epochs, those that are known.

    Args:
        curves: Columns of history.csv as `read_history` returns them; NaN leaves a gap.
        theme: Colours.

    Returns:
        A PNG file.
    """
    figure = new_figure(10.4, 3.3, theme)
    panels = {
        "loss": ("loss", "val_loss"),
        "accuracy": ("accuracy", "val_accuracy"),
        "learning rate": ("learning_rate",),
    }
    drawn = [title for title, keys in panels.items() if any(k in curves for k in keys)]
    for index, title in enumerate(drawn):
        axes = figure.add_subplot(1, len(drawn), index + 1)
        accuracy = title == "accuracy"
        style_axes(axes, theme, "accuracy (per cent)" if accuracy else title)
        for key in panels[title]:
            if key in curves:
                values = [100 * y if accuracy else y for y in curves[key]]
                _plot_curve(axes, curves["epoch"], values, key, theme)
        axes.grid(color=theme.grid, linewidth=0.8)
        axes.set_xlabel("epoch")
        axes.locator_params(axis="x", integer=True)
        if len(panels[title]) > 1:
            axes.legend(frameon=False, fontsize=9, labelcolor=theme.text)
    return to_png(figure)


def _plot_curve(
    axes: Axes, epochs: list[float], values: list[float], key: str, theme: Theme
) -> None:
    validation = key.startswith("val_")
    axes.plot(
        epochs,
        values,
        color=theme.second if validation else theme.first,
        linestyle="--" if validation else "-",
        linewidth=1.8,
        # A line through one epoch would not show.
        marker="o" if len(epochs) == 1 else None,
        label="validation" if validation else "training",
    )


def _choose_cell_inches(n_labels: int) -> float:
    """Choose the size of a cell: 50 classes fit a wide page, hundreds still a PNG."""
    return min(max(4.6 / n_labels, 0.2), 0.56, 20 / n_labels)


def _make_colormap(theme: Theme) -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("asc_tf", [theme.low, theme.high])


def _make_norm(shares: Any, percent: bool) -> Any:
    import numpy as np
    from matplotlib.colors import PowerNorm

    # A linear scale would hide confusions of a few per cent beside the diagonal.
    top = 1.0 if percent else max(float(np.nanmax(shares)), 1.0)
    return PowerNorm(0.6, vmin=0.0, vmax=top)


def _write_cells(
    axes: Axes, shares: Any, percent: bool, cell_points: float, theme: Theme
) -> None:
    if cell_points < MIN_CELL_POINTS:
        return
    norm = _make_norm(shares, percent)
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


def _shorten(label: str) -> str:
    if len(label) <= MAX_LABEL_LENGTH:
        return label
    return f"{label[: MAX_LABEL_LENGTH - 1]}…"
