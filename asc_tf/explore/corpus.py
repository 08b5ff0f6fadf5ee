"""Training clips of a corpus for explore.html: choose them, read them, count them."""

import sys
from collections.abc import Sequence

import numpy as np

from asc_tf.config import Config
from asc_tf.dsp import channels, segments
from asc_tf.dsp.preprocessing import downmix_and_resample
from asc_tf.explore.counts import list_training_clips
from asc_tf.manifest import Clip, Manifest

PER_LABEL = 3
"""Examples of each label."""

SEARCHED = 30.0
"""Seconds at the beginning of a clip in which the loudest excerpt is searched for."""


class Corpus:
    """The training clips of a corpus.

    Args:
        config: The configuration, with absolute folders.
        manifest: The corpus, split; it need not be scanned.
    """

    def __init__(self, config: Config, manifest: Manifest) -> None:
        self.config, self.manifest = config, manifest
        self.root, self.audio = config.dataset.folder, config.audio
        self.clips = list_training_clips(manifest)

    def choose(self, label: str) -> tuple[list[Clip], list[tuple[str, str]]]:
        """Choose usable clips of a label, of different recordings if it has them.

        Returns:
            The clips as scanned, and file and reason of those that cannot be used.
        """
        from asc_tf.audio.scan import scan

        mine = [clip for clip in self.clips if clip.label == label]
        place = self.manifest.labels.index(label)
        seed = [self.config.train.seed, place]
        order = np.random.default_rng(seed).permutation(len(mine))
        chosen: list[Clip] = []
        refused = []
        for clip in put_recordings_first([mine[index] for index in order]):
            if len(chosen) == PER_LABEL:
                break
            # The check that training makes.
            one = Manifest((clip,), self.manifest.labels)
            scanned = scan(one, self.root, ("train",), self.audio).clips[0]
            if scanned.reason:
                print(f"left out: {clip.path}: {scanned.reason}", file=sys.stderr)
                refused.append((clip.path, scanned.reason))
            else:
                chosen.append(scanned)
        return chosen, refused

    def read_excerpt(
        self, clip: Clip, max_seconds: float, view: str = ""
    ) -> tuple[np.ndarray, float]:
        """Read the loudest excerpt of a clip's beginning, as the model gets it.

        Args:
            clip: A scanned clip.
            max_seconds: Largest length of the excerpt in s.
            view: View of the file's channels; that of the model if empty.

        Returns:
            float32 `[samples]` or `[samples, 2]`, and its beginning in the clip in s.
        """
        from asc_tf.audio.read import read_channels

        rate = self.audio.sample_rate
        samples = round(max_seconds * rate)
        seconds = min(clip.seconds, max(SEARCHED, max_seconds))
        # A duration of 0 would be the whole file.
        span = (clip.start, max(seconds, 1 / clip.sample_rate))
        path = self.root / clip.path
        read, own_rate = read_channels(
            path, clip.route, clip.sample_rate, span, self.audio
        )
        view = view or channels.list_views(self.audio.channels, read.shape[1])[-1]
        waveform = downmix_and_resample(read, own_rate, view, rate)
        start = find_loudest(waveform, samples)
        return waveform[start : start + samples], start / rate

    def read_segment(self, clip: Clip, view: str = "") -> np.ndarray:
        """Read one segment: float32 `[segment_samples]` or `[segment_samples, 2]`."""
        length = self.audio.segment_samples
        waveform, _ = self.read_excerpt(clip, self.audio.segment_seconds, view)
        return segments.pad_or_loop(waveform, length, self.audio.short_clips)

    @property
    def needs_headers(self) -> bool:
        """Whether examples are counted by length or channels of the files."""
        return self.config.train.segments == "all" or self.audio.channels == "split"

    def count_examples(self, clip: Clip) -> int:
        """Count a clip's examples in an epoch, before augmentation makes copies."""
        if not self.needs_headers:
            return 1
        import soundfile

        try:
            with (self.root / clip.path).open("rb") as stream:
                header = soundfile.info(stream)
        except (OSError, RuntimeError):
            return 0
        views = len(channels.list_views(self.audio.channels, header.channels))
        if self.config.train.segments == "random":
            return views
        left = max(header.duration - clip.start, 0)
        seconds = min(clip.duration, left) if clip.duration else left
        starts = segments.find_starts(
            round(seconds * self.audio.sample_rate),
            self.audio.segment_samples,
            self.audio.hop_samples,
            last_segment=self.audio.last_segment,
        )
        return views * len(starts)


def put_recordings_first(clips: Sequence[Clip]) -> list[Clip]:
    """Sort clips: one of each recording, then the others."""
    firsts = {clip.identifier: clip for clip in reversed(clips)}
    return sorted(clips, key=lambda clip: firsts[clip.identifier] is not clip)


def find_loudest(waveform: np.ndarray, length: int) -> int:
    """Find where the loudest `length` samples begin, in steps of a quarter of them."""
    if len(waveform) <= length:
        return 0
    power = np.square(waveform, dtype=np.float64).reshape(len(waveform), -1).sum(axis=1)
    sums = np.concatenate([[0.0], np.cumsum(power)])
    starts = segments.find_starts(len(waveform), length, max(length // 4, 1))
    return int(starts[np.argmax(sums[starts + length] - sums[starts])])
