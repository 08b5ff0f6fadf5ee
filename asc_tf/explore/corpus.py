"""asc-tf explore: what training hears, on one page with pictures and players."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asc_tf.config import Audio, Config
from asc_tf.core.errors import UserError
from asc_tf.datasets.shared import shared_note
from asc_tf.dsp import channels, segments
from asc_tf.dsp.preprocessing import downmix_and_resample
from asc_tf.manifest import Clip, Manifest, pick_evenly
from asc_tf.report import explore_counts
from asc_tf.report.explore_counts import Counts
from asc_tf.report.explore_page import Examples, Exploration

TOLD_APART = ("leaky", "shared_recordings")
"""Keys of the protocol that a banner or a note says, not the facts in the head."""

PER_LABEL = 3
LOOKED_AT = 30.0
"""Seconds of a clip among which the loudest are shown."""

MAX_SHOWN, MIN_SHOWN = 4.0, 1.0
"""Seconds of an example that are drawn and played: fewer where there are many."""

SOUND_BYTES = 8_000_000
"""What the players of all examples may take, unless MIN_SHOWN is more."""

CALIBRATION_CLIPS = 48
"""From which the statistics are taken that training takes from all."""


@dataclass(frozen=True)
class Corpus:
    """The training clips of a corpus, and how they are listened to."""

    manifest: Manifest
    root: Path
    audio: Audio
    seed: int

    def choose(self, label: str) -> tuple[list[Clip], list[tuple[str, str]]]:
        """Up to three usable clips of a label, of different recordings if it has them.

        Returns:
            The clips as scanned, and file and reason of those that cannot be used.
        """
        from asc_tf.audio.scan import scan

        mine = [clip for clip in self._training() if clip.label == label]
        place = self.manifest.labels.index(label)
        order = np.random.default_rng([self.seed, place]).permutation(len(mine))
        chosen: list[Clip] = []
        refused = []
        for clip in _recordings_first([mine[index] for index in order]):
            if len(chosen) == PER_LABEL:
                break
            # The gate that training has.
            one = Manifest((clip,), self.manifest.labels)
            scanned = scan(one, self.root, ("train",), self.audio).clips[0]
            if scanned.reason:
                print(f"left out: {clip.path}: {scanned.reason}", file=sys.stderr)
                refused.append((clip.path, scanned.reason))
            else:
                chosen.append(scanned)
        return chosen, refused

    def count(self, label: str) -> int:
        """Training clips of a label."""
        return sum(clip.label == label for clip in self._training())

    def excerpt(
        self, clip: Clip, wanted: float, view: str = ""
    ) -> tuple[np.ndarray, float]:
        """The loudest part of a clip's beginning, as the model hears it.

        Args:
            clip: A scanned clip.
            wanted: Its length at most, s.
            view: Of its channels; that of the model if empty.

        Returns:
            float32 `[samples]` or `[samples, 2]`, and where it begins in the clip, s.
        """
        from asc_tf.audio.read import read_channels

        rate = self.audio.sample_rate
        samples = round(wanted * rate)
        seconds = min(clip.seconds, max(LOOKED_AT, wanted))
        # A duration of 0 would be the whole file.
        span = (clip.start, max(seconds, 1 / clip.sample_rate))
        path = self.root / clip.path
        read, own_rate = read_channels(
            path, clip.route, clip.sample_rate, span, self.audio
        )
        view = view or channels.list_views(self.audio.channels, read.shape[1])[-1]
        waveform = downmix_and_resample(read, own_rate, view, rate)
        start = _loudest(waveform, samples)
        return waveform[start : start + samples], start / rate

    def segment(self, clip: Clip, view: str = "") -> np.ndarray:
        """One segment of a clip: float32 `[segment_samples]` or `[..., 2]`."""
        length = self.audio.segment_samples
        waveform, _ = self.excerpt(clip, self.audio.segment_seconds, view)
        return segments.pad_or_loop(waveform, length, self.audio.short_clips)

    def by_length(self, config: Config) -> bool:
        """Whether a clip's length or channels say how many examples it is."""
        return config.train.segments == "all" or self.audio.channels == "split"

    def examples(self, clip: Clip, config: Config) -> int:
        """Examples of a clip in an epoch, before augmentation makes copies of it."""
        if not self.by_length(config):
            return 1
        try:
            import soundfile

            with (self.root / clip.path).open("rb") as stream:
                header = soundfile.info(stream)
        except (OSError, RuntimeError):
            return 0
        views = len(channels.list_views(self.audio.channels, header.channels))
        if config.train.segments == "random":
            return views
        left = max(header.duration - clip.start, 0)
        seconds = min(clip.duration, left) if clip.duration else left
        length, hop = self.audio.segment_samples, self.audio.hop_samples
        samples = round(seconds * self.audio.sample_rate)
        last_segment = self.audio.last_segment
        starts = segments.find_starts(samples, length, hop, last_segment=last_segment)
        return views * len(starts)

    def _training(self) -> list[Clip]:
        clips = self.manifest.clips
        return [c for c in clips if c.split == "train" and not c.is_dropped]


def _recordings_first(clips: Sequence[Clip]) -> list[Clip]:
    """One clip of each recording, then the others."""
    seen: set[str] = set()
    firsts: list[Clip] = []
    others: list[Clip] = []
    for clip in clips:
        (others if clip.identifier in seen else firsts).append(clip)
        seen.add(clip.identifier)
    return firsts + others


def _loudest(waveform: np.ndarray, length: int) -> int:
    """Where the loudest `length` samples begin, in steps of a quarter of them."""
    if len(waveform) <= length:
        return 0
    power = np.square(waveform, dtype=np.float64).reshape(len(waveform), -1).sum(axis=1)
    sums = np.concatenate([[0.0], np.cumsum(power)])
    starts = segments.find_starts(len(waveform), length, max(length // 4, 1))
    return int(starts[np.argmax(sums[starts + length] - sums[starts])])


def explore(config: Config, manifest: Manifest) -> Exploration:
    """Count, choose, draw.

    Args:
        config: The configuration, with absolute folders.
        manifest: The corpus, split; it need not be scanned.

    Returns:
        What is on the page.

    Raises:
        UserError: If no training clip can be used.
    """
    corpus = Corpus(manifest, Path(config.dataset.dir), config.audio, config.train.seed)
    chosen: dict[str, list[Clip]] = {}
    refused: list[tuple[str, str]] = []
    for label in manifest.labels:
        chosen[label], bad = corpus.choose(label)
        refused += bad
    usable = [clip for clips in chosen.values() for clip in clips]
    if not usable:
        raise UserError("no training clip can be used; the reasons are above")
    from asc_tf.explore.showing import Studio

    studio = Studio(config, manifest.labels)
    studio.calibrate(corpus.segment(c) for c in pick_evenly(usable, CALIBRATION_CLIPS))
    seconds = seconds_shown(len(usable), config.audio)
    labels = [label for label in manifest.labels if chosen[label]]
    order = np.random.default_rng(config.train.seed).permutation(len(labels))
    first, second = (chosen[labels[order[n % len(labels)]]] for n in (0, 1))
    pair = first[0], second[-1]
    versions, _ = studio.versions
    view = "stereo" if versions.random_channel else ""
    return Exploration(
        title=f"{config.dataset.name}: what training hears",
        facts={
            **{k: v for k, v in manifest.protocol.items() if k not in TOLD_APART},
            "n_labels": len(manifest.labels),
            "n_training_clips": sum(corpus.count(label) for label in manifest.labels),
            "sample rate": f"{config.audio.sample_rate} Hz",
            "segment": f"{config.audio.segment_seconds:g} s",
        },
        counts=count(config, corpus),
        examples_note=_examples_note(config.audio, seconds),
        examples=tuple(
            Examples(
                label,
                _label_note(len(chosen[label]), corpus.count(label)),
                tuple(
                    studio.example(clip, *corpus.excerpt(clip, seconds))
                    for clip in chosen[label]
                ),
            )
            for label in manifest.labels
        ),
        panels=(
            studio.augmented(first[0], *(corpus.segment(c, view) for c in pair)),
            studio.mixtures(*((c, corpus.segment(c)) for c in pair)),
        ),
        left_out=tuple(refused),
        is_leaky=bool(manifest.protocol.get("leaky")),
        notes=tuple(filter(None, [shared_note(manifest.protocol)])),
    )


def seconds_shown(examples: int, audio: Audio) -> float:
    """Seconds of each example that are drawn and played."""
    # Base64 makes four bytes of three.
    second = audio.sample_rate * 2 * channels.count_channels(audio.channels) * 4 / 3
    most = SOUND_BYTES / (examples * second)
    return float(np.clip(np.floor(2 * most) / 2, MIN_SHOWN, MAX_SHOWN))


def count(config: Config, corpus: Corpus) -> tuple[Counts, ...]:
    """The label counts that the corpus has."""
    manifest, audio, copies = corpus.manifest, config.audio, config.augment.copies
    note = "An example is a random segment of a clip"
    if config.train.segments == "all":
        note = "An example is one of all segments of a clip"
    if audio.channels == "split":
        note += "; left, right and mean of a stereo clip are examples of their own"
    note += f". augment.copies = {copies}."
    if corpus.by_length(config):
        note += " Segments are counted by what the files' headers say."
    found = [
        explore_counts.by_split(manifest),
        explore_counts.by_device(manifest),
        explore_counts.by_verification(manifest),
        explore_counts.in_an_epoch(
            manifest, lambda clip: corpus.examples(clip, config), copies, note
        ),
    ]
    return tuple(item for item in found if item)


def _examples_note(audio: Audio, seconds: float) -> str:
    note = (
        f"Drawn from the training part by train.seed, resampled to {audio.sample_rate} "
        f"Hz: of a longer clip the loudest {seconds:g} s of its first {LOOKED_AT:g}."
    )
    if audio.channels in ("stereo", "mid_side"):
        name = {"stereo": "left channel", "mid_side": "mean of the channels"}
        note += f" The {name[audio.channels]} is drawn."
    return note + " Colours are dB below the loudest point of each picture:"


def _label_note(shown: int, clips: int) -> str:
    if not clips:
        return "no training clips"
    return f"{shown} of {clips} training clips"
