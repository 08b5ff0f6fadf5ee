import json
import os
import re
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from wavs import RATE, by_libsndfile, encoded, fmt, noise, part, riff, save

from asc_tf.audio import framing, sndfile
from asc_tf.audio.decode import Variants, decode_channels, decode_clip
from asc_tf.audio.inspect import ROUTES, Inspection, inspect, inspect_all
from asc_tf.audio.read import read
from asc_tf.audio.tensorflow_io import load_tensorflow_io
from asc_tf.config import Audio
from asc_tf.core.errors import UserError

AUDIO = Audio()
COMPRESSED = "tensorflow-io" if load_tensorflow_io() else "libsndfile"
with_tensorflow_io = pytest.mark.skipif(
    not load_tensorflow_io(), reason="tensorflow-io does not load here"
)

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
    "WAV PCM_U8": ("WAV", "PCM_U8", "PCM_U8", "graph"),
    "WAV PCM_16": ("WAV", "PCM_16", "PCM_16", "graph"),
    "WAV PCM_24": ("WAV", "PCM_24", "PCM_24", "graph"),
    "WAV PCM_32": ("WAV", "PCM_32", "PCM_32", "graph"),
    "WAV FLOAT": ("WAV", "FLOAT", "FLOAT", "graph"),
    "WAVEX DOUBLE": ("WAVEX", "DOUBLE", "DOUBLE", "graph"),
    "FLAC 8": ("FLAC", "PCM_S8", "PCM_S8", COMPRESSED),
    "FLAC 16": ("FLAC", "PCM_16", "PCM_16", COMPRESSED),
    "FLAC 24": ("FLAC", "PCM_24", "PCM_24", COMPRESSED),
    "Ogg Vorbis": ("OGG", "VORBIS", "VORBIS", COMPRESSED),
    "MP3": ("MP3", "MPEG_LAYER_III", "MPEG_LAYER_III", COMPRESSED),
}


@pytest.fixture(scope="module")
def ogg() -> bytes:
    """An Ogg file of several pages."""
    return encoded("OGG", "VORBIS", 150_000)


def pages_of(ogg: bytes) -> list[int]:
    return [at for at in range(len(ogg)) if ogg.startswith(b"OggS", at)]


# --- what is in a file ---------------------------------------------------------------


@pytest.mark.parametrize("kind", FORMATS)
def test_the_numbers_are_those_of_libsndfile(tmp_path, kind):
    container, subtype, encoding, decoder = FORMATS[kind]
    for channels in (1, 2):
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
        rms = np.sqrt(np.mean(expected**2))
        assert record["rms"] == pytest.approx(rms, rel=1e-5)
        assert json.loads(json.dumps(record)) == record


@pytest.mark.parametrize("kind", ["FLAC 16", "Ogg Vorbis", "MP3"])
def test_a_file_of_several_blocks_is_read_to_its_end(tmp_path, kind):
    container, subtype, *_ = FORMATS[kind]
    contents = encoded(container, subtype, 600_000)
    found = inspect(save(tmp_path / "clip", contents))
    expected, _ = by_libsndfile(contents)
    assert found.samples == len(expected) == 600_000
    assert found.rms == pytest.approx(np.sqrt(np.mean(expected**2)), rel=1e-5)


def test_float_samples_in_the_range_of_integers_are_noted(tmp_path):
    for peak, note in ((32767.0, "a peak of 3.28e+04, beyond full scale"), (3.9, "")):
        samples = np.full(1000, peak, "<f4").tobytes()
        contents = riff(fmt(3, bits=32), part(b"data", samples))
        found = inspect(save(tmp_path / "clip.wav", contents))
        assert not found.refusal
        assert found.note.startswith(note)
        assert bool(found.note) == bool(note)


@pytest.mark.parametrize("scale", [1e25, 1e-25])
def test_the_level_of_a_float_file_neither_overflows_nor_vanishes(tmp_path, scale):
    samples = (noise(5000) * scale).astype("<f4")
    contents = riff(fmt(3, bits=32), part(b"data", samples.tobytes()))
    found = inspect(save(tmp_path / "clip.wav", contents))
    assert not found.error
    expected = np.sqrt(np.mean(np.square(samples, dtype=np.float64)))
    assert found.rms == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_route_decodes_what_libsndfile_decodes(tmp_path, kind):
    container, subtype, *_ = FORMATS[kind]
    for channels in (1, 2) if kind == "MP3" else (1, 2, 6):
        path = save(tmp_path / "clip", encoded(container, subtype, 10_007, channels))
        expected, _ = soundfile.read(path, always_2d=True)
        for decoder in ("auto", "libsndfile"):
            ours, rate = read(path, Audio(decoder=decoder))
            assert (ours.dtype, rate) == (np.float32, RATE)
            np.testing.assert_allclose(ours, expected, atol=1e-5)


def span_in_graph(path: Path, span: tuple[float, float], rate: int) -> np.ndarray:
    audio, times = Audio(sample_rate=rate), tf.constant(span, tf.float64)
    return decode_clip(
        tf.io.read_file(str(path)),
        tf.constant("wav"),
        tf.constant(rate, tf.int64),
        times,
        tf.constant("mono"),
        audio,
        Variants(routes=("wav",)),
    ).numpy()


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
def test_a_clip_is_the_span_of_its_file(tmp_path, start, duration, expected):
    samples = np.arange(8000, dtype="<i2")
    contents = riff(fmt(), part(b"data", samples.tobytes()))
    path = save(tmp_path / "clip.wav", contents)
    for ours in (
        span_in_graph(path, (start, duration), 8000),
        sndfile.read(path, (start, duration), 600.0)[0][:, 0],
    ):
        np.testing.assert_array_equal(ours * 2**15, samples[expected])


@with_tensorflow_io
def test_the_route_chooses_the_decoder_inside_a_map(ogg):
    rows = {
        "contents": [ogg, encoded("WAV", "PCM_24"), encoded("FLAC", "PCM_16")],
        "route": ["vorbis", "wav", "flac16"],
    }
    whole = tf.zeros([2], tf.float64)
    rate = tf.constant(RATE, tf.int64)
    clips = tf.data.Dataset.from_tensor_slices(rows).map(
        lambda row: decode_clip(
            row["contents"],
            row["route"],
            rate,
            whole,
            tf.constant("mono"),
            Audio(sample_rate=RATE),
            Variants(("wav", *ROUTES.values())),
        )
    )
    for ours, contents in zip(clips, rows["contents"], strict=True):
        np.testing.assert_allclose(ours, by_libsndfile(contents)[0][:, 0], atol=1e-5)


def test_a_graph_of_wav_files_holds_no_operation_of_tensorflow_io():
    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def decode(contents):
        rate, span = tf.constant(RATE, tf.int64), tf.zeros([2], tf.float64)
        return decode_channels(contents, "wav", rate, span, AUDIO)

    names = {
        node.op for node in decode.get_concrete_function().graph.as_graph_def().node
    }
    assert names
    assert not [name for name in names if name.startswith("IO>")]


# --- what cannot be used -------------------------------------------------------------


def error_of(path: Path, max_seconds: float = 600.0, decoder: str = "auto") -> str:
    """The error, after a check that nothing but it and the name is said."""
    found = inspect(path, max_seconds, decoder)
    assert found.to_json() == {"file": str(path), "error": found.error}
    with pytest.raises(UserError) as raised:
        read(path, Audio(max_seconds=max_seconds, decoder=decoder))
    assert str(raised.value) == f"{path}: {found.error}"
    return found.error


@pytest.mark.parametrize(
    ("contents", "error"),
    [
        (b"", "an empty file"),
        (
            b"no audio\n" * 50,
            "libsndfile cannot read this file (Format not recognised)",
        ),
        (b"RIFF\0\0\0\0AVI LIST", "libsndfile cannot read this file ("),
        (encoded("WAV", "PCM_16")[:40], "no data part: the file is damaged or cut off"),
        (encoded("WAV", "PCM_16")[:44], "no samples: the file is empty or cut off"),
        (riff(fmt(bits=36), part(b"data", bytes(90))), "samples of 36 bits are not"),
        (riff(fmt(rate=999), part(b"data", bytes(9))), "a sample rate of 999 Hz"),
        (encoded("FLAC", "PCM_16", rate=500), "a sample rate of 500 Hz, outside 1000"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value,
)
def test_what_is_no_audio_or_not_decoded_is_named(tmp_path, contents, error):
    path = save(tmp_path / "clip.wav", contents)
    assert error_of(path).startswith(error)
    assert error_of(path, decoder="graph").startswith(error)
    assert error_of(path, decoder="libsndfile")


@pytest.mark.parametrize(
    ("contents", "error"),
    [
        (encoded("WAV", "ALAW"), "WAVE format 6 (A-law) is not decoded"),
        (encoded("WAV", "IMA_ADPCM"), "WAVE format 17 (IMA ADPCM) is not decoded"),
        (encoded("AIFF", "PCM_16"), "AIFF with PCM_16 is not decoded in the graph"),
        (encoded("OGG", "OPUS", rate=48000), "OGG with OPUS is not decoded in the"),
        (encoded("RF64", "PCM_16"), "RF64 (64-bit WAV) is not decoded"),
        (encoded("WAV", "PCM_16", endian="BIG"), "RIFX (big-endian WAV) is not"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value,
)
def test_what_only_libsndfile_reads_is_refused_where_the_graph_alone_is_asked_for(
    tmp_path, contents, error
):
    path = save(tmp_path / "clip", contents)
    assert error_of(path, decoder="graph").startswith(error)
    found = inspect(path)
    assert (found.error, found.note, found.decoder) == ("", "", "libsndfile")


def test_what_is_no_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for decoder in ("auto", "graph", "libsndfile"):
        assert error_of(tmp_path / "absent.wav", decoder=decoder) == "no such file"
        assert error_of(tmp_path, decoder=decoder) == "a folder, not a file"
        pipe = error_of(tmp_path / "pipe", decoder=decoder)
        assert pipe == "a pipe or device, not a file"
        assert error_of(Path("a\0b.wav"), decoder=decoder) == "no such file"
        assert error_of(tmp_path / ("x" * 300), decoder=decoder) == "File name too long"


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything"
)
def test_a_file_that_may_not_be_read_is_named(tmp_path):
    path = save(tmp_path / "clip.wav", encoded("WAV", "PCM_16", 10))
    path.chmod(0)
    assert error_of(path) == "Permission denied"


@pytest.mark.parametrize("decoder", ["auto", "graph", "libsndfile"])
def test_samples_that_are_not_finite_are_refused(tmp_path, decoder):
    for value in (np.nan, np.inf, -np.inf):
        raw = np.array([0.5, value, 0.5], "<f4").tobytes()
        contents = riff(fmt(3, bits=32), part(b"data", raw))
        path = save(tmp_path / "clip.wav", contents)
        assert error_of(path, decoder=decoder) == "samples that are not finite"


@pytest.mark.parametrize("kind", ["WAV PCM_16", "FLAC 16", "Ogg Vorbis", "MP3"])
def test_a_file_over_the_limit_is_refused_and_one_at_the_limit_is_not(tmp_path, kind):
    container, subtype, *_ = FORMATS[kind]
    at = save(tmp_path / "at", encoded(container, subtype, RATE))
    over = save(tmp_path / "over", encoded(container, subtype, RATE + 1))
    for decoder in ("auto", "libsndfile"):
        assert inspect(at, 1.0, decoder).error == ""
        assert error_of(over, 1.0, decoder) == "longer than audio.max_seconds = 1"


def test_a_file_that_tensorflow_cannot_hold_is_left_to_libsndfile(tmp_path):
    path = save(tmp_path / "huge.wav", encoded("WAV", "PCM_16", 10))
    os.truncate(path, 2**31)
    began = time.process_time()
    assert error_of(path, decoder="graph") == (
        "the file has 2 GB or more, too much for audio.decoder = graph; split it, or "
        "use audio.decoder = auto"
    )
    found = inspect(path)
    assert (found.error, found.samples, found.decoder) == ("", 10, "libsndfile")
    assert time.process_time() - began < 1


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
def test_a_strange_name_does_not_matter(tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    for kind in (("WAV", "PCM_16"), ("OGG", "VORBIS"), ("AIFF", "PCM_16")):
        try:
            save(path, encoded(*kind, 3000))
        except OSError:
            pytest.skip("this file system refuses the name")
        assert inspect(path).error == ""
        assert inspect(str(path)).samples == 3000
        assert json.loads(json.dumps(inspect(path).to_json()))["file"] == str(path)
        assert read(path, AUDIO)[0].shape == (3000, 1)


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


def kept_back(path: Path, contents: bytes) -> Inspection:
    """What is found in a damaged file, after a check that libsndfile alone reads it."""
    found = inspect(save(path, contents))
    if found.error:
        assert error_of(path)
        return found
    assert found.route == sndfile.ROUTE
    assert error_of(path, decoder="graph")
    if load_tensorflow_io():
        assert found.note
    samples, rate = read(path, AUDIO)
    assert (len(samples), rate) == (found.samples, found.sample_rate)
    assert np.abs(samples).max() == pytest.approx(found.peak)
    return found


def test_an_ogg_is_kept_from_tensorflow_io_wherever_it_is_cut(tmp_path, ogg):
    pages = pages_of(ogg)
    assert len(pages) > 4
    random = np.random.default_rng(0).integers(1, len(ogg), 30)
    lengths = {*pages[1:], *(at + 27 for at in pages), len(ogg) - 1, *random}
    for length in lengths:
        kept_back(tmp_path / "cut.ogg", ogg[:length])
    found = kept_back(tmp_path / "cut.ogg", ogg[: pages[-1]])
    expected, _ = by_libsndfile(ogg)
    ours, _ = read(tmp_path / "cut.ogg", AUDIO)
    assert 0 < found.samples < len(expected)
    np.testing.assert_allclose(ours[:-1024], expected[: len(ours) - 1024], atol=1e-6)


def test_an_ogg_is_kept_from_tensorflow_io_whichever_byte_has_changed(tmp_path, ogg):
    for at in np.random.default_rng(1).integers(len(ogg), size=30):
        damaged = ogg[:at] + bytes([ogg[at] ^ 0x10]) + ogg[at + 1 :]
        kept_back(tmp_path / "damaged.ogg", damaged)


def test_what_is_wrong_with_the_pages_of_an_ogg_is_named(tmp_path, ogg):
    pages = pages_of(ogg)
    after = f"more after the end of its stream, at byte {len(ogg)}"
    for contents, problem in [
        (ogg, ""),
        (
            ogg[: pages[3]] + ogg[pages[4] :],
            f"a page is missing at byte {pages[3]}",
        ),
        (ogg + ogg, after),
        (ogg + b"tail", after),
        (ogg[: pages[4]], "cut off"),
        (
            ogg[: pages[3] + 30],
            f"damaged or cut off in the page at byte {pages[3]}",
        ),
        (ogg[: pages[3]] + b"tail", f"damaged at byte {pages[3]}"),
    ]:
        assert framing.find_problem(contents, "OGG", 150_000) == problem
        if problem:
            kept_back(tmp_path / "clip.ogg", contents)


def test_the_note_of_an_ogg_that_lacks_a_page_says_how_much_is_left(tmp_path, ogg):
    pages = pages_of(ogg)
    contents = ogg[: pages[3]] + ogg[pages[4] :]
    found = kept_back(tmp_path / "clip.ogg", contents)
    assert found.samples == len(by_libsndfile(contents)[0]) < 150_000
    assert found.note.startswith(f"holds {found.seconds:.2f} s where its header says")


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24"])
def test_a_flac_is_kept_from_tensorflow_io_wherever_it_is_cut(tmp_path, subtype):
    whole = encoded("FLAC", subtype, 12_000, 2)
    random = np.random.default_rng(0).integers(len(whole), size=30)
    for length in {len(whole) - 1, *random}:
        kept_back(tmp_path / "cut.flac", whole[:length])


@with_tensorflow_io
def test_a_flac_whose_blocks_are_not_of_one_size_is_left_to_libsndfile(tmp_path):
    contents = bytearray(encoded("FLAC", "PCM_16"))
    contents[8] ^= 0xAB
    found = kept_back(tmp_path / "clip.flac", bytes(contents))
    assert (found.samples, found.note) == (30_001, "blocks of 47872 to 4096 samples")


@with_tensorflow_io
@pytest.mark.parametrize("size", [0, 16, 2048, 65535])
def test_a_flac_whose_blocks_are_of_another_size_than_it_says_is_left_to_libsndfile(
    tmp_path, size
):
    contents = bytearray(encoded("FLAC", "PCM_16"))
    contents[8:12] = struct.pack(">HH", size, size)
    found = kept_back(tmp_path / "clip.flac", bytes(contents))
    assert "samples" in found.note


def test_what_is_wrong_with_the_frames_of_a_flac_is_named():
    contents = encoded("FLAC", "PCM_16", 9000)
    starts = [
        m.start() for m in re.finditer(rb"\xff\xf8\xc6\x08|\xff\xf8v\x08", contents)
    ]
    assert len(starts) == 3
    first, second, last = starts

    def changed(at: int, value: int) -> bytes:
        return contents[:at] + bytes([value]) + contents[at + 1 :]

    for changes, problem in [
        (contents, ""),
        (changed(first + 4, 16), "0 of 3 frames of 4096 samples"),
        (changed(second + 4, 2), "1 of 3 frames of 4096 samples"),
        (changed(second + 2, 0xB6), "frame 1 is not of 4096 samples"),
        (changed(second + 3, 0x0C), "1 of 3 frames of 4096 samples"),
        (changed(second + 1, 0xF9), "1 of 3 frames of 4096 samples"),
        (changed(last + 6, 9), "frame 2 is not of 808 samples"),
        (changed(21, contents[21] ^ 16), "0 of 3 frames of 4096 samples"),
    ]:
        assert framing.find_problem(changes, "FLAC", 9000) == problem


@pytest.mark.parametrize("rate", [8000, 44_100, 96_000])
def test_a_flac_of_any_length_is_decoded_in_the_graph(tmp_path, rate):
    for samples in (1, 255, 256, 257, 4096, 4097, 9000):
        path = save(tmp_path / "clip", encoded("FLAC", "PCM_16", samples, 2, rate))
        found = inspect(path)
        assert (found.error, found.note, found.decoder) == ("", "", COMPRESSED)
        assert len(read(path, AUDIO)[0]) == samples


@with_tensorflow_io
def test_an_mp3_that_claims_more_frames_than_there_are_is_left_to_libsndfile(tmp_path):
    contents = bytearray(encoded("MP3", "MPEG_LAYER_III"))
    at = contents.index(b"Xing") + 8
    contents[at] = 0x40
    found = kept_back(tmp_path / "clip.mp3", bytes(contents))
    assert "frames where its header says" in found.note


@with_tensorflow_io
@pytest.mark.parametrize("length", [1000, 5000, -1])
def test_an_mp3_that_is_cut_is_left_to_libsndfile(tmp_path, length):
    contents = encoded("MP3", "MPEG_LAYER_III")
    found = kept_back(tmp_path / "clip.mp3", contents[:length])
    assert found.note == "cut off"


@with_tensorflow_io
def test_an_mp3_whose_frame_decodes_otherwise_is_left_to_libsndfile(tmp_path):
    contents = bytearray(encoded("MP3", "MPEG_LAYER_III"))
    notes = set()
    for at in np.random.default_rng(3).integers(1000, len(contents), size=40):
        damaged = bytearray(contents)
        damaged[at] ^= 0x55
        path = save(tmp_path / "clip.mp3", bytes(damaged))
        found = inspect(path)
        notes.add(found.note)
        if found.route == "mp3":
            ours, _ = read(path, AUDIO)
            np.testing.assert_allclose(ours, soundfile_of(path), atol=1.1e-3)
    assert "frames that are not decoded alike" in notes


def soundfile_of(path: Path) -> np.ndarray:
    return by_libsndfile(path.read_bytes())[0]


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
        found = inspect(path)
        assert (found.error, found.decoder) == ("", COMPRESSED)
        assert len(read(path, AUDIO)[0]) == 12_345


@pytest.mark.parametrize(
    "rate", [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000]
)
def test_an_mp3_of_any_rate_is_read(tmp_path, rate):
    for channels in (1, 2):
        contents = encoded("MP3", "MPEG_LAYER_III", 9000, channels, rate)
        found = inspect(save(tmp_path / "clip.mp3", contents))
        assert (found.error, found.samples, found.sample_rate) == ("", 9000, rate)
        assert found.decoder == COMPRESSED


def test_a_wav_that_is_cut_gives_what_is_there_and_says_so(tmp_path):
    contents = encoded("WAV", "PCM_16", RATE, rate=RATE)
    found = inspect(save(tmp_path / "cut.wav", contents[: 44 + RATE]))
    assert (found.error, found.samples, found.decoder) == ("", RATE // 2, "graph")
    assert found.note == "holds 0.50 s where its header says 1.00 s"
    assert found.to_json()["note"] == found.note


# --- recordings ----------------------------------------------------------------------


@pytest.mark.shared_data
def test_clips_of_esc_10_read_as_libsndfile_reads_them(shared_data):
    paths = sorted((shared_data / "esc10").rglob("*.ogg"))[::40]
    assert len(paths) == 10
    for path in paths:
        expected, rate = soundfile.read(path, always_2d=True)
        found = inspect(path)
        assert (found.error, found.note, found.decoder) == ("", "", COMPRESSED)
        assert found.samples == len(expected)
        ours, our_rate = read(path, AUDIO)
        assert our_rate == rate
        np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_a_silent_file_that_was_cut_off_is_noted_for_both(tmp_path):
    samples = np.zeros(1000, "<i2").tobytes()
    contents = riff(fmt(), part(b"data", samples, size=4000))
    note = inspect(save(tmp_path / "clip.wav", contents)).note
    assert note.startswith("holds ")
    assert note.endswith("; silent: every sample is 0")
