"""A wrongly classified clip, as report.html shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from asc_tf.report.clip_figures import Picture

MAX_COLUMNS = 60
"""Largest number of steps in the strip of a clip; neighbours are averaged."""

MAX_ROWS = 4
"""Largest number of labels in the strip of a clip."""


@dataclass(frozen=True)
class Timeline:
    """Probabilities of the segments of a clip.

    Attributes:
        starts: Beginning of each segment in the clip in s, rising.
        seconds: Length of a segment in s.
        probabilities: float `[segments, labels]`.
    """

    starts: tuple[float, ...]
    seconds: float
    probabilities: np.ndarray


@dataclass(frozen=True)
class Mistake:
    """A wrongly classified clip.

    Attributes:
        index: Position of the clip among the predictions.
        picture: Spectrogram; None if the clip cannot be read.
        note: Description of the part of the clip that picture and player show.
        sound: Excerpt to play; empty if there is none.
        mime: MIME type of the excerpt.
        timeline: Probabilities of its segments; None where there is only one, or where
            their times are not known.
        problem: Reason why there is no picture and no sound.
    """

    index: int
    picture: Picture | None = None
    note: str = ""
    sound: bytes = b""
    mime: str = ""
    timeline: Timeline | None = None
    problem: str = ""


@dataclass(frozen=True)
class Strip:
    """Probabilities over time, as the page draws them.

    Attributes:
        rows: Labels with their roles ("true", "predicted" or "") and probabilities,
            one for each step.
        end: End of the last step in s.
    """

    rows: tuple[tuple[str, str, tuple[float, ...]], ...]
    end: float


def make_strip(
    timeline: Timeline, labels: list[str], true: str, predicted: str
) -> Strip:
    """Choose the rows of a strip, and average what is too long to draw.

    The first rows are the true and the predicted label, then those that reach the
    highest probabilities. A step is the time from one segment to the next; where
    segments overlap, a step has the probability of the segment that begins with it.
    """
    values = np.asarray(timeline.probabilities, np.float64)
    peaks = values.max(axis=0)
    first = [name for name in (true, predicted) if name in labels]
    others = [labels[i] for i in np.argsort(-peaks, kind="stable") if peaks[i] >= 0.1]
    names = list(dict.fromkeys(first + others))[:MAX_ROWS]
    roles = {predicted: "predicted", true: "true"}
    starts = timeline.starts
    end = starts[-1] + timeline.seconds
    parts = np.array_split(np.arange(len(values)), min(len(values), MAX_COLUMNS))
    rows = tuple(
        (
            name,
            roles.get(name, ""),
            tuple(float(values[part, labels.index(name)].mean()) for part in parts),
        )
        for name in names
    )
    return Strip(rows, end)
