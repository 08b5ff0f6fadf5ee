"""Clips, their features and their augmentation as the cards of explore.html."""

import dataclasses
import functools
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf

from asc_tf.augment import augment_features, augment_waveforms, fold_in
from asc_tf.config import Augment, Config, Frontend
from asc_tf.frontend import FrontendLayer, compute_statistics
from asc_tf.frontend.log_axis import hz_to_octaves
from asc_tf.frontend.mel import hz_to_mel
from asc_tf.manifest import Clip
from asc_tf.models.precision import allow_tensor_float_32
from asc_tf.pipeline import noise_banks
from asc_tf.report import explore_settings
from asc_tf.report.explore_axes import (
    Ticks,
    linear_ticks,
    log_ticks,
    mel_ticks,
    number_ticks,
    octave_ticks,
    signed,
)
from asc_tf.report.explore_figures import (
    DYNAMIC_RANGE,
    Image,
    Wave,
    drawing,
    log_rows,
)
from asc_tf.report.explore_page import Card, Panel, wav_file

VERSIONS = 4
MIXTURES = 3
LEAST_SHARE = 0.02
"""Of either clip in a mixture that is shown."""

MAX_PLAYED = 4.0
"""Seconds of a segment that are played."""

LOG_ROWS = 96
LOWEST_HZ = 40.0
"""Where the logarithmic axis begins, unless the FFT resolves less."""

MANY_SEEDS = 256
"""Are tried for mixtures that show."""

KINDS = {
    "log_mel": ("log-mel spectrogram", "Hz (mel)"),
    "linear": ("log spectrogram", "Hz"),
    "mfcc": ("MFCC", "coefficient"),
    "pcen": ("PCEN", "Hz (mel)"),
}


class Studio:
    """Draws what a configuration makes of waveforms.

    Args:
        config: The configuration.
        labels: Class order.
    """

    def __init__(self, config: Config, labels: Sequence[str]) -> None:
        self.config, self.labels = config, tuple(labels)
        self.rate = config.audio.sample_rate
        allow_tensor_float_32(False)
        mel, spectrum = _for_eyes(config.frontend)
        self._mel = FrontendLayer(self.rate, mel)
        self._spectrum = FrontendLayer(self.rate, spectrum)
        self._frontend = FrontendLayer(self.rate, config.frontend)
        shape = self._frontend.compute_output_shape(
            (None, config.audio.segment_samples)
        )
        self.versions = explore_settings.for_versions(config.augment, *shape[1:3])

    def calibrate(self, found: Iterable[np.ndarray]) -> None:
        """Set the statistics of the front-end from a few segments.

        Args:
            found: float32 `[segment_samples]` or `[segment_samples, 2]` each.
        """
        shape = [self.config.audio.segment_samples]
        if self.config.audio.channels in ("stereo", "mid_side"):
            shape.append(2)
        self._frontend.build((None, *shape))
        if self.config.frontend.standardize in ("none", "per_clip"):
            return
        extract = tf.function(self._frontend.extract)
        batches = (extract(tf.constant(one[np.newaxis])) for one in found)
        self._frontend.set_statistics(*compute_statistics(self._frontend, batches))

    def example(self, clip: Clip, waveform: np.ndarray, start: float) -> Card:
        """Waveform, log-frequency spectrogram and mel spectrogram of an excerpt.

        Args:
            clip: Where it is from.
            waveform: float32 `[samples]` or `[samples, 2]`.
            start: Where it begins in the clip, s.
        """
        drawn = _first_channel(waveform)
        # Less than a frame is drawn as a frame, the rest of it silence.
        short = max(self.config.frontend.n_fft - len(drawn), 0)
        drawn = np.pad(drawn, (0, short))
        panels: list[Wave | Image] = [
            Wave(drawn),
            self._log_frequency(drawn),
            self._mel_image(drawn),
        ]
        told = [clip.city, clip.device and f"device {clip.device}"]
        seconds = len(waveform) / self.rate
        length = f"{seconds:.3g} s"
        if seconds < clip.seconds - 0.01:
            length = f"{start:.4g} to {start + seconds:.4g} s of {clip.seconds:.4g} s"
        note = " · ".join(part for part in (*told, length, clip.note) if part)
        alt = f"waveform and spectrograms of {clip.path}"
        svg = drawing(panels, len(drawn) / self.rate, alt)
        return Card(clip.path, note, svg, self._sound(waveform))

    def augmented(self, clip: Clip, segment: np.ndarray, other: np.ndarray) -> Panel:
        """A segment as it is, and versions of it as training would hear them.

        Args:
            clip: Where it is from.
            segment: float32 of the front-end's shape; `[segment_samples, 2]` where a
                channel is chosen at random.
            other: Likewise of another clip, for what mixes statistics in a batch.
        """
        config = self.config
        settings, is_typical = self.versions
        batch = tf.constant(np.stack([segment] * VERSIONS + [other] * VERSIONS))
        seed = fold_in(tf.constant([config.train.seed, 0], tf.int64), 2)
        length, rate = config.audio.segment_samples, self.rate
        bank = noise_banks.load(settings, rate, length, config.train.seed, config.audio)
        is_mid_side = config.audio.channels == "mid_side"
        changed = augment_waveforms(batch, seed, settings, bank, is_mid_side)
        unused = tf.zeros([2 * VERSIONS, 1])
        features, _ = augment_features(
            self._frontend(changed),
            unused,
            seed,
            settings,
            self._frontend.per_decibel if settings.eq_tilt_db else None,
        )
        if settings.random_channel:
            segment = segment.mean(axis=1)
        plain = self._frontend(tf.constant(segment[np.newaxis])).numpy()[0]
        limits = _limits(plain)
        cards = [self._card("as it is", clip.path, segment, plain, limits)]
        for number in range(VERSIONS):
            waveform = changed[number].numpy()
            same = np.array_equal(waveform, segment)
            waveform = None if same else waveform
            seen = features[number].numpy()
            note = "waveform unchanged" if same else "waveform changed"
            if explore_settings.changes_features(settings):
                note += ", features changed"
            title = f"version {number + 1}"
            cards.append(self._card(title, note, waveform, seen, limits))
        told = f"A segment of {clip.label} and {VERSIONS} versions of it."
        told += f" Features are {self._described()}."
        used = explore_settings.given(settings)
        return Panel("Augmentation", told, used, is_typical, tuple(cards), len(cards))

    def mixtures(
        self, first: tuple[Clip, np.ndarray], second: tuple[Clip, np.ndarray]
    ) -> Panel:
        """Two segments and what mixup makes of them and their targets."""
        settings, is_typical = explore_settings.for_mixtures(self.config.augment)
        pair = (first, second)
        features = self._frontend(tf.constant(np.stack([first[1], second[1]])))
        limits = _limits(*features.numpy())
        cards = []
        for number, (clip, segment) in enumerate(pair):
            card = self._card(
                f"clip {'AB'[number]}",
                clip.path,
                segment,
                features[number].numpy(),
                limits,
            )
            target = self._target((clip.label, 1.0))
            cards.append(dataclasses.replace(card, targets=target))
        seed = tf.constant([self.config.train.seed, 1], tf.int64)
        for mixed, share in _mixed(features, seed, settings):
            card = self._card(
                f"mixture {len(cards) - 1}",
                f"{share:.3f} of clip A, {1 - share:.3f} of clip B",
                None,
                mixed,
                limits,
            )
            target = self._target((first[0].label, share), (second[0].label, 1 - share))
            cards.append(dataclasses.replace(card, targets=target))
        note = (
            "Two segments and what mixup makes of them, below each the target that it "
            f"is trained with. Features are {self._described()}. Mixtures in which one "
            "clip hardly shows are passed over."
        )
        used = explore_settings.given(settings)
        return Panel("Mixup", note, used, is_typical, tuple(cards), len(pair))

    def _target(self, *shares: tuple[str, float]) -> tuple[tuple[str, float], ...]:
        """Shares of labels, those of one label added."""
        sums: dict[str, float] = {}
        for label, share in shares:
            sums[label] = sums.get(label, 0.0) + share
        return tuple(sums.items())

    def _card(
        self,
        title: str,
        note: str,
        waveform: np.ndarray | None,
        features: np.ndarray,
        limits: tuple[float, float],
    ) -> Card:
        """A segment; with neither waveform nor player where that is None."""
        settings = self.config.frontend
        seconds = self.config.audio.segment_samples / self.rate
        name, unit = KINDS[settings.kind]
        if settings.kind == "linear" and settings.frequency_axis == "logarithmic":
            unit = "Hz (log)"
        panels: list[Wave | Image] = []
        if waveform is not None:
            panels.append(Wave(_first_channel(waveform)))
        image = _first(features)
        ticks = self._ticks(settings)
        head = f"{name} ({signed(limits[0])} to {signed(limits[1])})"
        panels.append(Image(image, *limits, head, unit, ticks))
        seen = seconds
        if settings.max_frames and not settings.image_frames:
            seen = min(seconds, len(image) * settings.hop_length / self.rate)
        if seen < seconds and waveform is not None:
            panels[0] = Wave(_first_channel(waveform)[: round(seen * self.rate)])
        svg = drawing(panels, seen, f"{title}: {note}")
        sound = b"" if waveform is None else self._sound(waveform)
        return Card(title, note, svg, sound)

    def _sound(self, waveform: np.ndarray) -> bytes:
        if self.config.audio.channels == "mid_side":
            waveform = waveform[:, 0]
        return wav_file(waveform[: round(MAX_PLAYED * self.rate)], self.rate)

    def _log_frequency(self, waveform: np.ndarray) -> Image:
        decibels = self._spectrum.extract(tf.constant(waveform[np.newaxis])).numpy()[0]
        bin_hz = self.rate / self.config.frontend.n_fft
        low, high = max(LOWEST_HZ, bin_hz), self.rate / 2
        image = log_rows(decibels, low, high, bin_hz, LOG_ROWS)
        title = f"log-frequency spectrogram ({signed(-DYNAMIC_RANGE)} to 0 dB)"
        return Image(image, -DYNAMIC_RANGE, 0, title, "Hz (log)", log_ticks(low, high))

    def _mel_image(self, waveform: np.ndarray) -> Image:
        decibels = self._mel.extract(tf.constant(waveform[np.newaxis])).numpy()[0]
        title = f"mel spectrogram ({signed(-DYNAMIC_RANGE)} to 0 dB)"
        ticks = self._ticks(self._mel.settings)
        return Image(decibels, -DYNAMIC_RANGE, 0, title, "Hz (mel)", ticks)

    def _ticks(self, settings: Frontend) -> Ticks:
        """Ticks of the axis of bands."""
        low, high = settings.fmin, settings.fmax or self.rate / 2
        if settings.kind == "mfcc":
            return number_ticks(settings.n_mfcc)
        if settings.kind == "linear" and settings.frequency_axis == "logarithmic":
            return octave_ticks(low, high, hz_to_octaves)
        if settings.kind == "linear":
            return linear_ticks(low, high)
        to_mel = functools.partial(hz_to_mel, scale=settings.mel_scale)
        return mel_ticks(low, high, settings.n_mels, to_mel)

    def _described(self) -> str:
        settings = self.config.frontend
        how = settings.standardize
        text = "as the model takes them"
        if how not in ("none", "per_clip"):
            text += (
                f", standardized {how.replace('_', ' ')} by what the examples of this "
                "page give (training takes all clips)"
            )
        if settings.image_frames:
            text += ", as an image of which one channel is drawn"
        elif settings.deltas or self.config.audio.channels in ("stereo", "mid_side"):
            text += "; the first of their channels is drawn"
        return text


def _mixed(
    features: tf.Tensor, seed: tf.Tensor, settings: Augment
) -> Iterable[tuple[np.ndarray, float]]:
    """Mixtures of a batch of two, each with the share of the first.

    The partners are a permutation of the batch, which may give each to itself; and
    most shares are near 0 or 1. What would not show is passed over.
    """
    found = 0
    for number in range(MANY_SEEDS):
        mixed, shares = augment_features(
            features, tf.eye(2), fold_in(seed, number), settings
        )
        for one, share in zip(mixed.numpy(), shares.numpy()[:, 0], strict=True):
            if LEAST_SHARE <= share <= 1 - LEAST_SHARE:
                yield one, float(share)
                found += 1
            if found == MIXTURES:
                return


def _for_eyes(settings: Frontend) -> tuple[Frontend, Frontend]:
    """A mel spectrogram and a spectrogram in dB, whatever the model is fed."""
    plain = dataclasses.replace(
        settings,
        kind="log_mel",
        waveform_range="as_is",
        center=True,
        max_frames=0,
        power=2.0,
        logarithm="decibel",
        db_reference="clip_max",
        top_db=DYNAMIC_RANGE,
        deltas=0,
        standardize="none",
        image_frames=0,
        image_bands=0,
    )
    in_hz = dataclasses.replace(
        plain, kind="linear", frequency_axis="linear", fmin=0.0, fmax=0.0
    )
    return plain, in_hz


def _first_channel(waveform: np.ndarray) -> np.ndarray:
    return waveform if waveform.ndim == 1 else waveform[:, 0]


def _first(features: np.ndarray) -> np.ndarray:
    """The first channel of a segment's features: `[frames, bands]`."""
    return features if features.ndim == 2 else features[..., 0]


def _limits(*features: np.ndarray) -> tuple[float, float]:
    """Of the colours: nearly all values, so that an outlier leaves room for them."""
    low, high = np.percentile([_first(one) for one in features], [0.5, 99.5])
    return float(low), float(max(high, low + 1e-3))
