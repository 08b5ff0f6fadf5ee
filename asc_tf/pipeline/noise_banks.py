"""Noise and impulse-response banks for the augmentation of waveforms.

A bank is one array in memory, so that a batch costs a few look-ups instead of reading
files or drawing random numbers. It holds at most `MAX_VALUES` values (256 MB).
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
from asc_tf.core.folders import list_audio
from asc_tf.dsp.resampling import resample

MAX_VALUES = 2**26
"""Largest number of values of a bank, and of its files in memory: 256 MB."""

MIN_NOISE_SAMPLES = 2**20
"""Least length of white and pink noise; it is also at least four segments long."""

LOWEST_PINK_HZ = 20.0
"""Lowest frequency of pink noise, so that no power is in inaudible octaves."""

MAX_NOISE_SECONDS = 60.0
"""Longest excerpt of a noise file, from its beginning; shorter if files are many."""

MAX_IMPULSE_SECONDS = 1.0
"""Longest impulse response; those of devices and small rooms have decayed by then."""

BEFORE_PEAK_SECONDS = 0.001
"""Time from the start of an impulse response to its peak, the direct sound; longer
silence before the peak would delay the clips."""

TAIL_ENERGY = 1e-6
"""Share of its energy, -60 dB, at which an impulse response is cut off."""

MIN_POWER = 1e-12
"""Power, -120 dB, below which a sound is silent and cannot be scaled to power 1."""

MAX_NAMED = 10
"""Largest number of excluded files that are named; the others are counted."""


def load(
    augment: Augment,
    sample_rate: int,
    samples: int,
    seed: int,
    audio: Audio | None = None,
) -> NoiseBanks:
    """Make the configured banks.

    A row of a noise bank is a file in mono, looped to the length of the longest one (at
    most `MAX_NOISE_SECONDS`). A row of an impulse-response bank is a file in mono from
    just before its peak (`BEFORE_PEAK_SECONDS`, at most `MAX_IMPULSE_SECONDS`), padded
    with zeros and scaled to the energy 1, so that white noise keeps its level. Files
    that cannot be used are named on stderr and left out. If a folder has more files
    than fit, some are drawn with the seed.

    Args:
        augment: Augmentation settings.
        sample_rate: Sample rate of the waveforms in Hz.
        samples: Length of a segment in samples.
        seed: Seed of the noise and of the draw among too many files.
        audio: Settings of the decoder (`max_seconds`, `decoder`).

    Returns:
        Arrays, float32 `[rows, samples]`; None for a bank that is not configured.

    Raises:
        UsageError: If a folder is missing; the message names its setting.
        UserError: If a folder has no usable file.
    """
    audio = audio or Audio()
    noise = impulses = None
    if augment.noise == "folder":
        noise = _load_noise(augment.noise_dir, sample_rate, samples, seed, audio)
    elif augment.noise != "none":
        noise = _make_noise(augment.noise, sample_rate, samples, seed)
    if augment.impulse_dir:
        impulses = _load_impulses(augment.impulse_dir, sample_rate, seed, audio)
    return NoiseBanks(noise, impulses)


def _make_noise(kind: str, sample_rate: int, samples: int, seed: int) -> np.ndarray:
    """Make white or pink noise of power 1, `[1, length]`; a power of two samples."""
    wanted = min(max(MIN_NOISE_SAMPLES, 4 * samples), MAX_VALUES)
    length = 1 << (wanted - 1).bit_length()
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal(length, np.float32)
    if kind == "white":
        return _normalize_power(noise)[np.newaxis]
    frequency = np.fft.rfftfreq(length, 1 / sample_rate)
    audible = frequency >= LOWEST_PINK_HZ
    shape = np.zeros(len(frequency))
    shape[audible] = 1 / np.sqrt(frequency[audible])
    pink = np.fft.irfft(np.fft.rfft(noise) * shape, length)
    return _normalize_power(pink)[np.newaxis]


def _load_noise(
    folder: str, sample_rate: int, samples: int, seed: int, audio: Audio
) -> np.ndarray:
    """Load the noise files of a folder, each of power 1, `[files, length]`."""
    name = "augment.noise_dir"
    # So few files that each can be as long as a segment.
    files = _choose_files(folder, name, MAX_VALUES // samples, seed)
    longest = min(
        round(MAX_NOISE_SECONDS * sample_rate), max(samples, MAX_VALUES // len(files))
    )

    def shorten(sound: np.ndarray) -> np.ndarray:
        sound = sound[:longest]
        if not np.mean(np.square(sound, dtype=np.float64)) > MIN_POWER:
            raise UserError("silent")
        return sound

    sounds = _load_files(files, folder, name, sample_rate, audio, shorten)
    length = -(-max(map(len, sounds)) // NOISE_BLOCK) * NOISE_BLOCK
    bank = np.empty((len(sounds), length), np.float32)
    for row, sound in zip(bank, sounds, strict=True):
        row[:] = _normalize_power(np.resize(sound, length))
    return bank


def _load_impulses(
    folder: str, sample_rate: int, seed: int, audio: Audio
) -> np.ndarray:
    """Load the impulse responses of a folder, each of energy 1, `[files, taps]`."""
    name = "augment.impulse_dir"
    longest = round(MAX_IMPULSE_SECONDS * sample_rate)
    files = _choose_files(folder, name, MAX_VALUES // longest, seed)

    def trim(impulse: np.ndarray) -> np.ndarray:
        peak = int(np.argmax(np.abs(impulse)))
        start = max(peak - round(BEFORE_PEAK_SECONDS * sample_rate), 0)
        impulse = impulse[start : start + longest].astype(np.float64)
        energy_left = np.cumsum(np.square(impulse[::-1]))[::-1]
        if not energy_left[0] > MIN_POWER:
            raise UserError("silent")
        taps = np.count_nonzero(energy_left > TAIL_ENERGY * energy_left[0])
        impulse = impulse[:taps]
        return (impulse / np.sqrt(np.sum(impulse**2))).astype(np.float32)

    impulses = _load_files(files, folder, name, sample_rate, audio, trim)
    bank = np.zeros((len(impulses), max(map(len, impulses))), np.float32)
    for row, impulse in zip(bank, impulses, strict=True):
        row[: len(impulse)] = impulse
    return bank


def _normalize_power(sound: np.ndarray) -> np.ndarray:
    """Scale a sound to a mean square of 1, float32."""
    power = np.mean(np.square(sound, dtype=np.float64))
    return (sound / np.sqrt(power)).astype(np.float32)


def _choose_files(folder: str, name: str, most: int, seed: int) -> list[Path]:
    """List the audio files below a folder in order; draw `most` if there are more."""
    directory = Path(folder)
    if not directory.is_dir():
        raise UsageError(f"{name} = {folder!r}: no such folder")
    if not (files := list_audio(directory)):
        raise UserError(
            f"{name} = {folder!r}: holds no audio file (WAV, FLAC, Ogg, MP3, AIFF ...)"
        )
    most = max(most, 1)
    if len(files) <= most:
        return files
    print(f"{name}: {most} of {len(files)} files are used", file=sys.stderr)
    chosen = np.random.default_rng(seed).choice(len(files), most, replace=False)
    return [files[index] for index in sorted(chosen)]


def _load_files(
    files: Sequence[Path],
    folder: str,
    name: str,
    sample_rate: int,
    audio: Audio,
    prepare: Callable[[np.ndarray], np.ndarray],
) -> list[np.ndarray]:
    """Load the usable files, mono, resampled and prepared; name the others on stderr.

    Raises:
        UserError: If no file is usable.
    """
    sounds, reasons = [], []
    for path in files:
        try:
            channels, rate = read(path, audio)
            if not len(channels):
                raise UserError("holds no samples")
            sounds.append(prepare(resample(channels.mean(axis=1), rate, sample_rate)))
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
