"""NoiseBanks of noise and of impulse responses: made, read from files, or refused."""

import numpy as np
import pytest
import soundfile
from scipy.signal import welch

from asc_tf import augment
from asc_tf.augment.waveforms import convolve
from asc_tf.config import Audio, Augment
from asc_tf.core.errors import UsageError, UserError
from asc_tf.pipeline import noise_banks

RATE = 16000
SAMPLES = 8000


def load(samples=SAMPLES, seed=0, **settings) -> augment.NoiseBanks:
    return noise_banks.load(Augment(**settings), RATE, samples, seed)


def noise_of(folder, **options) -> np.ndarray:
    return load(noise="folder", noise_dir=str(folder), **options).noise


def impulses_of(folder, **options) -> np.ndarray:
    return load(impulse_dir=str(folder), **options).impulses


def write(path, values, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, values, rate, "FLOAT")


def tone(seconds, hertz=440.0, rate=RATE, amplitude=0.1):
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


def powers(bank):
    return np.mean(np.square(bank, dtype=np.float64), axis=1)


def test_nothing_configured_makes_no_bank():
    assert load() == augment.NoiseBanks(None, None)


@pytest.mark.parametrize(("kind", "slope"), [("white", 0.0), ("pink", -10.0)])
def test_noise_has_power_1_and_falls_by_10_db_per_decade_where_it_is_pink(kind, slope):
    noise = load(noise=kind).noise
    assert noise.dtype == np.float32
    assert noise.shape == (1, 2**20)
    np.testing.assert_allclose(powers(noise), 1, rtol=1e-5)
    frequency, density = welch(noise[0], RATE, nperseg=8192)
    used = (frequency > 50) & (frequency < 7500)
    level = 10 * np.log10(density[used])
    found, _ = np.polyfit(np.log10(frequency[used]), level, 1)
    assert found == pytest.approx(slope, abs=0.1)


def test_pink_noise_has_no_power_below_20_hz():
    spectrum = np.abs(np.fft.rfft(load(noise="pink").noise[0].astype(np.float64))) ** 2
    inaudible = np.fft.rfftfreq(2**20, 1 / RATE) < 20
    assert spectrum[inaudible].sum() < 1e-9 * spectrum.sum()


def test_made_noise_is_longer_than_four_segments_and_the_seed_s_own():
    assert load(noise="white", samples=300_000).noise.shape[1] == 2**21
    one, same, other = (load(noise="white", seed=n).noise for n in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert abs(np.corrcoef(one[0], other[0])[0, 1]) < 0.01


def test_made_noise_has_a_largest_length(monkeypatch):
    monkeypatch.setattr(noise_banks, "MAX_VALUES", 2**21)
    assert load(noise="pink", samples=10**6).noise.shape == (1, 2**21)


def test_noise_files_are_looped_to_the_longest_mono_and_of_power_1(tmp_path):
    short, long = tone(0.25, 440), tone(1.0, 1000, amplitude=0.5)
    write(tmp_path / "a.wav", short)
    write(tmp_path / "deep" / "b.flac.wav", np.stack([long, 0 * long], axis=1))
    (tmp_path / "notes.txt").write_text("no audio")
    bank = noise_of(tmp_path)
    assert bank.dtype == np.float32
    assert bank.shape == (2, RATE)
    np.testing.assert_allclose(powers(bank), 1, rtol=1e-5)
    for row, sound in zip(bank, (np.tile(short, 4), long), strict=True):
        np.testing.assert_allclose(row, sound / sound.std(), atol=1e-3)


def test_noise_files_are_resampled_and_rows_are_whole_blocks(tmp_path):
    write(tmp_path / "a.wav", tone(0.501, 440, rate=44100), 44100)
    bank = noise_of(tmp_path)
    assert bank.shape == (1, 8064)
    spectrum = np.abs(np.fft.rfft(bank[0, :8000]))
    assert np.argmax(spectrum) * RATE / 8000 == pytest.approx(440, abs=2)


def test_of_a_long_noise_file_the_beginning_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(noise_banks, "MAX_NOISE_SECONDS", 0.5)
    sound = np.random.default_rng(1).normal(0, 0.1, 2 * RATE)
    write(tmp_path / "a.wav", sound)
    bank = noise_of(tmp_path)
    assert bank.shape == (1, 8000)
    assert np.corrcoef(bank[0], sound[:8000])[0, 1] > 0.999


def test_a_bank_keeps_to_its_memory_and_never_to_less_than_a_segment(
    tmp_path, monkeypatch, capsys
):
    for number in range(12):
        write(tmp_path / f"{number}.wav", tone(2.0, 300 + 100 * number))
    monkeypatch.setattr(noise_banks, "MAX_VALUES", 20 * SAMPLES)
    few = noise_of(tmp_path)
    assert few.shape[0] == 12
    assert SAMPLES <= few.shape[1] <= 20 * SAMPLES / 12 + noise_banks.NOISE_BLOCK
    monkeypatch.setattr(noise_banks, "MAX_VALUES", 5 * SAMPLES)
    chosen, same, other = (noise_of(tmp_path, seed=n) for n in (1, 1, 2))
    assert chosen.shape == (5, SAMPLES)
    np.testing.assert_array_equal(chosen, same)
    assert not np.array_equal(chosen, other)
    assert "augment.noise_dir: 5 of 12 files are used\n" in capsys.readouterr().err


def test_files_that_cannot_be_used_are_named_and_left_out(tmp_path, capsys):
    write(tmp_path / "good.wav", tone(1.0))
    write(tmp_path / "silent.wav", np.zeros(RATE))
    left = tone(1.0)
    write(tmp_path / "cancelled.wav", np.stack([left, -left], axis=1))
    write(tmp_path / "long.wav", tone(3.0))
    (tmp_path / "bad.wav").write_bytes(b"RIFF but no WAVE")
    settings = Augment(noise="folder", noise_dir=str(tmp_path))
    audio = Audio(max_seconds=2.0)
    bank = noise_banks.load(settings, RATE, SAMPLES, 0, audio).noise
    assert len(bank) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    for line, name in zip(lines, ("bad", "cancelled", "long", "silent"), strict=True):
        path = f"{tmp_path}/{name}.wav"
        assert line.startswith(f"augment.noise_dir: left out: {path}: ")
        assert line.count(path) == 1
    assert lines[1].endswith(": silent")


def test_of_many_files_left_out_some_are_named_and_the_rest_is_counted(
    tmp_path, capsys
):
    write(tmp_path / "good.wav", tone(1.0))
    for number in range(noise_banks.MAX_NAMED + 3):
        (tmp_path / f"{number}.wav").write_bytes(b"nothing")
    assert len(noise_of(tmp_path)) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == noise_banks.MAX_NAMED + 1
    assert lines[-1] == "augment.noise_dir: left out: 3 more"


@pytest.mark.parametrize(
    ("of", "name"), [(noise_of, "noise_dir"), (impulses_of, "impulse_dir")]
)
def test_a_folder_that_is_missing_empty_or_useless_is_named(of, name, tmp_path):
    with pytest.raises(UsageError) as missing:
        of(tmp_path / "none")
    assert str(missing.value).startswith(f"augment.{name} = '{tmp_path}/none': no such")
    with pytest.raises(UserError, match="holds no audio file") as empty:
        of(tmp_path)
    assert not isinstance(empty.value, UsageError)
    assert str(empty.value).startswith(f"augment.{name} = '{tmp_path}'")
    write(tmp_path / "silent.wav", np.zeros(RATE))
    with pytest.raises(UserError, match="none of its 1 audio files") as useless:
        of(tmp_path)
    assert f"augment.{name} = '{tmp_path}'" in str(useless.value)
    assert "silent" in str(useless.value)


def test_an_impulse_response_starts_just_before_its_peak_with_energy_1(tmp_path):
    generator = np.random.default_rng(2)
    decay = np.exp(-np.arange(800) / 100)
    response = 0.05 * generator.standard_normal(800) * decay
    response[0] = 0.5
    write(tmp_path / "late.wav", np.concatenate([np.zeros(700), response]))
    write(tmp_path / "short.wav", np.float32([0.0, 0.0, -0.25, 0.1]))
    bank = impulses_of(tmp_path)
    assert bank.dtype == np.float32
    np.testing.assert_allclose((bank.astype(np.float64) ** 2).sum(axis=1), 1, rtol=1e-5)
    late, short = bank
    assert np.argmax(np.abs(late)) == 16
    np.testing.assert_array_equal(late[:16], 0)
    taps = len(late) - 16
    assert 300 < taps < 800
    wanted = response[:taps] / np.sqrt((response**2).sum())
    np.testing.assert_allclose(late[16:], wanted, atol=1e-5)
    np.testing.assert_allclose(short[:4], [0, 0, -0.92848, 0.37139], atol=1e-4)
    np.testing.assert_array_equal(short[4:], 0)


def test_what_an_impulse_response_leaves_out_is_60_db_down_or_past_a_second(tmp_path):
    decay = 0.5 * np.exp(-np.arange(RATE) / 500)
    write(tmp_path / "decay.wav", decay)
    # Energy falls by exp(-t / 250): a millionth is left after 250 * ln(1e6) taps.
    assert impulses_of(tmp_path).shape[1] == pytest.approx(250 * np.log(1e6), abs=3)
    write(tmp_path / "steady.wav", np.full(3 * RATE, 0.1))
    assert impulses_of(tmp_path).shape == (2, RATE)


def test_impulse_responses_are_resampled_to_the_rate(tmp_path):
    impulse = np.zeros(4800)
    impulse[480] = 0.9
    write(tmp_path / "a.wav", impulse, 48000)
    bank = impulses_of(tmp_path)
    assert np.argmax(np.abs(bank[0])) == 16
    waveform = np.random.default_rng(3).normal(0, 0.1, (1, 2000)).astype(np.float32)
    mixed = convolve(waveform, [1, 2], bank).numpy()
    assert np.mean(mixed**2) == pytest.approx(np.mean(waveform**2), rel=0.1)


def test_too_many_impulse_responses_are_chosen_from(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(noise_banks, "MAX_VALUES", 2 * RATE)
    for number in range(4):
        write(tmp_path / f"{number}.wav", np.float32([0.5, 0.1 * number]))
    assert len(impulses_of(tmp_path)) == 2
    assert "augment.impulse_dir: 2 of 4 files are used" in capsys.readouterr().err
