"""Synthesis of a recording: scene -> location -> performance -> device.

A location has its own noise bed, hum, room, level and event rates. A performance has
the events of one take, with the room applied. It is a spectrum until a device records
it, so that a device's response is a product and its sample rate is the length of the
inverse transform. Both treat the clip as periodic: it begins in the middle of a scene,
with earlier events still ringing.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from asc_tf.datasets.synthetic import sounds
from asc_tf.datasets.synthetic.sounds import RATE, Sound, Wave

Spectrum = NDArray[np.complex128]


@dataclass(frozen=True)
class Scene:
    """Common properties of the locations of a scene.

    Attributes:
        tilt: Usual slope of the noise bed in dB per octave.
        reverberation: Shortest and longest decay of its rooms by 60 dB in seconds.
        rates: Events per second, by sound.
    """

    tilt: float
    reverberation: tuple[float, float]
    rates: dict[Sound, float]


@dataclass(frozen=True)
class Device:
    """Recording device.

    Attributes:
        sample_rate: Sample rate of its files in Hz.
        channels: 1, or 2 for stereo.
        sample_width: Bytes per sample of its PCM files.
        band: Lower and upper limit of its response in Hz.
        tilt: Slope of its response in dB per octave.
        peaks: Resonances an octave wide, as (centre in Hz, gain in dB).
        noise: Level of its own noise in dB re full scale.
        drive: Saturation; 1 saturates at full scale, more compresses earlier.
    """

    sample_rate: int
    channels: int
    sample_width: int
    band: tuple[float, float]
    tilt: float
    peaks: tuple[tuple[float, float], ...]
    noise: float
    drive: float


@dataclass(frozen=True)
class Location:
    """Common properties of the takes of a location.

    Attributes:
        bed: Gain of its noise bed, about 1 at 1 kHz, `[bins]`.
        sway: Depth of the slow modulation of the bed in dB.
        hum: Frequency in Hz, and amplitude where the peak of an event is about 3.
        room: Response of the room at two microphones, `[2, bins]`.
        level: RMS of its recordings in dB re full scale.
        rates: Events per second, by sound.
        pitches: Pitch factor, by sound.
    """

    bed: Wave
    sway: float
    hum: tuple[float, float]
    room: Spectrum
    level: float
    rates: dict[Sound, float]
    pitches: dict[Sound, float]


# Neighbours (metro, tram and bus; airport and shopping mall; street and square) share
# most of their sounds and differ in the rates of these sounds.
_HALL, _STREET, _VEHICLE = (0.9, 2.2), (0.2, 1.0), (0.15, 0.5)
SCENES = {
    "airport": Scene(
        -4.0,
        _HALL,
        {
            sounds.trolley: 0.8,
            sounds.announcement: 0.35,
            sounds.speech: 0.3,
            sounds.walk: 0.3,
        },
    ),
    "bus": Scene(
        -7.0,
        _VEHICLE,
        {
            sounds.engine: 0.9,
            sounds.hiss: 0.45,
            sounds.speech: 0.25,
            sounds.beeps: 0.08,
            sounds.squeal: 0.05,
        },
    ),
    "metro": Scene(
        -6.5,
        _VEHICLE,
        {
            sounds.clatter: 0.75,
            sounds.beeps: 0.2,
            sounds.traction: 0.2,
            sounds.squeal: 0.1,
            sounds.speech: 0.1,
        },
    ),
    "metro_station": Scene(
        -5.0,
        _HALL,
        {
            sounds.squeal: 0.7,
            sounds.beeps: 0.45,
            sounds.announcement: 0.12,
            sounds.walk: 0.3,
            sounds.speech: 0.1,
        },
    ),
    "park": Scene(
        -3.5,
        _STREET,
        {
            sounds.birdsong: 0.8,
            sounds.gust: 0.4,
            sounds.walk: 0.15,
            sounds.speech: 0.1,
        },
    ),
    "public_square": Scene(
        -4.5,
        _STREET,
        {
            sounds.speech: 1.1,
            sounds.birdsong: 0.12,
            sounds.vehicle: 0.2,
            sounds.walk: 0.2,
            sounds.music: 0.06,
        },
    ),
    "shopping_mall": Scene(
        -4.0,
        _HALL,
        {
            sounds.music: 0.9,
            sounds.speech: 0.8,
            sounds.walk: 0.3,
            sounds.announcement: 0.08,
            sounds.beeps: 0.05,
        },
    ),
    "street_pedestrian": Scene(
        -5.0,
        _STREET,
        {
            sounds.walk: 1.1,
            sounds.speech: 0.4,
            sounds.bell: 0.3,
            sounds.vehicle: 0.08,
            sounds.music: 0.06,
        },
    ),
    "street_traffic": Scene(
        -5.5,
        _STREET,
        {
            sounds.vehicle: 0.6,
            sounds.horn: 0.35,
            sounds.walk: 0.15,
            sounds.engine: 0.1,
            sounds.bell: 0.05,
        },
    ),
    "tram": Scene(
        -6.0,
        _VEHICLE,
        {
            sounds.traction: 0.7,
            sounds.bell: 0.45,
            sounds.clatter: 0.2,
            sounds.squeal: 0.12,
            sounds.speech: 0.2,
        },
    ),
}

DEVICES = {
    "a": Device(48_000, 2, 3, (30, 21_000), 0.0, (), -80, 1.05),
    "b": Device(44_100, 1, 2, (110, 15_000), 0.6, ((2_800, 5),), -62, 1.5),
    "c": Device(32_000, 1, 2, (180, 11_000), -0.4, ((900, 4), (5_500, -5)), -66, 1.1),
    "s4": Device(44_100, 1, 2, (220, 10_000), 1.2, ((1_700, 6), (400, -4)), -56, 2.5),
}


def locate(scene: Scene, size: int, rng: np.random.Generator) -> Location:
    """Draw a location of `scene` for clips of `size` samples at `RATE`."""
    frequency = np.fft.rfftfreq(size, 1 / RATE)
    bed = _slope(frequency, scene.tilt + rng.normal(0, 0.7))
    for centre in rng.uniform(5.5, 13.0, size=3):  # octaves above 1 Hz
        bed += _bump(frequency, 2**centre, rng.normal(0, 2.5))
    return Location(
        bed=_linear(bed) / np.sqrt(1 + (40 / (frequency + 1)) ** 6),
        sway=rng.uniform(1.0, 4.0),
        hum=(
            rng.choice([50.0, 100.0, 60 * 2 ** rng.uniform(0, 2)]),
            rng.uniform(0, 0.15),
        ),
        room=_room(frequency, rng.uniform(*scene.reverberation), rng),
        level=rng.uniform(-35, -26),
        rates={s: r * rng.lognormal(0, 0.2) for s, r in scene.rates.items()},
        pitches={s: rng.lognormal(0, 0.1) for s in scene.rates},
    )


def perform(location: Location, size: int, rng: np.random.Generator) -> Spectrum:
    """Synthesise one take of `size` samples at `RATE`.

    Returns:
        Spectrum at two microphones, `[2, bins]`, scaled so that the waveform has the
        level of the location.
    """
    dry = np.zeros(size)
    for sound, rate in location.rates.items():
        for _ in range(rng.poisson(rate * size / RATE)):
            event = sound(rng, location.pitches[sound])[:size]
            near = rng.normal(9, 3)  # dB: clearly above the bed, on the whole
            start = rng.integers(size)
            tail = max(0, start + event.size - size)
            event *= _linear(near)
            dry[start : start + event.size] += event[: event.size - tail]
            dry[:tail] += event[event.size - tail :]
    mix = np.fft.rfft(dry) * location.room + _bed(location, size, rng)
    rms = np.sqrt(2 * np.mean(np.sum(np.abs(mix) ** 2, axis=1))) / size
    return mix * (_linear(location.level + rng.normal(0, 2)) / rms)


def record(
    performance: Spectrum, size: int, device: Device, rng: np.random.Generator
) -> Wave:
    """Record a performance of `size` samples at `RATE` with a device.

    Returns:
        Waveform `[samples, channels]` within (-1, 1), at the device's sample rate.
    """
    spectrum = performance
    if device.channels == 1:
        spectrum = spectrum.mean(axis=0, keepdims=True)
    spectrum = spectrum * _response(device, size)
    length = round(size * device.sample_rate / RATE)
    waveform = np.fft.irfft(spectrum, length) * (length / size)
    waveform += _linear(device.noise) * rng.standard_normal(waveform.shape, np.float32)
    return np.tanh(device.drive * waveform).T / device.drive


def _bed(location: Location, size: int, rng: np.random.Generator) -> Spectrum:
    """Synthesise noise and hum of a location during one take: `[2, bins]`."""
    grains = rng.standard_normal((2, location.bed.size, 2)) * np.sqrt(size / 2)
    noise = grains.view(np.complex128)[..., 0] * location.bed
    sway = _linear(location.sway * sounds.draw_curve(rng, size, 1.5))
    frequency, loudness = location.hum
    hum = np.zeros(size)
    for order in range(1, 4):
        phase = 2 * np.pi * (frequency * order / RATE * np.arange(size) + rng.uniform())
        hum += loudness / order * np.sin(phase)
    return np.fft.rfft(np.fft.irfft(noise, size) * sway + hum)


def _room(frequency: Wave, reverberation: float, rng: np.random.Generator) -> Spectrum:
    """Draw a room: direct sound, then noise that decays by 60 dB in that time."""
    size = 2 * (frequency.size - 1)
    time = np.arange(size) / RATE
    tail = rng.standard_normal((2, size)) * 10 ** (-3 * time / reverberation)
    tail *= np.sqrt(rng.uniform(0.2, 1.0) / np.sum(tail**2, axis=1, keepdims=True))
    return 1 + np.fft.rfft(tail) / np.sqrt(1 + (frequency / 6_000) ** 2)


@lru_cache(maxsize=8)
def _response(device: Device, size: int) -> Wave:
    """Compute the gain of a device in each bin of a spectrum of `size` samples."""
    frequency = np.fft.rfftfreq(size, 1 / RATE)
    low, high = device.band
    gain = _slope(frequency, device.tilt)
    for centre, decibels in device.peaks:
        gain += _bump(frequency, centre, decibels)
    edges = (1 + (low / (frequency + 1)) ** 6) * (1 + (frequency / high) ** 12)
    return _linear(gain) / np.sqrt(edges)


def _slope(frequency: Wave, tilt: float) -> Wave:
    """Compute a slope of `tilt` dB per octave, 0 dB at 1 kHz, in dB."""
    return tilt * np.log2((frequency + 10) / 1_000)


def _bump(frequency: Wave, centre: float, decibels: float) -> Wave:
    """Compute a peak or dip an octave wide, in dB."""
    octaves = np.log2((frequency + 1) / centre)
    return decibels * np.exp(-4 * np.log(2) * octaves**2)


def _linear(decibels: Wave | float) -> Wave:
    """Convert decibels to a factor."""
    return np.asarray(10 ** (np.asarray(decibels) / 20))
