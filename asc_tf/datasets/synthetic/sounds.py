"""Sounds of the synthetic scenes.

Every sound is a function of a random generator and a pitch factor (1 is its usual
pitch; a location gives each of its sounds a pitch of its own). It returns one mono
event, float64 `[samples]` at `RATE`, with a peak of about 1: 2 for steps, which are
very short, and 0.4 for hiss, which fills the spectrum.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

RATE = 48_000
"""Sample rate of the synthesis in Hz."""

Wave = NDArray[np.float64]
Sound = Callable[[np.random.Generator, float], Wave]


def walk(rng: np.random.Generator, pitch: float) -> Wave:
    """Footsteps of one passer-by: a few clicks with a steady gait."""
    count, gait = rng.integers(3, 7), rng.uniform(0.42, 0.62)
    centre = 900 * pitch * rng.uniform(0.8, 1.25)
    steps = []
    for step in range(count):
        click = _noise(rng, 0.2, centre * 0.5, centre * 5) * _decay(0.2, 0.03)
        steps.append((gait * (step + rng.normal(0, 0.03)), click))
    return 2 * _peak(_sequence(steps))


def speech(rng: np.random.Generator, pitch: float) -> Wave:
    """A phrase: syllables of a gliding voice through three formants."""
    voice = rng.choice([115.0, 210.0]) * rng.uniform(0.8, 1.25) * pitch
    start, syllables = 0.0, []
    for _ in range(rng.integers(3, 9)):
        seconds = rng.uniform(0.12, 0.28)
        syllables.append((start, _syllable(rng, seconds, voice)))
        start += seconds * rng.uniform(0.8, 1.3)
    return _peak(_sequence(syllables))


def birdsong(rng: np.random.Generator, pitch: float) -> Wave:
    """A bird repeating one short whistle that glides up or down."""
    centre = 4_000 * pitch * rng.uniform(0.75, 1.3)
    glide, seconds = rng.uniform(-0.45, 0.45), rng.uniform(0.05, 0.16)
    trill = rng.uniform(0, 0.1) * np.sin(2 * np.pi * 28 * _time(seconds))
    note = _harmonics(
        centre * (1 + np.linspace(-glide, glide, trill.size) + trill), [1.0]
    )
    note *= np.hanning(note.size)
    gap = seconds * rng.uniform(1.3, 2.2)
    return _sequence([(gap * k, note) for k in range(rng.integers(3, 9))])


def beeps(rng: np.random.Generator, pitch: float) -> Wave:
    """A warning signal: equal beeps at a steady pace, as before doors close."""
    length, gap = rng.uniform(0.08, 0.16), rng.uniform(0.2, 0.32)
    tone = _harmonics(np.full(_time(length).size, 1_500 * pitch), [1.0, 0, 0.35])
    tone *= np.minimum(1, 12 * np.hanning(tone.size))
    return _peak(_sequence([(gap * k, tone) for k in range(rng.integers(3, 7))]))


def announcement(rng: np.random.Generator, pitch: float) -> Wave:
    """A chime of two or three notes, then a loudspeaker voice."""
    notes = 620 * pitch * np.array([1.26, 1.0, 0.84])[: rng.integers(2, 4)]
    chime = [(0.35 * k, _strike(f, [1, 0.4, 0.2], 0.3)) for k, f in enumerate(notes)]
    voice = 0.8 * _band(speech(rng, 1.0), 400, 3_500)
    return _peak(_sequence([*chime, (0.35 * notes.size + 0.3, voice)]))


def horn(rng: np.random.Generator, pitch: float) -> Wave:
    """A car horn: two rough tones a third apart."""
    size = _time(rng.uniform(0.25, 0.9)).size
    low = 390 * pitch * rng.uniform(0.9, 1.1)
    partials = [1, 0.8, 0.9, 0.6, 0.5, 0.3]
    both = _harmonics(np.full(size, low), partials)
    both += _harmonics(np.full(size, 1.26 * low), partials)
    return _peak(both * np.minimum(1, 20 * np.hanning(size)))


def squeal(rng: np.random.Generator, pitch: float) -> Wave:
    """Brakes or a curve: a high wavering tone that comes and goes."""
    seconds = rng.uniform(0.7, 2.0)
    waver = 1 + 0.02 * draw_curve(rng, _time(seconds).size, 12)
    tone = _harmonics(3_000 * pitch * rng.uniform(0.85, 1.2) * waver, [1, 0.5])
    return _peak(_swell(tone * (1 + 0.5 * draw_curve(rng, tone.size, 25)), 0.5))


def vehicle(rng: np.random.Generator, pitch: float) -> Wave:
    """A passing vehicle: tyre noise that swells, an engine whose pitch drops."""
    seconds = rng.uniform(2.0, 4.0)
    where = np.linspace(-1, 1, _time(seconds).size) / rng.uniform(0.15, 0.35)
    tyres = _noise(rng, seconds, 300, 4_000 * pitch)
    doppler = 1 - 0.12 * where / np.sqrt(1 + where**2)
    engine = _harmonics(
        95 * pitch * rng.uniform(0.8, 1.3) * doppler, [1, 0.8, 0.7, 0.5]
    )
    return _peak(_swell((tyres + 0.4 * engine) / (1 + where**2), 0.5))


def clatter(rng: np.random.Generator, pitch: float) -> Wave:
    """Rail joints: pairs of dull knocks, one pair for each bogie."""
    pace, axle = rng.uniform(0.7, 1.1), rng.uniform(0.11, 0.17)
    knocks = []
    for k in range(rng.integers(2, 5)):
        for late in (0.0, axle):
            knock = _noise(rng, 0.16, 150 * pitch, 2_500 * pitch) * _decay(0.16, 0.03)
            knocks.append((pace * k + late, knock))
    return _peak(_sequence(knocks))


def traction(rng: np.random.Generator, pitch: float) -> Wave:
    """An electric motor that speeds up or slows down: a gliding whine."""
    seconds, ratio = rng.uniform(1.5, 3.5), rng.uniform(1.5, 2.5)
    glide = np.linspace(0, 1, _time(seconds).size)[:: rng.choice([-1, 1])]
    return _swell(_harmonics(330 * pitch * ratio**glide, [0.7, 1, 0.6, 0.4]), 0.5)


def engine(rng: np.random.Generator, pitch: float) -> Wave:
    """A diesel engine that pulls up and drops a gear: low firing pulses."""
    seconds = rng.uniform(2.0, 3.5)
    ramp = np.linspace(0, 1, _time(seconds).size)
    shift = rng.uniform(0.5, 0.75)
    speed = np.where(ramp < shift, 1 + ramp / shift, 1.15 + 0.6 * (ramp - shift))
    firing = 2 * np.pi * np.cumsum(38 * pitch * speed) / RATE
    pulses = (np.cos(firing / 2) ** 2) ** 2
    knock = _noise(rng, seconds, 80, 2_000) * (0.15 + pulses)
    gears = _harmonics(230 * pitch * speed, [1, 0.7, 0.5, 0.4, 0.3])
    return _peak(_swell(_peak(knock) + gears, 0.5))


def hiss(rng: np.random.Generator, pitch: float) -> Wave:
    """Compressed air from brakes or doors: a sharp burst that thins out."""
    seconds = rng.uniform(0.5, 1.1)
    burst = _noise(rng, seconds, 2_500 * pitch, 12_000)
    return 0.4 * _peak(burst * _decay(seconds, seconds / 4))


def bell(rng: np.random.Generator, pitch: float) -> Wave:
    """A tram or bicycle bell struck two to four times: inharmonic, ringing."""
    gap = rng.uniform(0.16, 0.3)
    ring = _strike(1_250 * pitch, [1, 0, 0.6, 0.5], 0.22, stretch=1.18)
    return _peak(_sequence([(gap * k, ring) for k in range(rng.integers(2, 5))]))


def music(rng: np.random.Generator, pitch: float) -> Wave:
    """Background music: a melody of plucked notes on a pentatonic scale."""
    scale = 330 * pitch * 2 ** (np.array([0, 2, 4, 7, 9, 12]) / 12)
    beat = rng.uniform(0.2, 0.3)
    tune = rng.choice(scale, size=rng.integers(6, 11))
    notes = [_strike(f, [1, 0.5, 0.3], 0.18) for f in tune]
    return _peak(_sequence([(beat * k, note) for k, note in enumerate(notes)]))


def trolley(rng: np.random.Generator, pitch: float) -> Wave:
    """Wheels of a suitcase on tiles: rattle at the pace of the joints."""
    seconds, pace = rng.uniform(1.2, 2.6), rng.uniform(11, 17)
    phase = 2 * np.pi * pace * _time(seconds)
    rattle = _noise(rng, seconds, 500, 3_000 * pitch)
    return _peak(_swell(rattle * np.exp(2.5 * (np.cos(phase) - 1)), 0.5))


def gust(rng: np.random.Generator, pitch: float) -> Wave:
    """Wind in leaves: rustle that swells for a second or two."""
    seconds = rng.uniform(1.0, 2.5)
    rustle = _noise(rng, seconds, 1_500 * pitch, 9_000)
    rustle *= np.exp(0.5 * draw_curve(rng, rustle.size, 14))
    return _peak(_swell(rustle, rng.uniform(0.35, 0.65)))


def draw_curve(rng: np.random.Generator, size: int, knots_per_second: float) -> Wave:
    """Draw a smooth random curve `[size]` with a deviation of about 1."""
    count = max(4, round(size / RATE * knots_per_second))
    knots = rng.standard_normal(count)
    return np.interp(np.linspace(0, count - 1, size), np.arange(count), knots)


def _time(seconds: float) -> Wave:
    """Compute the sample times in seconds."""
    return np.arange(round(seconds * RATE)) / RATE


def _decay(seconds: float, constant: float) -> Wave:
    """Compute a decay after an attack of 2 ms; the time constant is in seconds."""
    time = _time(seconds)
    return np.minimum(1, time / 0.002) * np.exp(-time / constant)


def _swell(wave: Wave, summit: float) -> Wave:
    """Fade in until the fraction `summit` of the event, then fade out."""
    where = np.linspace(0, 1, wave.size)
    rise = np.minimum(where / summit, (1 - where) / (1 - summit))
    return wave * np.sin(np.pi / 2 * rise) ** 2


def _noise(rng: np.random.Generator, seconds: float, low: float, high: float) -> Wave:
    """Draw noise between `low` and `high` Hz."""
    return _band(rng.standard_normal(_time(seconds).size), low, high)


def _band(wave: Wave, low: float, high: float) -> Wave:
    """Pass `low` to `high` Hz with soft edges, at a peak of 1."""
    size = _fast_size(wave.size)
    frequency = np.fft.rfftfreq(size, 1 / RATE)
    edges = (1 + _cube(low / (frequency + 1)) ** 2) * (1 + _cube(frequency / high) ** 2)
    spectrum = np.fft.rfft(wave, size) / np.sqrt(edges)
    return _peak(np.fft.irfft(spectrum, size)[: wave.size])


def _cube(values: Wave) -> Wave:
    """Compute the third power, many times faster than `**` does."""
    return values * values * values


def _fast_size(size: int) -> int:
    """Round up to a size with small prime factors only, for a fast FFT."""
    unit = 1 << max(0, size.bit_length() - 4)
    return -(-size // unit) * unit


def _harmonics(frequency: Wave, amplitudes: ArrayLike) -> Wave:
    """Synthesise a tone from its frequency in Hz at each sample and its harmonics."""
    phase = 2 * np.pi * np.cumsum(frequency) / RATE
    levels = np.asarray(amplitudes, dtype=np.float64)
    before, sine, twice_cosine = np.zeros(phase.size), np.sin(phase), 2 * np.cos(phase)
    wave = np.zeros(phase.size)
    for level in levels:  # sin(n+1)x = 2 cos(x) sin(nx) - sin(n-1)x
        wave += level * sine
        before, sine = sine, twice_cosine * sine - before
    return wave / levels.sum()


def _strike(
    frequency: float, amplitudes: ArrayLike, constant: float, stretch: float = 1.0
) -> Wave:
    """Synthesise a struck or plucked tone; `stretch` above 1 makes it inharmonic."""
    time = _time(4 * constant)
    ring = decay = np.exp(-time / constant)
    wave = np.zeros(time.size)
    for order, level in enumerate(np.asarray(amplitudes, dtype=np.float64), start=1):
        if level:
            partial = frequency * order**stretch
            wave += level * ring * np.sin(2 * np.pi * partial * time)
        ring = ring * decay
    return _peak(wave * np.minimum(1, time / 0.003))


def _syllable(rng: np.random.Generator, seconds: float, voice: float) -> Wave:
    """Synthesise a syllable: a sawtooth of about `voice` Hz through three formants."""
    size = _fast_size(round(seconds * RATE))
    glide = voice * np.linspace(rng.uniform(0.9, 1.15), rng.uniform(0.85, 1.1), size)
    saw = 2 * (np.cumsum(glide) / RATE % 1) - 1
    frequency = np.fft.rfftfreq(size, 1 / RATE)
    formants = (
        rng.uniform(300, 800),
        rng.uniform(900, 2_200),
        rng.uniform(2_300, 3_200),
    )
    gain = sum(
        level / (1 + ((frequency - centre) / 110) ** 2)
        for level, centre in zip((1.0, 0.8, 0.5), formants, strict=True)
    )
    spoken = np.fft.irfft(np.fft.rfft(saw * np.hanning(size)) * gain, size)
    return rng.uniform(0.5, 1) * _peak(spoken)


def _sequence(parts: list[tuple[float, Wave]]) -> Wave:
    """Mix waves that start at the given times in seconds."""
    starts = [max(0, round(start * RATE)) for start, _ in parts]
    size = max(s + wave.size for s, (_, wave) in zip(starts, parts, strict=True))
    mix = np.zeros(size)
    for s, (_, wave) in zip(starts, parts, strict=True):
        mix[s : s + wave.size] += wave
    return mix


def _peak(wave: Wave) -> Wave:
    """Scale to a peak of 1."""
    return wave / (np.abs(wave).max() + 1e-12)
