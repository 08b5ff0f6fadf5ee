import io
import json
import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from wavs import SUBTYPES, extensible, fmt, mutated, part, riff

from asc_tf.audio.decode import decode_clip
from asc_tf.audio.framing import MP3_FRAME
from asc_tf.audio.inspect import Inspection, inspect, inspect_all
from asc_tf.audio.read import read
from asc_tf.config import Audio
from asc_tf.errors import UserError

RATE = 22050
KEYS = [
    "file",
    "container",
    "encoding",
    "sample_rate",
    "channels",
    "samples",
    "seconds",
    "peak",
    "rms",
    "decoder",
]
FORMATS = {
    "WAV PCM_U8": ("WAV", "PCM_U8", "PCM_8", "graph"),
    "WAV PCM_16": ("WAV", "PCM_16", "PCM_16", "graph"),
    "WAV PCM_24": ("WAV", "PCM_24", "PCM_24", "graph"),
    "WAV PCM_32": ("WAV", "PCM_32", "PCM_32", "graph"),
    "WAV FLOAT": ("WAV", "FLOAT", "FLOAT_32", "graph"),
    "WAVEX DOUBLE": ("WAVEX", "DOUBLE", "FLOAT_64", "graph"),
    "FLAC 8": ("FLAC", "PCM_S8", "PCM_S8", "tensorflow-io"),
    "FLAC 16": ("FLAC", "PCM_16", "PCM_16", "tensorflow-io"),
    "FLAC 24": ("FLAC", "PCM_24", "PCM_24", "tensorflow-io"),
    "Ogg Vorbis": ("OGG", "VORBIS", "VORBIS", "tensorflow-io"),
    "MP3": ("MP3", "MPEG_LAYER_III", "MPEG_LAYER_III", "tensorflow-io"),
}


def noise(samples: int, channels: int = 1) -> np.ndarray:
    """Low noise, mostly: `[samples, channels]`, peak 0.9."""
    steps = np.random.default_rng(samples).normal(0, 1, (samples, channels))
    values = np.diff(steps, axis=0, prepend=0) + 0.1 * np.cumsum(steps, axis=0)
    return 0.9 * values / np.abs(values).max()


def encoded(container: str, subtype: str, samples=30001, channels=1, rate=RATE):
    stream = io.BytesIO()
    data = noise(samples, channels)
    soundfile.write(stream, data, rate, subtype, format=container)
    return stream.getvalue()


def save(path: Path, contents: bytes) -> Path:
    path.write_bytes(contents)
    return path


@pytest.fixture(scope="module")
def ogg() -> bytes:
    """An Ogg file of several pages."""
    return encoded("OGG", "VORBIS", 150_000)


# --- what is in a file ---------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("kind", FORMATS)
def test_the_numbers_are_those_of_libsndfile(tmp_path, kind, channels):
    container, subtype, encoding, decoder = FORMATS[kind]
    # No suffix: what is in the file counts.
    contents = encoded(container, subtype, channels=channels)
    record = inspect(save(tmp_path / "clip", contents)).to_json()
    expected, rate = soundfile.read(tmp_path / "clip", always_2d=True)
    assert list(record) == KEYS
    assert record["file"] == str(tmp_path / "clip")
    assert record["container"] == container.removesuffix("EX")
    assert record["encoding"] == encoding
    assert record["decoder"] == decoder
    assert record["sample_rate"] == rate == RATE
    assert record["channels"] == channels
    assert record["samples"] == len(expected)
    assert record["seconds"] == len(expected) / rate
    assert record["peak"] == pytest.approx(np.abs(expected).max(), abs=1e-6)
    assert record["rms"] == pytest.approx(np.sqrt(np.mean(expected**2)), rel=1e-5)
    assert json.loads(json.dumps(record)) == record


@pytest.mark.parametrize("kind", ["FLAC 16", "Ogg Vorbis", "MP3"])
def test_a_file_of_several_blocks_is_read_to_its_end(tmp_path, kind):
    container, subtype, *_ = FORMATS[kind]
    contents = encoded(container, subtype, 600_000)
    found = inspect(save(tmp_path / "clip", contents))
    expected, _ = soundfile.read(io.BytesIO(contents))
    assert found.samples == len(expected) == 600_000
    assert found.rms == pytest.approx(np.sqrt(np.mean(expected**2)), rel=1e-6)


@pytest.mark.parametrize("scale", [1e25, 1e-25])
def test_the_level_of_a_float_file_neither_overflows_nor_vanishes(tmp_path, scale):
    samples = (noise(5000) * scale).astype("<f4")
    contents = riff(fmt(3, bits=32), part(b"data", samples.tobytes()))
    found = inspect(save(tmp_path / "clip.wav", contents))
    assert not found.error
    expected = np.sqrt(np.mean(np.square(samples, dtype=np.float64)))
    assert found.rms == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("kind", "channels"),
    [(kind, n) for kind in FORMATS for n in (1, 2, 6) if kind != "MP3" or n < 3],
)
def test_every_route_decodes_what_libsndfile_decodes(tmp_path, kind, channels):
    container, subtype, *_ = FORMATS[kind]
    path = save(tmp_path / "clip", encoded(container, subtype, 10_007, channels))
    expected, _ = soundfile.read(path, always_2d=True)
    ours = read(path, Audio(sample_rate=RATE))
    assert ours.dtype == np.float32
    assert ours.shape == (10_007,)
    np.testing.assert_allclose(ours, expected.mean(axis=1), atol=1e-5)


@pytest.mark.parametrize(
    ("start", "duration", "expected"),
    [
        (0.0, 0.0, slice(None)),
        (0.25, 0.0, slice(2000, None)),
        (0.25, 0.5, slice(2000, 6000)),
        (0.5, 9.0, slice(4000, None)),
        (0.5, 1e300, slice(4000, None)),
        (0.0, 1e-9, slice(0, 0)),
        (5.0, 1.0, slice(0, 0)),
        (0.12501, 0.00012501, slice(1000, 1001)),
    ],
)
def test_a_clip_is_the_span_of_its_file(start, duration, expected):
    samples = np.arange(8000, dtype="<i2")
    contents = riff(fmt(), part(b"data", samples.tobytes()))
    ours = decode_clip(
        tf.constant(contents),
        tf.constant("wav"),
        tf.constant(8000, tf.int64),
        tf.constant([start, duration], tf.float64),
        Audio(sample_rate=8000),
        ["wav"],
    )
    np.testing.assert_array_equal(ours * 2**15, samples[expected])


def test_the_route_chooses_the_decoder_inside_a_map(ogg):
    rows = {
        "contents": [ogg, encoded("WAV", "PCM_24"), encoded("FLAC", "PCM_16")],
        "route": ["vorbis", "wav", "flac16"],
    }
    whole = tf.zeros([2], tf.float64)
    rate = tf.constant(RATE, tf.int64)
    clips = tf.data.Dataset.from_tensor_slices(rows).map(
        lambda row: decode_clip(
            row["contents"], row["route"], rate, whole, Audio(sample_rate=RATE)
        )
    )
    for ours, contents in zip(clips, rows["contents"], strict=True):
        expected, _ = soundfile.read(io.BytesIO(contents))
        np.testing.assert_allclose(ours, expected, atol=1e-5)


# --- what cannot be used -------------------------------------------------------------


def error_of(path: Path, max_seconds: float = 600.0) -> str:
    """The error, after a check that nothing but it and the name is said."""
    found = inspect(path, max_seconds)
    assert found.to_json() == {"file": str(path), "error": found.error}
    with pytest.raises(UserError) as raised:
        read(path, Audio(max_seconds=max_seconds))
    assert str(raised.value) == f"{path}: {found.error}"
    return found.error


@pytest.mark.parametrize(
    ("contents", "error"),
    [
        (b"", "an empty file"),
        (b"no audio\n" * 50, "not an audio file we can read: Format not recognised"),
        (b"RIFF\0\0\0\0AVI LIST", "not an audio file we can read: "),
        (encoded("WAV", "ALAW"), "WAVE format 6 (A-law) is not decoded"),
        (encoded("WAV", "IMA_ADPCM"), "WAVE format 17 (IMA ADPCM) is not decoded"),
        (encoded("AIFF", "PCM_16"), "AIFF with PCM_16 is not decoded; convert it to"),
        (encoded("OGG", "OPUS", rate=48000), "OGG with OPUS is not decoded; convert"),
        (encoded("RF64", "PCM_16"), "RF64 (64-bit WAV) is not decoded"),
        (riff(fmt(), name=b"RIFX"), "RIFX (big-endian WAV) is not decoded"),
        (encoded("WAV", "PCM_16")[:44], "no samples: the file is empty or cut off"),
        (riff(fmt(rate=999), part(b"data", bytes(9))), "a sample rate of 999 Hz"),
        (encoded("FLAC", "PCM_16", rate=500), "a sample rate of 500 Hz, outside 1000"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value,
)
def test_what_is_no_audio_or_not_decoded_is_named(tmp_path, contents, error):
    assert error_of(save(tmp_path / "clip.wav", contents)).startswith(error)


def test_what_is_no_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert error_of(tmp_path / "absent.wav") == "no such file"
    assert error_of(tmp_path) == "a folder, not a file"
    assert error_of(tmp_path / "pipe") == "a pipe or device, not a file"
    assert error_of(Path("a\0b.wav")) == "no such file"
    assert error_of(tmp_path / ("x" * 300)) == "File name too long"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused(tmp_path, value):
    raw = np.array([0.5, value, 0.5], "<f4").tobytes()
    contents = riff(fmt(3, bits=32), part(b"data", raw))
    path = save(tmp_path / "clip.wav", contents)
    assert error_of(path) == "samples that are not finite"


@pytest.mark.parametrize("kind", ["WAV PCM_16", "FLAC 16", "Ogg Vorbis", "MP3"])
def test_a_file_over_the_limit_is_refused_and_one_at_the_limit_is_not(tmp_path, kind):
    container, subtype, *_ = FORMATS[kind]
    path = save(tmp_path / "clip", encoded(container, subtype, RATE))
    assert inspect(path, 1.0).error == ""
    assert error_of(path, 0.99) == "longer than audio.max_seconds = 0.99"


def test_a_file_that_tensorflow_cannot_hold_is_refused_unread(tmp_path):
    path = save(tmp_path / "huge.wav", encoded("WAV", "PCM_16", 10))
    os.truncate(path, 2**31)
    began = time.perf_counter()
    assert error_of(path) == "2 GB or more; cut it into parts"
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(
    "name",
    [
        b"b\xff.wav",
        "métro ☃.ogg".encode(),
        b"clip.raw",
        b"clip.gsm",
        b"--json",
        b"100%d [a] *?.flac",
        b"two\nlines.wav",
    ],
)
@pytest.mark.parametrize("kind", ["WAV PCM_16", "Ogg Vorbis", "FLAC 16"])
def test_a_strange_name_does_not_matter(tmp_path, name, kind):
    container, subtype, *_ = FORMATS[kind]
    path = tmp_path / os.fsdecode(name)
    try:
        save(path, encoded(container, subtype, 3000))
    except OSError:
        pytest.skip("this file system refuses the name")
    assert inspect(path).error == ""
    assert inspect(str(path)).samples == 3000
    assert json.loads(json.dumps(inspect(path).to_json()))["file"] == str(path)
    assert len(read(path, Audio(sample_rate=RATE))) == 3000


def test_many_files_are_inspected_in_their_order(tmp_path):
    paths = [
        save(tmp_path / f"{number}.wav", encoded("WAV", "PCM_16", 10 + number))
        for number in range(20)
    ]
    paths.insert(7, tmp_path / "absent")
    found = inspect_all(paths, 600.0)
    assert [item.file for item in found] == [str(path) for path in paths]
    assert [item.samples for item in found if not item.error] == list(range(10, 30))
    assert found[7] == Inspection(str(tmp_path / "absent"), error="no such file")


# --- damaged files: none may reach tensorflow-io -------------------------------------


def test_an_ogg_that_is_cut_is_refused_wherever_it_is_cut(tmp_path, ogg):
    pages = [at for at in range(len(ogg)) if ogg.startswith(b"OggS", at)]
    assert len(pages) > 4
    random = np.random.default_rng(0).integers(1, len(ogg), 60)
    for length in {*pages[1:], *(at + 27 for at in pages), len(ogg) - 1, *random}:
        assert error_of(save(tmp_path / "cut.ogg", ogg[:length]))


def test_an_ogg_with_a_changed_byte_is_refused_wherever_it_is(tmp_path, ogg):
    for at in np.random.default_rng(1).integers(len(ogg), size=60):
        damaged = ogg[:at] + bytes([ogg[at] ^ 0x10]) + ogg[at + 1 :]
        assert error_of(save(tmp_path / "damaged.ogg", damaged))


def test_an_ogg_with_a_page_missing_or_too_many_is_refused(tmp_path, ogg):
    pages = [at for at in range(len(ogg)) if ogg.startswith(b"OggS", at)]
    without = ogg[: pages[3]] + ogg[pages[4] :]
    path = tmp_path / "clip.ogg"
    assert "is missing" in error_of(save(path, without))
    assert "after the end of its stream" in error_of(save(path, ogg + ogg))
    assert "after the end of its stream" in error_of(save(path, ogg + b"tail"))


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24"])
def test_a_flac_that_is_cut_is_refused_wherever_it_is_cut(tmp_path, subtype):
    whole = encoded("FLAC", subtype, 12_000, 2)
    for length in {
        len(whole) - 1,
        *np.random.default_rng(0).integers(len(whole), size=60),
    }:
        assert error_of(save(tmp_path / "cut.flac", whole[:length]))


def test_a_flac_that_does_not_say_how_long_it_is_is_refused(tmp_path):
    contents = bytearray(encoded("FLAC", "PCM_16"))
    contents[21] &= 0xF0
    contents[22:26] = bytes(4)
    path = save(tmp_path / "streamed.flac", bytes(contents))
    assert error_of(path).startswith("FLAC of unknown length")


def test_a_flac_whose_blocks_are_not_of_one_size_is_refused(tmp_path):
    contents = bytearray(encoded("FLAC", "PCM_16"))
    contents[8] ^= 0xAB
    path = save(tmp_path / "clip.flac", bytes(contents))
    assert error_of(path).startswith("blocks of 47872 to 4096 samples")


def test_an_mp3_that_claims_more_frames_than_there_are_is_refused(tmp_path):
    contents = bytearray(encoded("MP3", "MPEG_LAYER_III"))
    at = contents.index(b"Xing") + 8
    contents[at] = 0x40
    path = save(tmp_path / "clip.mp3", bytes(contents))
    assert "frames where its header says" in error_of(path)


def test_an_mp3_between_tags_is_read(tmp_path):
    contents = encoded("MP3", "MPEG_LAYER_III", 12_345)
    # 257 bytes, which look like frames.
    id3v2 = b"ID3\x04\0\0\0\0\2\1" + b"\xff\xfb\x90\x44" * 64 + b"\0"
    ape = b"".join(
        b"APETAGEX" + struct.pack("<IIII", 2000, 32, 0, flags) + bytes(8)
        for flags in (0xA0000000, 0x80000000)
    )
    for before, after in [
        (id3v2, b""),
        (id3v2 * 2, b"TAG" + bytes(125)),
        (b"", ape),
        (b"", ape + b"TAG" + bytes(125)),
    ]:
        path = save(tmp_path / "clip.mp3", before + contents + after)
        assert inspect(path).error == ""
        assert len(read(path, Audio(sample_rate=RATE))) == 12_345


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    "rate", [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000]
)
def test_an_mp3_of_any_rate_is_read(tmp_path, rate, channels):
    contents = encoded("MP3", "MPEG_LAYER_III", 9000, channels, rate)
    found = inspect(save(tmp_path / "clip.mp3", contents))
    assert (found.error, found.samples, found.sample_rate) == ("", 9000, rate)


def originals(kind: str) -> list[bytes]:
    """Good files of a kind, each read without error."""
    if kind == "WAV":
        return [
            *(encoded(c, s, 60, 2) for s in SUBTYPES for c in ("WAV", "WAVEX")),
            riff(part(b"data", bytes(400)), part(b"LIST", b"odd"), extensible()),
        ]
    subtypes = {
        "FLAC": ("PCM_S8", "PCM_16", "PCM_24"),
        "OGG": ("VORBIS",),
        "MP3": ("MPEG_LAYER_III",),
    }
    return [
        encoded(kind, subtype, samples, channels)
        for subtype in subtypes[kind]
        for channels in (1, 2)
        for samples in (5000, 60_000)
    ]


def check_mutations(tmp_path: Path, kind: str, count: int, seed: int) -> None:
    """What is not refused can be decoded in the graph, and all of it quickly."""
    generator = np.random.default_rng(seed)
    good = originals(kind)
    path = tmp_path / "mutated"
    accepted = 0
    for contents in good:
        assert inspect(save(path, contents)).error == ""
    for _ in range(count):
        contents = mutated(
            good[generator.integers(len(good))], generator, generator.choice([0, 200])
        )
        began = time.perf_counter()
        found = inspect(save(path, contents))
        assert time.perf_counter() - began < 2
        if found.refusal:
            continue
        accepted += 1
        began = time.perf_counter()
        samples = read(path, Audio(sample_rate=min(found.sample_rate, 384_000)))
        assert time.perf_counter() - began < 2
        assert np.isfinite(samples).all()
        if found.sample_rate <= 384_000:
            slack = MP3_FRAME if kind == "MP3" else 0
            assert abs(len(samples) - found.samples) <= slack
    # The checksums of Ogg's pages let nothing through.
    assert accepted or kind == "OGG"


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
def test_a_mutated_file_is_refused_or_read_and_nothing_else(tmp_path, kind):
    check_mutations(tmp_path, kind, 120, seed=4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
def test_thousands_of_mutated_files_are_refused_or_read(tmp_path, kind):
    check_mutations(tmp_path, kind, 1500, seed=5)


@pytest.mark.slow
def test_random_bytes_are_refused_whatever_they_begin_with(tmp_path):
    generator = np.random.default_rng(6)
    starts = [
        b"",
        b"RIFF\0\0\0\0WAVE",
        b"OggS\0\2",
        b"fLaC\0\0\0\x22",
        b"\xff\xfb\x90",
        b"ID3",
    ]
    for number in range(1500):
        size = int(generator.integers(1, 3000))
        contents = starts[number % len(starts)] + generator.bytes(size)
        began = time.perf_counter()
        assert inspect(save(tmp_path / "random", contents)).error
        assert time.perf_counter() - began < 2


@pytest.mark.shared_data
def test_clips_of_esc_10_read_as_libsndfile_reads_them(shared_data):
    paths = sorted((shared_data / "esc10").rglob("*.ogg"))[::40]
    assert len(paths) == 10
    for path in paths:
        expected, rate = soundfile.read(path)
        found = inspect(path)
        assert (found.error, found.route) == ("", "vorbis")
        assert found.samples == len(expected)
        ours = read(path, Audio(sample_rate=rate))
        np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.shared_data
def test_compressed_files_of_other_projects_read_as_libsndfile_reads_them(shared_data):
    folder = shared_data / "odd_wavs"
    paths = [*folder.rglob("*.flac"), *folder.rglob("*.ogg")]
    assert len(paths) == 4
    for path in paths:
        expected, rate = soundfile.read(path, always_2d=True)
        ours = read(path, Audio(sample_rate=rate))
        np.testing.assert_allclose(ours, expected.mean(axis=1), atol=1e-5)
