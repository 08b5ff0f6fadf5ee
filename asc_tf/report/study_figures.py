"""Figures of studies: scores with intervals, and overlaid training curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asc_tf.report.canvas import (
    LIGHT,
    Theme,
    add_legend_below,
    new_figure,
    shorten,
    style_axes,
    to_png,
)

COLORS = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a8f98"),
    *("#b8a800", "#7b5ea7", "#a05a2c", "#2f9e9e", "#e0559a"),
)
"""Colours of runs, the first ones of Okabe and Ito (2008); they repeat after twelve."""

MAX_NAME = 44

MAX_TICKS = 5
"""Number of values of a key that an axis names one by one."""


def draw_scores(rows: Sequence[Mapping[str, Any]], *, theme: Theme = LIGHT) -> bytes:
    """Draw the accuracy of each row as a point with its interval, the first on top.

    Args:
        rows: `name`, `accuracy`, `low` and `high` in [0, 1] (None: no interval), and
            `runs`: accuracies of single runs, drawn as small rings.
        theme: Colours.

    Returns:
        A PNG file.
    """
    figure = new_figure(8.4, 1.0 + 0.38 * len(rows), theme)
    axes = figure.add_subplot()
    style_axes(axes, theme, grid="x")
    for place, row in enumerate(rows):
        color = COLORS[place % len(COLORS)]
        if row["low"] is not None:
            ends = [100 * row["low"], 100 * row["high"]]
            axes.plot(ends, [place, place], color=color, linewidth=2.2)
        if row["runs"]:
            values = [100 * value for value in row["runs"]]
            axes.scatter(
                values,
                [place - 0.24] * len(values),
                s=14,
                facecolors="none",
                edgecolors=theme.muted,
                linewidths=0.8,
            )
        axes.plot(100 * row["accuracy"], place, "o", color=color, markersize=7)
    names = [shorten(row["name"], MAX_NAME) for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=9, parse_math=False)
    axes.set(ylim=(len(rows) - 0.5, -0.6), xlabel="accuracy (per cent)")
    axes.margins(x=0.04)
    low, high = axes.get_xlim()
    axes.set_xlim(max(low, -2), min(high, 102))
    return to_png(figure)


def draw_curves(
    curves: Mapping[str, Mapping[str, list[float]]], *, theme: Theme = LIGHT
) -> bytes:
    """Draw loss and accuracy over the epochs: training solid, validation dashed.

    Args:
        curves: By run `epoch` and some of `loss`, `val_loss`, `accuracy` and
            `val_accuracy`; NaN leaves a gap. A run keeps its colour in both panels.
        theme: Colours.

    Returns:
        A PNG file.
    """
    figure = new_figure(10.4, 3.9 + 0.22 * ((len(curves) + 2) // 3), theme)
    panels = figure.subplots(1, 2)
    for axes, key in zip(panels, ("loss", "accuracy"), strict=True):
        title = "accuracy of segments (per cent)" if key == "accuracy" else key
        style_axes(axes, theme, title, grid="both")
        scale = 100 if key == "accuracy" else 1
        for place, (name, columns) in enumerate(curves.items()):
            for column, line in ((key, "-"), (f"val_{key}", "--")):
                if column not in columns:
                    continue
                axes.plot(
                    columns["epoch"],
                    [scale * value for value in columns[column]],
                    line,
                    color=COLORS[place % len(COLORS)],
                    linewidth=1.6,
                    marker="o" if len(columns["epoch"]) == 1 else None,
                    label=shorten(name, MAX_NAME) if line == "-" else None,
                )
        axes.set_xlabel("epoch")
        axes.locator_params(axis="x", integer=True)
    add_legend_below(figure, theme, *panels[0].get_legend_handles_labels())
    return to_png(figure)


def draw_values(
    points: Sequence[Mapping[str, Any]],
    keys: Sequence[str],
    score: str,
    *,
    theme: Theme = LIGHT,
) -> bytes:
    """Draw the score of points over the values of each key, a panel for each.

    A panel's axis is logarithmic where the values span more than a factor of 20.

    Args:
        points: Values by key and `score`; the first point is the best.
        keys: Keys to draw.
        score: Name of the score, for the axis.
        theme: Colours.

    Returns:
        A PNG file.
    """
    columns = min(len(keys), 3)
    rows = -(-len(keys) // columns)
    figure = new_figure(max(3.5 * columns, 4.2), 2.9 * rows, theme)
    for place, key in enumerate(keys):
        axes = figure.add_subplot(rows, columns, place + 1)
        style_axes(axes, theme, key, grid="both")
        values = [point[key] for point in points]
        if all(type(value) in (int, float) for value in values):
            places = [float(value) for value in values]
            if min(places) > 0 and max(places) > 20 * min(places):
                axes.set_xscale("log")
            if len(set(values)) <= MAX_TICKS:
                ticks = sorted(set(values))
                axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
                axes.minorticks_off()
        else:
            shown = [str(value) for value in values]
            names = sorted(set(shown))
            places = [float(names.index(name)) for name in shown]
            axes.set_xticks(
                range(len(names)),
                [shorten(name, MAX_NAME) for name in names],
                rotation=30 if len(names) > 3 else 0,
                parse_math=False,
            )
        scores = [point["score"] for point in points]
        axes.scatter(places, scores, s=22, color=theme.first, alpha=0.75, linewidths=0)
        axes.scatter(
            places[:1],
            scores[:1],
            s=90,
            facecolors="none",
            edgecolors=theme.second,
            linewidths=1.8,
        )
        if place % columns == 0:
            axes.set_ylabel(score)
    return to_png(figure)
