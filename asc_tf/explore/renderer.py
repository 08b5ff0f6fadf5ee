"""Clips, their features and their augmentation as cards of explore.html."""

import dataclasses
import io
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import soundfile
import tensorflow as tf

from asc_tf.augment import augment_features, augment_waveforms, fold_in
from asc_tf.config import Augment, Config
from asc_tf.evaluation.mel_spectrogram import (
    DYNAMIC_RANGE,
    MelSpectrogram,
    make_band_axis,
    make_mel_settings,
)
from asc_tf.explore.settings import (
    changes_features,
    choose_mixup_settings,
    choose_version_settings,
    list_settings,
)
from asc_tf.frontend import FrontendLayer, compute_statistics
from asc_tf.manifest import Clip
from asc_tf.models.precision import allow_tensor_float_32
from asc_tf.pipeline import noise_banks
from asc_tf.report.clip_figures import BandAxis, Image, Wave, draw, to_log_frequency
from asc_tf.report.explore_page import Augmentation, Card

VERSIONS = 4
MIXTURES = 3

MIN_SHARE = 0.02
"""Smallest share of either clip in a mixture that is shown."""

MIXUP_SEEDS = 256
"""Number of seeds that are tried for mixtures that can be shown."""

MAX_PLAYED = 4.0
"""Seconds of a segment that are played."""

LOG_ROWS = 96

LOWEST_HZ = 40.0
"""Lowest frequency of the logarithmic axis, unless the FFT resolves less."""

TITLES = {
    "log_mel": "log-mel spectrogram",
    "linear": "log spectrogram",
    "mfcc": "MFCC",
    "pcen": "PCEN",
}


class ClipRenderer:
    """Renderer of clips, of features as a model gets them, and of augmentation."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.rate = config.audio.sample_rate
        allow_tensor_float_32(False)
        self._mel = MelSpectrogram(self.rate, config.frontend)
        # In dB and Hz, whatever the model's features are.
        plain = make_mel_settings(config.frontend)
        plain = dataclasses.replace(
            plain, kind="linear", frequency_axis="linear", fmin=0.0, fmax=0.0
        )
        self._spectrum = FrontendLayer(self.rate, plain)
        self._frontend = FrontendLayer(self.rate, config.frontend)
        _, *shape = self._frontend.compute_output_shape(
            (None, config.audio.segment_samples)
        )
        self.versions, self._is_typical = choose_version_settings(
            config.augment, *shape[:2]
        )

    def calibrate(self, segments: Iterable[np.ndarray]) -> None:
        """Set the statistics of the front-end from a few segments.

        Args:
            segments: float32 `[segment_samples]` or `[segment_samples, 2]` each.
        """
        shape = [self.config.audio.segment_samples]
        if self.config.audio.channels in ("stereo", "mid_side"):
            shape.append(2)
        self._frontend.build((None, *shape))
        if self.config.frontend.standardize in ("none", "per_clip"):
            return
        extract = tf.function(self._frontend.extract, autograph=False)
        batches = (extract(tf.constant(one[np.newaxis])) for one in segments)
        self._frontend.set_statistics(*compute_statistics(self._frontend, batches))

    def render_example(self, clip: Clip, waveform: np.ndarray, start: float) -> Card:
        """Draw waveform, log-frequency spectrogram and mel spectrogram of an excerpt.

        Args:
            clip: Clip of the excerpt.
            waveform: float32 `[samples]` or `[samples, 2]`.
            start: Beginning of the excerpt in the clip in s.
        """
        settings = self.config.frontend
        drawn = _first_channel(waveform, 1)
        # An excerpt shorter than a frame is drawn as a frame, the rest of it silence.
        drawn = np.pad(drawn, (0, max(settings.n_fft - len(drawn), 0)))
        batch = tf.constant(drawn[np.newaxis])
        bin_hz = self.rate / settings.n_fft
        lowest = max(LOWEST_HZ, bin_hz)
        log_axis = BandAxis("Hz (log)", np.log(lowest), np.log(self.rate / 2), np.log)
        spectrum = self._spectrum.extract(batch).numpy()[0]
        spectrum = to_log_frequency(spectrum, lowest / bin_hz, LOG_ROWS)
        panels = (
            Wave(drawn),
            Image(spectrum, "log-frequency spectrogram (dB)", log_axis),
            self._mel.make_image(drawn),
        )
        picture = draw(panels, len(drawn) / self.rate, (-DYNAMIC_RANGE, 0.0))
        seconds = len(waveform) / self.rate
        length = f"{seconds:.3g} s"
        if seconds < clip.seconds - 0.01:
            length = f"{start:.4g} to {start + seconds:.4g} s of {clip.seconds:.4g} s"
        notes = (clip.city, clip.device and f"device {clip.device}", length, clip.note)
        return Card(
            clip.path,
            " · ".join(note for note in notes if note),
            picture,
            "waveform, log-frequency spectrogram and mel spectrogram of " + clip.path,
            self._encode_wav(waveform),
        )

    def render_versions(
        self, clip: Clip, segment: np.ndarray, other: np.ndarray
    ) -> Augmentation:
        """Draw a segment as it is, and versions of it as training makes them.

        Args:
            clip: Clip of the segment.
            segment: float32 of the front-end's shape; `[segment_samples, 2]` where a
                channel is chosen at random.
            other: Segment of another clip, for what mixes statistics in a batch.
        """
        config, settings = self.config, self.versions
        batch = tf.constant(np.stack([segment] * VERSIONS + [other] * VERSIONS))
        seed = fold_in(tf.constant([config.train.seed, 0], tf.int64), 2)
        length, rate = config.audio.segment_samples, self.rate
        bank = noise_banks.load(settings, rate, length, config.train.seed, config.audio)
        is_mid_side = config.audio.channels == "mid_side"
        changed = augment_waveforms(batch, seed, settings, bank, is_mid_side)
        features, _ = augment_features(
            self._frontend(changed),
            tf.zeros([2 * VERSIONS, 1]),
            seed,
            settings,
            self._frontend.per_decibel if settings.eq_tilt_db else None,
        )
        if settings.random_channel:
            segment = segment.mean(axis=1)
        plain = self._frontend(tf.constant(segment[np.newaxis])).numpy()[0]
        limits = _colour_limits(plain)
        original = self._render("as it is", clip.path, segment, plain, limits)
        cards = []
        for number in range(VERSIONS):
            waveform = changed[number].numpy()
            is_same = np.array_equal(waveform, segment)
            note = "waveform unchanged" if is_same else "waveform changed"
            if changes_features(settings):
                note += ", features changed"
            title, values = f"version {number + 1}", features[number].numpy()
            shown = None if is_same else waveform
            cards.append(self._render(title, note, shown, values, limits))
        return Augmentation(
            "Augmentation",
            f"A segment of {clip.label} and {VERSIONS} versions of it. Features are "
            f"{self._describe_features()}.",
            list_settings(settings),
            self._is_typical,
            (original,),
            tuple(cards),
        )

    def render_mixtures(
        self, first: tuple[Clip, np.ndarray], second: tuple[Clip, np.ndarray]
    ) -> Augmentation:
        """Draw two segments and what mixup makes of them and their targets."""
        settings, is_typical = choose_mixup_settings(self.config.augment)
        features = self._frontend(tf.constant(np.stack([first[1], second[1]])))
        limits = _colour_limits(*features.numpy())
        originals = [
            self._render(title, clip.path, segment, values, limits, {clip.label: 1.0})
            for title, (clip, segment), values in zip(
                ("clip A", "clip B"), (first, second), features.numpy(), strict=True
            )
        ]
        seed = tf.constant([self.config.train.seed, 1], tf.int64)
        cards: list[Card] = []
        for mixed, share in _mix(features, seed, settings):
            title = f"mixture {len(cards) + 1}"
            note = f"{share:.3f} of clip A, {1 - share:.3f} of clip B"
            targets = {first[0].label: share}
            targets[second[0].label] = 1 - share + targets.get(second[0].label, 0.0)
            cards.append(self._render(title, note, None, mixed, limits, targets))
        return Augmentation(
            "Mixup",
            "Two segments and what mixup makes of them, below each the target that it "
            f"is trained with. Features are {self._describe_features()}. Mixtures in "
            "which one clip hardly shows are passed over.",
            list_settings(settings),
            is_typical,
            tuple(originals),
            tuple(cards),
        )

    def _render(
        self,
        title: str,
        note: str,
        waveform: np.ndarray | None,
        features: np.ndarray,
        limits: tuple[float, float],
        targets: Mapping[str, float] | None = None,
    ) -> Card:
        """Draw the features of a segment, and its waveform unless that is None."""
        settings = self.config.frontend
        values = _first_channel(features, 2)
        seconds = self.config.audio.segment_samples / self.rate
        if settings.max_frames and not settings.image_frames:
            seconds = min(seconds, len(values) * settings.hop_length / self.rate)
        name = TITLES[settings.kind]
        panels: list[Wave | Image] = [
            Image(values, name, make_band_axis(settings, self.rate))
        ]
        if waveform is not None:
            drawn = _first_channel(waveform, 1)[: round(seconds * self.rate)]
            panels.insert(0, Wave(drawn))
        sound = b"" if waveform is None else self._encode_wav(waveform)
        alt = f"{name}, {title}: {note}"
        picture = draw(panels, seconds, limits)
        return Card(title, note, picture, alt, sound, targets or {})

    def _encode_wav(self, waveform: np.ndarray) -> bytes:
        """Encode what is played: the first MAX_PLAYED seconds, of mid/side the mid."""
        if self.config.audio.channels == "mid_side":
            waveform = waveform[:, 0]
        return encode_wav(waveform[: round(MAX_PLAYED * self.rate)], self.rate)

    def _describe_features(self) -> str:
        settings = self.config.frontend
        text = "as the model takes them"
        if settings.standardize not in ("none", "per_clip"):
            text += (
                f", standardized {settings.standardize.replace('_', ' ')} with "
                "statistics of the examples on this page (training takes all clips)"
            )
        if settings.image_frames:
            text += ", as an image of which one channel is drawn"
        elif settings.deltas or self.config.audio.channels in ("stereo", "mid_side"):
            text += "; the first of their channels is drawn"
        return text


def encode_wav(waveform: np.ndarray, sample_rate: int) -> bytes:
    """Encode a waveform as a WAV file of 16-bit samples.

    Args:
        waveform: float32 `[samples]` or `[samples, channels]`; what is beyond full
            scale is clipped.
        sample_rate: Sample rate in Hz.
    """
    scaled = np.round(np.asarray(waveform, np.float64) * 2**15)
    samples = np.clip(scaled, -(2**15), 2**15 - 1).astype(np.int16)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, sample_rate, format="WAV")
    return buffer.getvalue()


def _mix(
    features: tf.Tensor, seed: tf.Tensor, settings: Augment
) -> Iterator[tuple[np.ndarray, float]]:
    """Yield mixtures of a batch of two, each with the share of the first.

    The partners are a permutation of the batch, which may give each to itself; and
    most shares are near 0 or 1. Mixtures that would not show are passed over.
    """
    count = 0
    for number in range(MIXUP_SEEDS):
        mixed, shares = augment_features(
            features, tf.eye(2), fold_in(seed, number), settings
        )
        for one, share in zip(mixed.numpy(), shares.numpy()[:, 0], strict=True):
            if MIN_SHARE <= share <= 1 - MIN_SHARE:
                yield one, float(share)
                count += 1
            if count == MIXTURES:
                return


def _first_channel(values: np.ndarray, rank: int) -> np.ndarray:
    """Take the first channel where there is an axis of channels behind `rank` axes."""
    return values if values.ndim == rank else values[..., 0]


def _colour_limits(*features: np.ndarray) -> tuple[float, float]:
    """Choose limits of nearly all values: outliers do not set the colour scale."""
    values = [_first_channel(one, 2) for one in features]
    low, high = np.percentile(values, [0.5, 99.5])
    return float(low), float(max(high, low + 1e-3))
