"""The number of segments that the scan tells in advance is that of the pipeline."""

import dataclasses

import numpy as np
import pytest
import soundfile

from asc_tf.audio.scan import scan
from asc_tf.config import Audio, Evaluate
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.manifest import Clip, Manifest
from asc_tf.pipeline.feature_size import count_segments
from asc_tf.pipeline.segments import make_segment_batches
from asc_tf.pipeline.waveforms import Waveforms

LENGTHS = {8000: (1599, 1600, 1601, 2400, 2401), 44100: (8820, 8821, 13230, 13231)}
"""Samples by sample rate, around one segment of 0.2 s and one segment and a hop."""

SPANS = [(0.0, 0.0), (0.05, 0.0), (0.03125, 0.2), (0.0, 0.20001), (0.1, 9.0)]


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> tuple[Clip, ...]:
    """Scanned clips of files with one and with two channels."""
    root = tmp_path_factory.mktemp("clips")
    clips = []
    for rate, lengths in LENGTHS.items():
        for length in lengths:
            for channels in (1, 2):
                path = root / f"{rate}-{length}-{channels}.wav"
                ramp = np.linspace(0.1, 0.5, length * channels)
                soundfile.write(path, ramp.reshape(length, channels), rate)
                clips += [
                    Clip(str(path), "hum", "a", split="train", start=a, duration=b)
                    for a, b in SPANS
                ]
    manifest = Manifest(tuple(clips), ("hum",), {})
    return scan(manifest, root, ("train",), Audio()).clips_in("train")


@pytest.mark.parametrize(
    ("changes", "evaluate"),
    [
        ({}, Evaluate()),
        ({"hop_seconds": 0.05, "last_segment": "drop"}, Evaluate()),
        ({"channels": "split"}, Evaluate(overlap=0.5)),
        ({"sample_rate": 11025, "channels": "stereo"}, Evaluate(segments="centre")),
    ],
)
def test_segments_are_counted_without_decoding(clips, tmp_path, changes, evaluate):
    audio = dataclasses.replace(
        Audio(sample_rate=8000, segment_seconds=0.2, cache="none"), **changes
    )
    preprocessing = Preprocessing.from_config(audio, evaluate)
    waveforms = Waveforms(clips, tmp_path, ("hum",), audio, tmp_path)
    rows = make_segment_batches(waveforms, preprocessing, 64)
    owners = np.concatenate([row["clip"].numpy() for row in rows])
    counts = [count_segments(clip, preprocessing) for clip in clips]
    assert np.bincount(owners).tolist() == counts
    assert evaluate.segments == "centre" or max(counts) > 1
