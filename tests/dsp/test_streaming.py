"""Files and waveforms in blocks: the same numbers as in one piece, in little memory."""

import dataclasses
import json
import struct
import sys
import tracemalloc
import weakref

import numpy as np
import pytest
import soundfile
from wavs import RATE, cut_whole, encoded, fmt, part, riff, save

from asc_tf import cli
from asc_tf.audio.stream import open_stream
from asc_tf.config import Audio, Evaluate
from asc_tf.core.errors import UserError
from asc_tf.dsp import recordings, streaming, wav_reader
from asc_tf.dsp.preprocessing import Preprocessing, downmix_and_resample
from asc_tf.dsp.resampling import resample
from asc_tf.dsp.streaming import AudioStream, downmix_and_resample_blocks
from asc_tf.evaluation import load as load_module
from asc_tf.evaluation.predictor import Predictor

LABELS = ("mean", "power", "peak")


def sound(samples: int, channels: int = 2) -> np.ndarray:
    generator = np.random.default_rng(samples)
    return generator.uniform(-0.9, 0.9, (samples, channels)).astype(np.float32)


def in_blocks(waveform: np.ndarray, rate: int, size: int, **changes) -> AudioStream:
    """A clip that does not tell its length, `size` samples at a time."""

    def read():
        for first in range(0, len(waveform), size):
            yield waveform[first : first + size]

    stream = AudioStream(rate, waveform.shape[1], None, read)
    return dataclasses.replace(stream, **changes)


def statistics(waveforms: np.ndarray) -> np.ndarray:
    """A model whose probabilities tell any two segments apart."""
    flat = np.abs(waveforms.reshape(len(waveforms), -1)).astype(np.float64)
    scores = [waveforms.reshape(flat.shape).mean(axis=1), (flat**2).mean(axis=1)]
    powers = np.exp(np.stack([*scores, flat.max(axis=1)], axis=1))
    return powers / powers.sum(axis=1, keepdims=True)


def listener(audio: Audio | None = None, **evaluate) -> Predictor:
    audio = audio or Audio(sample_rate=16_000, segment_seconds=0.1, hop_seconds=0.07)
    return Predictor(
        LABELS, Preprocessing.from_config(audio, Evaluate(**evaluate)), statistics
    )


def probabilities(result: dict) -> list[float]:
    assert "error" not in result, result
    return list(result["probabilities"].values())


# --- blocks --------------------------------------------------------------------------


@pytest.mark.parametrize("view", ["mono", "right", "stereo", "mid_side"])
@pytest.mark.parametrize(
    "rates", [(16_000, 16_000), (44_100, 16_000), (11_024, 22_050)]
)
def test_blocks_give_the_same_samples_as_the_whole_to_the_last_bit(rates, view):
    for size in (1, 997, 20_000):
        waveform = sound(6000 if size > 1 else 700, 3)
        stream = in_blocks(waveform, rates[0], size)
        blocks = downmix_and_resample_blocks(stream, view, rates[1])
        np.testing.assert_array_equal(
            np.concatenate(list(blocks)),
            downmix_and_resample(waveform, rates[0], view, rates[1]),
        )


@pytest.mark.parametrize("rates", [(48_000, 32_000), (8000, 48_000), (44_101, 44_100)])
def test_a_long_clip_is_resampled_the_same_however_it_is_cut(rates):
    waveform = sound(rates[0] * 4 // 3, 1)
    expected = resample(waveform[:, 0], *rates)
    for size in (4096, 100_003):
        blocks = downmix_and_resample_blocks(
            in_blocks(waveform, rates[0], size), "mono", rates[1]
        )
        np.testing.assert_array_equal(np.concatenate(list(blocks)), expected)


@pytest.mark.parametrize("which", ["all", "centre"])
@pytest.mark.parametrize("channels", ["mono", "stereo", "split"])
def test_a_clip_in_blocks_has_the_segments_of_the_whole_clip(channels, which):
    waveform = sound(5000)
    own = Preprocessing(16_000, 400, 300, channels, segments=which)
    views = ("left", "right", "mono") if channels == "split" else (channels,)
    expected = [
        segment
        for view in views
        for segment in cut_whole(
            downmix_and_resample(waveform, 44_100, view, 16_000), 400, 300, which
        )
    ]
    for size in (100, 1024, 9999):
        stream = in_blocks(waveform, 44_100, size)
        np.testing.assert_array_equal(list(own.cut_stream(stream)), expected)
    np.testing.assert_array_equal(list(own.cut(waveform, 44_100)), expected)


def test_a_block_is_read_when_it_is_needed_and_given_up_when_it_is_not():
    alive: weakref.WeakSet = weakref.WeakSet()
    most = 0

    class Block(np.ndarray):
        """An array that a weak set can hold by identity."""

        __hash__ = object.__hash__

        def __eq__(self, other):
            return self is other

    def read():
        nonlocal most
        for number in range(300):
            block = np.full((1000, 2), number / 300, np.float32).view(Block)
            alive.add(block)
            most = max(most, len(alive))
            yield block
            del block

    own = Preprocessing(16_000, 4000, 4000)
    cut = own.cut_stream(AudioStream(16_000, 2, None, read))
    assert next(cut).shape == (4000,)
    assert most <= 5
    assert sum(1 for _ in cut) == 74
    assert most <= 6


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_a_long_file_is_predicted_in_little_memory(tmp_path, kind):
    path, values = tmp_path / "long", 2**16
    with soundfile.SoundFile(
        path, "w", 48_000, 2, subtype="PCM_16", format=kind
    ) as file:
        for number in range(60):
            file.write(np.full((values, 2), number / 100, np.float32))
    model = listener()
    model.predict_files([path], 0.1)  # what is loaded only once
    tracemalloc.start()
    try:
        found = probabilities(model.predict_files([path])[0])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.isfinite(found).all()
    # The file has 31 MB as float32, and 5 MB as mono at the model's rate.
    assert peak < 8e6


# --- files ---------------------------------------------------------------------------

FILES = {
    "WAV": ("WAV", "PCM_24", 0.0),
    "WAV of floats": ("WAV", "FLOAT", 0.0),
    "A-law": ("WAV", "ULAW", 0.0),
    "RF64": ("RF64", "PCM_16", 0.0),
    "FLAC": ("FLAC", "PCM_16", 0.0),
    # Blocks of these are decoded alike up to rounding.
    "Ogg": ("OGG", "VORBIS", 1e-6),
    "MP3": ("MP3", "MPEG_LAYER_III", 1e-6),
}


@pytest.mark.parametrize("channels", ["mono", "split"])
@pytest.mark.parametrize("kind", FILES)
def test_a_file_is_predicted_as_its_waveform(tmp_path, kind, channels, monkeypatch):
    container, subtype, tolerance = FILES[kind]
    path = save(tmp_path / "clip", encoded(container, subtype, 30_001, 2))
    waveform, rate = soundfile.read(path, dtype="float32", always_2d=True)
    audio = Audio(sample_rate=16_000, segment_seconds=0.1, channels=channels)
    monkeypatch.setattr(streaming, "BLOCK_VALUES", 5000)
    for evaluate in ({}, {"pooling": "majority"}, {"segments": "centre"}):
        model = listener(audio, **evaluate)
        (result,) = model.predict_files([path])
        np.testing.assert_allclose(
            probabilities(result),
            np.float64(model.predict(waveform, rate)),
            rtol=0,
            atol=tolerance,
        )


def test_batches_of_segments_are_as_before(tmp_path, monkeypatch):
    monkeypatch.setattr(recordings, "BATCH", 4)
    sizes = []

    def run(waveforms):
        sizes.append(len(waveforms))
        return statistics(waveforms)

    audio = Audio(sample_rate=RATE, segment_seconds=0.1, channels="split")
    model = Predictor(LABELS, Preprocessing.from_config(audio, Evaluate()), run)
    path = tmp_path / "clip.wav"
    soundfile.write(path, sound(RATE // 2), RATE)
    model.predict_files([path])
    assert sizes == [4, 4, 4, 3]


@pytest.mark.parametrize(
    ("value", "at"), [(np.nan, 0), (np.inf, 7000), (-np.inf, 19_999), (1e7, 19_999)]
)
def test_a_bad_sample_in_any_block_refuses_the_file(tmp_path, value, at, monkeypatch):
    monkeypatch.setattr(streaming, "BLOCK_VALUES", 3000)
    waveform = sound(20_000)
    waveform[at, 1] = value
    path = tmp_path / "bad.wav"
    soundfile.write(path, waveform, RATE, subtype="FLOAT")
    said = "far beyond full scale" if value == 1e7 else "samples that are not finite"
    for evaluate in ({}, {"segments": "centre"}):
        (result,) = listener(**evaluate).predict_files([path])
        assert set(result) == {"file", "error"}
        assert result["error"].startswith(f"{path}: ")
        assert said in result["error"]


def test_a_header_that_claims_too_much_gives_what_is_there(tmp_path):
    waveform = sound(5000, 1)
    raw = (waveform * 32767).astype("<i2").tobytes()
    path = save(tmp_path / "claims.wav", riff(fmt(), part(b"data", raw, 2**31)))
    whole = save(tmp_path / "whole.wav", riff(fmt(), part(b"data", raw)))
    for evaluate in ({}, {"segments": "centre"}):
        first, second = listener(**evaluate).predict_files([path, whole])
        assert probabilities(first) == probabilities(second)


def test_a_file_that_becomes_shorter_while_it_is_read_is_refused(tmp_path):
    raw = np.zeros(400_000, "<i2").tobytes()
    path = save(tmp_path / "clip.wav", riff(fmt(), part(b"data", raw)))
    blocks = wav_reader.open_stream(path).blocks()
    next(blocks)
    path.write_bytes(path.read_bytes()[:600_000])
    with pytest.raises(UserError, match="became shorter while it was read"):
        list(blocks)


def test_a_stream_that_ends_early_has_no_middle():
    claims = in_blocks(sound(900), RATE, 300, samples=1000)
    own = Preprocessing(RATE, 100, 100, segments="centre")
    with pytest.raises(UserError, match="changed while it was read"):
        list(own.cut_stream(claims))


def test_what_is_no_audio_file_is_named_with_its_reason(tmp_path):
    text = save(tmp_path / "notes.txt", b"no sound in here")
    empty = save(tmp_path / "empty.wav", b"")
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, sound(0), RATE)
    odd = save(tmp_path / "odd.wav", riff(fmt(999), part(b"data", b"ab")))
    reasons = {
        text: "libsndfile cannot read this file",
        empty: "an empty file",
        silent: "no samples: the file is empty or cut off",
        odd: "tag 999 (unknown), not PCM or float",
        tmp_path: "is a folder, not a file",
        tmp_path / "absent.wav": "no such file",
    }
    results = listener().predict_files(reasons)
    for result, (path, reason) in zip(results, reasons.items(), strict=True):
        assert result["file"] == str(path)
        assert result["error"].startswith(f"{path}: ")
        assert reason in result["error"]
        assert result["error"].count(str(path)) == 1


def test_without_libsndfile_wav_files_are_predicted_and_others_named(
    tmp_path, monkeypatch
):
    files = [tmp_path / "clip.wav", tmp_path / "clip.flac"]
    for path in files:
        soundfile.write(path, sound(3000), RATE)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    found, other = listener().predict_files(files)
    assert found["label"] in LABELS
    assert "is FLAC, not plain WAV; convert it to PCM WAV" in other["error"]


def test_an_error_of_the_model_names_the_file(tmp_path):
    path = tmp_path / "clip.wav"
    soundfile.write(path, sound(3000), RATE)
    model = dataclasses.replace(
        listener(), predict_batch=lambda x: np.full((len(x), 3), np.nan)
    )
    (result,) = model.predict_files([path])
    said = "the model gave probabilities that are not finite"
    assert result["error"] == f"{path}: {said}"


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_a_limit_refuses_a_longer_file_and_without_one_none_is_too_long(tmp_path, kind):
    path = tmp_path / "clip"
    soundfile.write(path, sound(RATE), RATE, format=kind)
    audio = Audio(sample_rate=16_000, segment_seconds=0.1, max_seconds=0.5)
    model = listener(audio)
    assert probabilities(model.predict_files([path])[0])
    assert probabilities(model.predict_files([path], 1.0)[0])
    (refused,) = model.predict_files([path], 0.99)
    assert refused["error"] == f"{path}: longer than audio.max_seconds = 0.99"
    with pytest.raises(UserError, match="longer than"):
        list(open_stream(path, 0.99).blocks())


def test_the_command_has_no_limit_but_the_one_that_is_given(
    tmp_path, capsys, monkeypatch
):
    audio = Audio(sample_rate=16_000, segment_seconds=0.1, max_seconds=0.5)
    monkeypatch.setattr(load_module, "load", lambda _: listener(audio))
    path = tmp_path / "clip.wav"
    soundfile.write(path, sound(RATE), RATE)
    arguments = ["--model=.", "--json", str(path)]
    assert cli.main(["predict", *arguments]) == 0
    assert json.loads(capsys.readouterr().out)["label"] in LABELS
    assert cli.main(["predict", *arguments, "--audio.max_seconds=0.9"]) == 1
    assert "longer than audio.max_seconds = 0.9" in capsys.readouterr().err
    assert cli.main(["predict", *arguments, "--audio.max_seconds=0"]) == 2
    assert "audio.max_seconds" in capsys.readouterr().err


def test_floats_of_64_bits_beyond_32_are_not_finite(tmp_path):
    raw = struct.pack("<2d", 0.0, 1e300)
    path = save(tmp_path / "a.wav", riff(fmt(3, bits=64), part(b"data", raw)))
    (result,) = listener().predict_files([path])
    assert "samples that are not finite" in result["error"]
