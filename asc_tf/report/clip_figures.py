"""Pictures of a clip: its waveform and its features over one time axis."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from asc_tf.report.canvas import CSS_PIXELS_PER_INCH, DPI

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Layout in pixels of the page.
WIDTH, LEFT, RIGHT, TOP, BOTTOM, GAP = 360, 48, 42, 18, 33, 25

BLUE = "#2a8ccc"
"""Colour of waveforms, with contrast to the light page and to the dark page."""

COLUMNS, ROWS = 240, 128
"""Largest numbers of columns and rows of an image; neighbours are averaged."""

COLOURS = 64
"""Number of colours of an image, so that a page of 50 classes stays small."""

MARKS = np.array([10, 30, 100, 300, 1000, 3000, 10_000, 30_000])
"""Frequencies in Hz that are written on an axis whose steps are not of equal Hz."""

MIN_PEAK = 1e-4
"""Smallest range of the axis of a waveform: almost silent clips are drawn as a flat
line."""


@dataclass(frozen=True)
class Picture:
    """Two PNG files of one size, which the page lays on top of each other.

    Attributes:
        data: Waveform, features and colour bar in their colours.
        text: Text and ticks in black, which a dark page inverts.
    """

    data: bytes
    text: bytes


@dataclass(frozen=True)
class Wave:
    """A waveform as a panel: float32 `[samples]`, at least one."""

    samples: np.ndarray
    height: int = 54

    def draw(self, axes: Axes, seconds: float) -> None:
        """Draw the lowest and the highest sample of each column."""
        n = len(self.samples)
        starts = np.unique(np.linspace(0, n, COLUMNS, endpoint=False).astype(int))
        low = np.minimum.reduceat(self.samples, starts)
        high = np.maximum.reduceat(self.samples, starts)
        times = starts * seconds / n
        # The line around the area shows silence.
        axes.fill_between(times, low, high, color=BLUE, linewidth=0.6)
        peak = max(float(np.abs(self.samples).max()), MIN_PEAK)
        axes.set_ylim(-1.1 * peak, 1.1 * peak)
        axes.locator_params(axis="y", nbins=2, symmetric=True)
        axes.yaxis.set_major_formatter("{x:g}")
        _style(axes, "waveform (full scale is 1)")


@dataclass(frozen=True)
class BandAxis:
    """Vertical axis of an image.

    Attributes:
        unit: Text beside the axis.
        low: Place of the lower edge of the image.
        high: Place of the upper edge.
        to_place: Converts Hz to places; None where a place is a number to be written.
    """

    unit: str
    low: float
    high: float
    to_place: Callable[[np.ndarray], Any] | None = None

    def label(self, axes: Axes) -> None:
        """Write numbers beside the image."""
        from matplotlib.ticker import EngFormatter

        axes.set_ylabel(self.unit)
        to_text = EngFormatter(sep="")
        if self.to_place is None:
            axes.locator_params(axis="y", nbins=4, integer=True)
            axes.yaxis.set_major_formatter(to_text)
            return
        places = np.asarray(self.to_place(MARKS))
        # The lowest marks of a mel axis would lie on top of each other.
        lowest = self.low + 0.05 * (self.high - self.low)
        is_shown = (places >= lowest) & (places <= self.high)
        axes.set_yticks(places[is_shown], [to_text(mark) for mark in MARKS[is_shown]])


@dataclass(frozen=True)
class Image:
    """Features as a panel: `[frames, bands]`, the lowest band first."""

    values: np.ndarray
    title: str
    axis: BandAxis
    height: int = 84

    def draw(self, axes: Axes, seconds: float) -> None:
        """Draw the image and its axis."""
        values = average(np.asarray(self.values, np.float64), COLUMNS)
        axes.imshow(
            average(values.T, ROWS),
            extent=(0, seconds, self.axis.low, self.axis.high),
            origin="lower",
            aspect="auto",
            interpolation="nearest",
        )
        self.axis.label(axes)
        _style(axes, self.title)


def draw(
    panels: Sequence[Wave | Image], seconds: float, limits: tuple[float, float]
) -> Picture:
    """Draw panels below each other.

    Args:
        panels: The waveform and then the images.
        seconds: Length of the time axis in s.
        limits: Values of the darkest and of the brightest colour of the images.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image as Pixels

    figure = make_figure(panels, seconds, limits)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())
    is_data = np.zeros(pixels.shape[:2], bool)
    for axes in figure.axes:
        left, bottom, right, top = np.round(axes.bbox.extents).astype(int)
        is_data[len(pixels) - top : len(pixels) - bottom, left:right] = True
    data = Pixels.fromarray(pixels * is_data[..., np.newaxis])
    # Fast octree is the only method for transparent pictures.
    method = Pixels.Quantize.FASTOCTREE
    data = data.quantize(2 * COLOURS, method, dither=Pixels.Dither.NONE)
    # A palette of 16 blacks, from transparent to opaque.
    text = Pixels.fromarray(pixels[..., 3] * ~is_data // 17)
    text.putpalette(bytes(3 * 16))
    opacities = bytes(range(0, 256, 17))
    return Picture(_encode_png(data), _encode_png(text, transparency=opacities))


def make_figure(
    panels: Sequence[Wave | Image], seconds: float, limits: tuple[float, float]
) -> Figure:
    """Make the figure that `draw` draws."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    heights = [panel.height for panel in panels]
    height = TOP + sum(heights) + GAP * (len(panels) - 1) + BOTTOM
    size = WIDTH / CSS_PIXELS_PER_INCH, height / CSS_PIXELS_PER_INCH
    figure = Figure(size, dpi=DPI, facecolor="none")
    grid = figure.add_gridspec(
        len(panels),
        height_ratios=heights,
        left=LEFT / WIDTH,
        right=1 - RIGHT / WIDTH,
        top=1 - TOP / height,
        bottom=BOTTOM / height,
        hspace=float(GAP / np.mean(heights)),
    )
    rows = grid.subplots(sharex=True, squeeze=False)[:, 0]
    for axes, panel in zip(rows, panels, strict=True):
        panel.draw(axes, seconds)
    rows[-1].set(xlim=(0, seconds), xlabel="time (s)")
    rows[-1].locator_params(axis="x", nbins=5)
    rows[-1].xaxis.set_major_formatter("{x:g}")
    images = [image for axes in rows for image in axes.images]
    for image in images:
        image.set(cmap=colormaps["magma"].resampled(COLOURS), clim=limits)
    low = images[-1].axes.get_position().y0
    high = images[0].axes.get_position().y1
    bar = figure.add_axes((1 - (RIGHT - 6) / WIDTH, low, 7 / WIDTH, high - low))
    figure.colorbar(images[0], cax=bar)
    bar.locator_params(axis="y", nbins=5)
    _style(bar)
    return figure


def _style(axes: Axes, title: str = "") -> None:
    axes.set_facecolor("none")
    axes.spines[:].set_visible(False)
    axes.tick_params(labelsize=7.5, length=3, width=0.6, pad=2)
    axes.xaxis.label.set_fontsize(7.5)
    axes.yaxis.label.set_fontsize(7.5)
    # One place for all panels.
    axes.yaxis.set_label_coords(-35 / (WIDTH - LEFT - RIGHT), 0.5)
    axes.set_title(title, fontsize=8.5, loc="left", pad=4, y=1, parse_math=False)


def _encode_png(image: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "png", **options)
    return buffer.getvalue()


def average(values: np.ndarray, count: int) -> np.ndarray:
    """Average neighbours so that at most `count` rows are left: `[rows, columns]`."""
    if len(values) <= count:
        return values
    starts = np.linspace(0, len(values), count, endpoint=False).astype(int)
    widths = np.diff(np.append(starts, len(values)))
    return np.add.reduceat(values, starts) / widths[:, np.newaxis]


def to_log_frequency(bins: np.ndarray, lowest: float, rows: int) -> np.ndarray:
    """Convert a spectrum from bins of equal width to rows of equal frequency ratio.

    Args:
        bins: `[frames, bins]`, the first bin at 0 Hz.
        lowest: Lower edge of the first row in bins, at least 1; the last bin is the
            upper edge of the last row.
        rows: Number of rows.

    Returns:
        `[frames, rows]`: the highest of the bins that are nearest to a row, so that no
        tone is lost.
    """
    edges = np.geomspace(lowest, bins.shape[1] - 1, rows + 1)
    firsts = np.floor(edges + 0.5).astype(int)
    return np.stack(
        [
            bins[:, first : max(end, first + 1)].max(axis=1)
            for first, end in itertools.pairwise(firsts)
        ],
        axis=1,
    )
