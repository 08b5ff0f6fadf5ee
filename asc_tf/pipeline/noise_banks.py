"""The sounds that waveforms are augmented with: noise, and impulse responses.

A bank is made once and is one array, so that a batch costs a few look-ups instead of
reading files or drawing random numbers. It holds at most `MAX_VALUES` values (256 MB).
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from asc_tf.audio.read import read
from asc_tf.augment import NoiseBanks
from asc_tf.augment.waveforms import NOISE_BLOCK
from asc_tf.config import Audio, Augment
from asc_tf.core.errors import UsageError, UserError
from asc_tf.datasets.corpus import is_audio, list_files
from asc_tf.dsp.resampling import resample

MAX_VALUES = 2**26
"""Of a bank, and of what is held while it is made: 256 MB."""

MIN_NOISE_SAMPLES = 2**20
"""Of white and pink noise; where four segments are longer, these."""

LOWEST_PINK_HZ = 20.0
"""Pink noise has as much power in each octave: inaudible ones get none of it."""

MAX_NOISE_SECONDS = 60.0
"""Of each noise file, from its beginning; a bank of many long ones takes less."""

MAX_IMPULSE_SECONDS = 1.0
"""Of each impulse response: devices' and small rooms' have died away."""

BEFORE_PEAK_SECONDS = 0.001
"""An impulse response begins so long before its peak, the direct sound: clips are not
moved by what is silent before it."""

TAIL_ENERGY = 1e-6
"""An impulse response ends where this share of its energy, -60 dB, is left."""

MIN_POWER = 1e-12
"""Below, -120 dB, a sound is silent: to bring it to power 1 would bring up nothing."""

MAX_NAMED = 10
"""Files that are named among those left out; the others are counted."""


def load(
    augment: Augment,
    sample_rate: int,
    samples: int,
    seed: int,
    audio: Audio | None = None,
) -> NoiseBanks:
    """Make the banks that the settings call for.

    Noise of a folder: the files, mono, in a row each, looped up to the longest (at most
    `MAX_NOISE_SECONDS`). Impulse responses: the files, mono, from just before their
    peak on (`BEFORE_PEAK_SECONDS`, at most `MAX_IMPULSE_SECONDS`), the sum of squares
    brought to 1, so that a signal without colour keeps its level; padded with zeros. A
    file that cannot be used is named on stderr and left out. Where there are more than
    fit, the seed chooses.

    Args:
        augment: The augmentation settings.
        sample_rate: Of the waveforms, Hz.
        samples: Length of a segment.
        seed: Of the noise, and of the choice among too many files.
        audio: How files are decoded (`max_seconds`, `decoder`).

    Returns:
        NumPy arrays, float32; None for what is not configured.

    Raises:
        UsageError: If a folder is missing, name_in_errors its setting.
        UserError: If a folder holds no file that can be used.
    """
    audio = audio or Audio()
    noise = impulses = None
    if augment.noise == "folder":
        noise = _noises(augment.noise_dir, sample_rate, samples, seed, audio)
    elif augment.noise != "none":
        noise = _made_noise(augment.noise, sample_rate, samples, seed)
    if augment.impulse_dir:
        impulses = _impulses(augment.impulse_dir, sample_rate, seed, audio)
    return NoiseBanks(noise, impulses)


def _made_noise(kind: str, sample_rate: int, samples: int, seed: int) -> np.ndarray:
    """White or pink noise of power 1: `[1, length]`, a power of two."""
    wanted = min(max(MIN_NOISE_SAMPLES, 4 * samples), MAX_VALUES)
    length = 1 << (wanted - 1).bit_length()
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal(length, np.float32)
    if kind == "white":
        return _at_power_1(noise)[np.newaxis]
    frequency = np.fft.rfftfreq(length, 1 / sample_rate)
    audible = frequency >= LOWEST_PINK_HZ
    shape = np.zeros(len(frequency))
    shape[audible] = 1 / np.sqrt(frequency[audible])
    pink = np.fft.irfft(np.fft.rfft(noise) * shape, length)
    return _at_power_1(pink)[np.newaxis]


def _noises(
    folder: str, sample_rate: int, samples: int, seed: int, audio: Audio
) -> np.ndarray:
    """The sounds of a folder, each of power 1: `[files, length]`."""
    name = "augment.noise_dir"
    # A row never needs to loop within a segment only because files are many.
    files = _files(folder, name, MAX_VALUES // samples, seed)
    longest = min(
        round(MAX_NOISE_SECONDS * sample_rate), max(samples, MAX_VALUES // len(files))
    )

    def prepared(sound: np.ndarray) -> np.ndarray:
        sound = sound[:longest]
        if not np.mean(np.square(sound, dtype=np.float64)) > MIN_POWER:
            raise UserError("silent")
        return sound

    sounds = _usable(files, folder, name, sample_rate, audio, prepared)
    length = -(-max(map(len, sounds)) // NOISE_BLOCK) * NOISE_BLOCK
    bank = np.empty((len(sounds), length), np.float32)
    for row, sound in zip(bank, sounds, strict=True):
        row[:] = _at_power_1(np.resize(sound, length))
    return bank


def _impulses(folder: str, sample_rate: int, seed: int, audio: Audio) -> np.ndarray:
    """The impulse responses of a folder, each of energy 1: `[files, taps]`."""
    name = "augment.impulse_dir"
    longest = round(MAX_IMPULSE_SECONDS * sample_rate)
    files = _files(folder, name, MAX_VALUES // longest, seed)

    def prepared(impulse: np.ndarray) -> np.ndarray:
        peak = int(np.argmax(np.abs(impulse)))
        start = max(peak - round(BEFORE_PEAK_SECONDS * sample_rate), 0)
        impulse = impulse[start : start + longest].astype(np.float64)
        left = np.cumsum(np.square(impulse[::-1]))[::-1]
        if not left[0] > MIN_POWER:
            raise UserError("silent")
        taps = np.count_nonzero(left > TAIL_ENERGY * left[0])
        impulse = impulse[:taps]
        return (impulse / np.sqrt(np.sum(impulse**2))).astype(np.float32)

    found = _usable(files, folder, name, sample_rate, audio, prepared)
    bank = np.zeros((len(found), max(map(len, found))), np.float32)
    for row, impulse in zip(bank, found, strict=True):
        row[: len(impulse)] = impulse
    return bank


def _at_power_1(sound: np.ndarray) -> np.ndarray:
    """A sound scaled to a mean square of 1: float32."""
    power = np.mean(np.square(sound, dtype=np.float64))
    return (sound / np.sqrt(power)).astype(np.float32)


def _files(folder: str, name: str, most: int, seed: int) -> list[Path]:
    """The audio files below a folder, sorted; `most` of them where there are more."""
    directory = Path(folder)
    if not directory.is_dir():
        raise UsageError(f"{name} = {folder!r}: no such folder")
    files = [path for path in list_files(directory) if is_audio(path, directory)]
    if not files:
        raise UserError(
            f"{name} = {folder!r}: holds no audio file (WAV, FLAC, Ogg, MP3, AIFF ...)"
        )
    most = max(most, 1)
    if len(files) <= most:
        return files
    print(f"{name}: {most} of {len(files)} files are used", file=sys.stderr)
    chosen = np.random.default_rng(seed).choice(len(files), most, replace=False)
    return [files[index] for index in sorted(chosen)]


def _usable(
    files: Sequence[Path],
    folder: str,
    name: str,
    sample_rate: int,
    audio: Audio,
    prepared: Callable[[np.ndarray], np.ndarray],
) -> list[np.ndarray]:
    """The sounds of the files that can be used, mono and at the rate, prepared.

    The others are named on stderr.

    Raises:
        UserError: If there is none.
    """
    sounds, reasons = [], []
    for path in files:
        try:
            channels, rate = read(path, audio)
            if not len(channels):
                raise UserError("holds no samples")
            sounds.append(prepared(resample(channels.mean(axis=1), rate, sample_rate)))
        except UserError as error:
            reasons.append(f"{path}: {str(error).removeprefix(f'{path}: ')}")
    for reason in reasons[:MAX_NAMED]:
        print(f"{name}: left out: {reason}", file=sys.stderr)
    if len(reasons) > MAX_NAMED:
        more = len(reasons) - MAX_NAMED
        print(f"{name}: left out: {more} more", file=sys.stderr)
    if not sounds:
        raise UserError(
            f"{name} = {folder!r}: none of its {len(files)} audio files can be used; "
            f"the first: {reasons[0]}"
        )
    return sounds
