"""Spectrogram and sound of the most confident mistakes."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from asc_tf.audio.encode import encode_excerpt
from asc_tf.audio.stream import open_stream
from asc_tf.config import Config
from asc_tf.core.errors import UserError
from asc_tf.dsp import channels
from asc_tf.dsp.preprocessing import Preprocessing, downmix_and_resample
from asc_tf.manifest import Clip
from asc_tf.pipeline.run import Run
from asc_tf.report.mistakes import Mistake, Timeline

if TYPE_CHECKING:
    from asc_tf.evaluation.mel_spectrogram import MelSpectrogram
    from asc_tf.evaluation.predictor import ClipPredictions

COUNT = 18
"""Number of mistakes that a report shows; they fill rows of two and of three."""

MAX_DRAWN = 30.0
"""Seconds of a clip that are drawn."""

MAX_PLAYED = 5.0
"""Seconds of a clip that are played."""

HEIGHT = 110
"""Height of a spectrogram in pixels of the page."""


S = "\N{NO-BREAK SPACE}s"
"""Unit of the times in a note, on the same line as its number."""


class Window(NamedTuple):
    """Part of a clip: beginning and length in s."""

    start: float
    seconds: float


def collect_mistakes(
    run: Run,
    clips: Sequence[Clip],
    predictions: "ClipPredictions",
    count: int = COUNT,
) -> list[Mistake]:
    """Collect the clips whose wrong label has the highest probabilities.

    A clip whose file is gone or cannot be read is collected too; its `problem` says so.

    Args:
        run: The run, with the scanned clips.
        clips: Clips of the predictions; clips without labels are never mistakes.
        predictions: Probabilities of the clips and of their segments.
        count: Largest number of mistakes.
    """
    labels = run.manifest.labels
    guessed, best = predictions.clips.argmax(axis=1), predictions.clips.max(axis=1)
    wrong = [
        index
        for index, clip in enumerate(clips)
        if clip.label and clip.label != labels[guessed[index]]
    ]
    wrong.sort(key=lambda index: -best[index])
    shown = wrong[:count]
    if not shown:
        return []

    from asc_tf.evaluation.mel_spectrogram import MelSpectrogram

    spectrogram = MelSpectrogram(run.config.audio.sample_rate, run.config.frontend)
    return [
        _make_mistake(
            run.config,
            clips[index],
            index,
            predictions.segments[predictions.clip_ids == index],
            int(guessed[index]),
            spectrogram,
        )
        for index in shown
    ]


def _make_mistake(
    config: Config,
    clip: Clip,
    index: int,
    probabilities: np.ndarray,
    guessed: int,
    spectrogram: "MelSpectrogram",
) -> Mistake:
    """Read, draw and encode a clip.

    Args:
        config: Configuration of the run.
        clip: The clip.
        index: Its position among the predictions.
        probabilities: Probabilities of its segments, `[segments, labels]`.
        guessed: Predicted label id.
        spectrogram: Spectrogram of the run.
    """
    from asc_tf.evaluation.mel_spectrogram import DYNAMIC_RANGE
    from asc_tf.report.clip_figures import draw

    timeline = make_timeline(config, clip, probabilities)
    several = timeline if timeline and len(timeline.starts) > 1 else None
    surest = 0.0
    if timeline:
        place = int(timeline.probabilities[:, guessed].argmax())
        surest = timeline.starts[place] + timeline.seconds / 2
    # A clip of stored features need not have been scanned.
    length = clip.seconds or clip.duration or MAX_DRAWN
    drawn = _place_window(surest, length, MAX_DRAWN)
    rate = config.audio.sample_rate
    try:
        waveform = _read_window(config, clip, drawn)
        seconds = len(waveform) / rate
        played = _place_window(surest - drawn.start, seconds, MAX_PLAYED)
        first = round(played.start * rate)
        excerpt = waveform[first : first + round(played.seconds * rate)]
        sound = encode_excerpt(excerpt, rate)
        image = spectrogram.make_image(waveform, height=HEIGHT)
    # A picture may never lose the report, whatever has become of the file.
    except Exception as error:
        problem = _describe_problem(error, config.dataset.folder / clip.path)
        return Mistake(index, timeline=several, problem=problem)
    picture = draw((image,), seconds, (-DYNAMIC_RANGE, 0.0))
    note = _describe_parts(clip.seconds or seconds, drawn, played)
    return Mistake(index, picture, note, sound.data, sound.mime, several)


def make_timeline(
    config: Config, clip: Clip, probabilities: np.ndarray
) -> Timeline | None:
    """Find the times of a clip's segments.

    With `audio.channels = split` a segment has the mean probabilities of its channels.

    Args:
        config: Configuration of the run.
        clip: A scanned clip.
        probabilities: Probabilities of its segments, `[segments, labels]`.

    Returns:
        None if the length of the clip is not known, or does not fit the segments.
    """
    if not clip.samples or not clip.sample_rate:
        return None
    settings = Preprocessing.from_config(config.audio, config.evaluate)
    first, end = clip.bounds
    starts = settings.find_starts(end - first, clip.sample_rate)
    views = len(channels.list_views(settings.channels, clip.channels))
    if len(probabilities) != views * len(starts):
        return None
    by_view = probabilities.reshape(views, len(starts), -1)
    return Timeline(
        tuple(float(start) / settings.sample_rate for start in starts),
        min(config.audio.segment_seconds, (end - first) / clip.sample_rate),
        by_view.mean(axis=0),
    )


def _place_window(centre: float, length: float, longest: float) -> Window:
    """Place a window of at most `longest` seconds around a time of a clip."""
    seconds = min(length, longest)
    return Window(min(max(centre - seconds / 2, 0.0), length - seconds), seconds)


def _read_window(config: Config, clip: Clip, window: Window) -> np.ndarray:
    """Read a window of a clip as one channel: float32 `[samples]`.

    Raises:
        UserError: If the file cannot be read, or has become shorter.
        OSError: If it cannot be opened.
    """
    audio = config.audio
    stream = open_stream(config.dataset.folder / clip.path, audio.max_seconds)
    first = round((clip.start + window.start) * stream.sample_rate)
    end = first + round(window.seconds * stream.sample_rate)
    parts, position = [], 0
    for block in stream.blocks():
        parts.append(block[max(first - position, 0) : max(end - position, 0)])
        position += len(block)
        if position >= end:
            break
    if not any(map(len, parts)):
        raise UserError("it has become shorter since it was scanned")
    waveform = np.concatenate(parts)
    view = audio.channels if audio.channels in ("left", "right") else "mono"
    return downmix_and_resample(waveform, stream.sample_rate, view, audio.sample_rate)


def _describe_problem(error: Exception, path: Path) -> str:
    """Say why a file cannot be shown, without the folders of this machine."""
    if not path.exists():
        return "The audio file is no longer there, so it cannot be shown or played."
    reason = error.strerror if isinstance(error, OSError) else str(error)
    reason = str(reason).removeprefix(f"{path}: ")
    return f"The audio file cannot be read: {reason}."


def _describe_parts(seconds: float, drawn: Window, played: Window) -> str:
    """Say which seconds of a clip are drawn and played, where these are not all."""
    texts = []
    if drawn.seconds < seconds - 0.01:
        end = drawn.start + drawn.seconds
        texts.append(f"picture: {drawn.start:.1f} to {end:.1f} of {seconds:.1f}{S}")
    if played.seconds < seconds - 0.01:
        begin = drawn.start + played.start
        texts.append(f"player: {begin:.1f} to {begin + played.seconds:.1f}{S}")
    return " · ".join(texts) or f"{seconds:.3g}{S}"
