"""Drawings of one clip as inline SVG, in the colours of the page around them.

A drawing has the text and the lines of the page, light or dark, and holds its
spectrograms as small PNG images of 64 colours: a page of 50 classes stays small.
"""

import base64
import functools
import itertools
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from asc_tf.report.explore_axes import Ticks, signed, time_ticks

WIDTH = 360
"""Of a drawing, in units of its own; on the page about as many pixels."""

LEFT, RIGHT = 46, 8
SPAN = WIDTH - LEFT - RIGHT
HEAD, GAP, FOOT = 17, 9, 33
"""Above each panel, between panels, and below the last for the time axis."""

WAVE_HEIGHT, IMAGE_HEIGHT = 54, 84
COLUMNS = 240
"""Of a waveform's outline and of an image, at most."""

ROWS = 128
"""Of an image, at most."""

COLOURS = 64
DYNAMIC_RANGE = 80.0
"""Of spectrograms in dB, below their maximum."""

QUIET = 1e-4
"""A waveform is drawn as large as fits, but not beyond this peak: noise stays flat."""


@dataclass(frozen=True)
class Wave:
    """A panel with a waveform, float32 `[samples]`."""

    samples: np.ndarray
    title: str = "waveform"
    unit: str = "full scale"
    height: int = WAVE_HEIGHT


@dataclass(frozen=True)
class Image:
    """A panel with an image.

    `values` is `[columns, rows]`, the first row at the bottom; `low` has the darkest
    colour and `high` the brightest; `ticks` are those of the rows.
    """

    values: np.ndarray
    low: float
    high: float
    title: str
    unit: str
    ticks: Ticks = ()
    height: int = IMAGE_HEIGHT


def drawing(panels: Sequence[Wave | Image], seconds: float, alt: str) -> str:
    """Panels below each other, all on one axis of time.

    Args:
        panels: What to draw, from top to bottom.
        seconds: Length of the axis, s.
        alt: What it shows, for those who do not see it.

    Returns:
        An SVG element for an HTML page; every text in it is escaped.
    """
    parts, top = [], 0
    marks = time_ticks(seconds)
    for panel in panels:
        top += HEAD
        parts.append(_text(LEFT, top - 6, panel.title, "title"))
        if isinstance(panel, Wave):
            parts.append(_wave(panel, top))
        else:
            parts.append(_image(panel, top))
        middle = top + panel.height / 2
        parts.append(
            f'<text transform="translate(9 {middle:g}) rotate(-90)" '
            f'text-anchor="middle">{escape(panel.unit)}</text>'
        )
        bottom = top + panel.height
        lines = "".join(f"M{LEFT + SPAN * share:.1f} {bottom}v3" for share, _ in marks)
        parts.append(f'<path class="line" d="M{LEFT} {bottom}h{SPAN}{lines}"/>')
        top = bottom + GAP
    top -= GAP
    parts += [_text(LEFT + SPAN * share, top + 14, text, "x") for share, text in marks]
    parts.append(_text(LEFT + SPAN / 2, top + 28, "time (s)", "x"))
    return (
        f'<svg class="panels" viewBox="0 0 {WIDTH} {top + FOOT}" role="img" '
        f'aria-label="{escape(alt)}">{"".join(parts)}</svg>'
    )


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _wave(panel: Wave, top: int) -> str:
    """The outline of a waveform: lowest and highest sample of each column."""
    samples = np.asarray(panel.samples, np.float32)
    peak = _round_up(max(float(np.abs(samples).max(initial=0.0)), QUIET))
    middle, half = top + panel.height / 2, panel.height / 2 - 1
    low, high = _outline(samples, COLUMNS)
    places = LEFT + SPAN * (np.arange(len(low)) + 0.5) / len(low)
    # At least a hair's breadth, so that silence is a line.
    upper = middle - half * high / peak - 0.3
    lower = middle - half * low / peak + 0.3
    points = [f"{x:.1f} {y:.1f}" for x, y in zip(places, upper, strict=True)]
    points += [
        f"{x:.1f} {y:.1f}" for x, y in zip(places[::-1], lower[::-1], strict=True)
    ]
    labels = [
        (top + 8, f"{peak:g}"),
        (middle + 3.5, "0"),
        (middle + half, signed(-peak)),
    ]
    ticks = "".join(_text(LEFT - 5, y, text, "y") for y, text in labels)
    return f'{ticks}<path class="wave" d="M{"L".join(points)}Z"/>'


def _outline(samples: np.ndarray, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest sample of each column: `[columns]` each, at least two."""
    if len(samples) < 2:
        samples = np.resize(samples, 2) if len(samples) else np.zeros(2, np.float32)
    first = np.unique(np.linspace(0, len(samples), columns, endpoint=False).astype(int))
    return np.minimum.reduceat(samples, first), np.maximum.reduceat(samples, first)


def _round_up(peak: float) -> float:
    """The next number that begins with 1, 2 or 5."""
    power = 10.0 ** np.floor(np.log10(peak))
    return float(next(s * power for s in (1, 2, 5, 10) if s * power >= peak * 0.999))


def _image(panel: Image, top: int) -> str:
    png = image_png(panel.values, panel.low, panel.high)
    ticks = "".join(
        _text(LEFT - 5, top + panel.height * (1 - share) + 3.5, text, "y")
        + f'<path class="line" d="M{LEFT - 3} '
        f'{top + panel.height * (1 - share):.1f}h3"/>'
        for share, text in panel.ticks
    )
    return (
        f'{ticks}<image x="{LEFT}" y="{top}" width="{SPAN}" height="{panel.height}" '
        'preserveAspectRatio="none" '
        f'href="data:image/png;base64,{base64.b64encode(png).decode()}"/>'
    )


def image_png(values: np.ndarray, low: float, high: float) -> bytes:
    """Values as a PNG file of 64 colours, from dark to bright.

    Args:
        values: `[columns, rows]`, the first row at the bottom; where there are more
            than `COLUMNS` and `ROWS`, neighbours are averaged.
        low: What has the darkest colour.
        high: What has the brightest colour.

    Returns:
        A PNG file of a pixel per value that is left.
    """
    values = averaged(np.asarray(values, np.float64), COLUMNS)
    values = np.nan_to_num(averaged(values.T, ROWS).T)
    share = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    indices = np.round(share * (COLOURS - 1)).astype(np.uint8).T[::-1]
    rows, columns = indices.shape
    # A byte before each row: no filter.
    data = np.pad(indices, ((0, 0), (1, 0))).tobytes()
    header = struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _png_part(kind, content)
        for kind, content in (
            (b"IHDR", header),
            (b"PLTE", palette().tobytes()),
            (b"IDAT", zlib.compress(data, 9)),
            (b"IEND", b""),
        )
    )


def _png_part(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


@functools.cache
def palette() -> np.ndarray:
    """The colours from dark to bright, matplotlib's `magma`: uint8 `[colours, 3]`."""
    from matplotlib import colormaps

    colours = colormaps["magma"](np.linspace(0, 1, COLOURS))[:, :3]
    return np.round(255 * colours).astype(np.uint8)


def colour_key(low: str, high: str) -> str:
    """What the colours mean: a strip of them between the texts of its two ends."""
    stops = ", ".join(f"rgb({r} {g} {b})" for r, g, b in palette()[::9])
    return (
        f'<span class="key">{escape(low)} '
        f'<i style="background: linear-gradient(to right, {stops})"></i> '
        f"{escape(high)}</span>"
    )


def averaged(values: np.ndarray, most: int) -> np.ndarray:
    """At most `most` columns, each the mean of neighbours: `[columns, rows]`."""
    if len(values) <= most:
        return values
    first = np.linspace(0, len(values), most, endpoint=False).astype(int)
    widths = np.diff(np.append(first, len(values)))
    return np.add.reduceat(values, first) / widths[:, np.newaxis]


def log_rows(
    values: np.ndarray, lowest: float, highest: float, bin_hz: float, rows: int
) -> np.ndarray:
    """Rows of equal frequency ratio from the equally spaced bins of a spectrum.

    Args:
        values: `[frames, bins]`, the first bin at 0 Hz.
        lowest: Frequency at the lower edge of the first row, Hz.
        highest: Frequency at the upper edge of the last row, Hz.
        bin_hz: Hz between bins.
        rows: Number of rows.

    Returns:
        `[frames, rows]`: between bins the values are interpolated; a row that holds
        several has the highest of them, so that no tone is lost.
    """
    edges = np.geomspace(lowest, highest, rows + 1) / bin_hz
    centres = np.sqrt(edges[:-1] * edges[1:])
    last = values.shape[1] - 1
    below = np.clip(np.floor(centres).astype(int), 0, max(last - 1, 0))
    share = np.clip(centres - below, 0, 1)
    made = values[:, below] * (1 - share)
    made += values[:, np.minimum(below + 1, last)] * share
    for row, (low, high) in enumerate(itertools.pairwise(edges)):
        first, end = int(np.ceil(low)), min(int(np.floor(high)), last) + 1
        if end - first > 1:
            made[:, row] = values[:, first:end].max(axis=1)
    return made
