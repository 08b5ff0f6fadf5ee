"""Representative data for quantization: segments of the training split."""

import dataclasses

import numpy as np

from asc_tf.config import Config
from asc_tf.dsp import channels
from asc_tf.evaluation.evaluate import load_waveforms, scan_splits
from asc_tf.manifest import pick_evenly
from asc_tf.workdir import Workdir


def calibration_segments(config: Config, workdir: Workdir) -> np.ndarray:
    """Segments of the training part: float32 `[n, segment_samples]` (or `[..., 2]`).

    Clips are drawn evenly over the table, and as many segments of each as are needed.
    """
    from asc_tf.pipeline.waveforms import reading, segment_batches

    count = config.export.calibration_segments
    manifest = scan_splits(config, workdir, "train")
    clips = pick_evenly(manifest.clips_in("train"), count)
    chosen = dataclasses.replace(manifest, clips=tuple(clips))
    waveforms = load_waveforms(config, workdir, chosen, "train")
    drawn: list[list[np.ndarray]] = [[] for _ in clips]
    with reading():
        for batch in segment_batches(waveforms, config.audio, config.evaluate):
            for segment, clip in zip(batch["waveform"], batch["clip"], strict=True):
                drawn[int(clip)].append(segment.numpy())
    share = -(-count // len(clips))
    segments = [segment for found in drawn for segment in pick_evenly(found, share)][
        :count
    ]
    if segments[0].ndim == 2:
        # A model of two channels will meet mono files too.
        segments += [
            _as_mono(s, config.audio.channels) for s in pick_evenly(segments, 8)
        ]
    return np.stack(segments)


def _as_mono(segment: np.ndarray, setting: str) -> np.ndarray:
    """What a model of two channels hears when both channels of a file are alike."""
    mono = segment[:, 0] if setting == "mid_side" else segment.mean(axis=1)
    return channels.select_view(mono[:, np.newaxis], setting)
