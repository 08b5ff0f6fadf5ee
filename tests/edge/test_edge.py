import io
import json
import os
import re
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import soundfile
from wavs import read_on_edge

import asc_tf
from asc_tf import cli as asc_tf_cli
from asc_tf.core.errors import UserError
from asc_tf.dsp import resampling, segments, wav_file
from asc_tf.edge import cli, container
from asc_tf.edge.runtime import EdgeModel

LABELS = ("airport", "métro", "park")
RATE, LENGTH, HOP = 16000, 1600, 800
METADATA = {
    "labels": LABELS,
    "sample_rate": RATE,
    "segment_samples": LENGTH,
    "hop_samples": HOP,
    "precision": "float32",
    "config": {"audio": {"sample_rate": RATE}},
}


def law(segment):
    """What the model of these tests computes."""
    scores = [4 * segment.mean(), 8 * (segment**2).mean(), 3 * np.abs(segment).mean()]
    powers = np.exp(np.float64(scores))
    return powers / powers.sum()


@pytest.fixture(scope="module")
def flatbuffer(tmp_path_factory):
    import tensorflow as tf

    class Statistics(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([1, LENGTH], name="waveform")])
        def serve(self, waveform):
            scores = [
                4 * tf.reduce_mean(waveform, axis=1),
                8 * tf.reduce_mean(waveform**2, axis=1),
                3 * tf.reduce_mean(tf.abs(waveform), axis=1),
            ]
            return {"probabilities": tf.nn.softmax(tf.stack(scores, axis=1))}

    folder = str(tmp_path_factory.mktemp("saved_model"))
    module = Statistics()
    tf.saved_model.save(module, folder, signatures={"serving_default": module.serve})
    return tf.lite.TFLiteConverter.from_saved_model(folder).convert()


@pytest.fixture(scope="module")
def model_file(flatbuffer, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.tflite"
    path.write_bytes(flatbuffer)
    container.write_metadata(path, METADATA)
    return path


@pytest.fixture(scope="module")
def model(model_file):
    return EdgeModel(model_file)


@pytest.fixture
def noise():
    return np.random.default_rng(0).uniform(-1, 1, 4000).astype(np.float32)


def write_wav(path, data, rate=RATE, subtype="PCM_16"):
    soundfile.write(path, data, rate, subtype=subtype)
    return path


# --- metadata ------------------------------------------------------------------------


def test_metadata_come_back_as_they_were_written(model_file, flatbuffer):
    metadata = container.read_metadata(model_file)
    assert metadata.labels == LABELS
    assert metadata.sample_rate == RATE
    assert (metadata.segment_samples, metadata.hop_samples) == (LENGTH, HOP)
    assert (metadata.precision, metadata.format_version) == ("float32", 1)
    assert metadata.flatbuffer_bytes == len(flatbuffer)
    assert metadata.sha256 == sha256(flatbuffer).hexdigest()
    assert metadata.extra == {"config": METADATA["config"]}


def test_the_archive_is_one_that_unzip_finds_at_its_stated_offset(
    model_file, flatbuffer
):
    content = model_file.read_bytes()
    assert content.startswith(flatbuffer + b"PK\x03\x04")
    (offset,) = struct.unpack("<I", content[-6:-2])
    assert content[offset : offset + 4] == b"PK\x01\x02"
    (member,) = zipfile.ZipFile(model_file).infolist()
    assert member.filename == "model.json"
    assert member.date_time == (1980, 1, 1, 0, 0, 0)


def test_the_same_metadata_give_the_same_bytes_and_are_replaced_not_stacked(
    model_file, tmp_path
):
    again = tmp_path / "again.tflite"
    again.write_bytes(model_file.read_bytes())
    container.write_metadata(again, METADATA)
    assert again.read_bytes() == model_file.read_bytes()
    container.write_metadata(again, {**METADATA, "precision": "int8"})
    assert container.read_metadata(again).precision == "int8"
    assert list(tmp_path.iterdir()) == [again]


def test_metadata_that_could_not_be_read_again_are_not_written(flatbuffer, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(flatbuffer)
    with pytest.raises(UserError, match="hop_samples is 0"):
        container.write_metadata(path, {**METADATA, "hop_samples": 0})
    assert path.read_bytes() == flatbuffer


def test_only_a_tflite_takes_metadata(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a model at all")
    with pytest.raises(UserError, match=r"notes\.txt: is not a TensorFlow Lite model"):
        container.write_metadata(path, METADATA)


def test_every_truncation_of_a_model_is_a_user_error(model_file, tmp_path):
    content, path = model_file.read_bytes(), tmp_path / "cut.tflite"
    for size in [*range(0, len(content), 13), len(content) - 1]:
        path.write_bytes(content[:size])
        with pytest.raises(UserError, match=r"cut\.tflite"):
            container.read_metadata(path)


def test_a_flipped_byte_is_a_user_error_or_changes_nothing_that_counts(
    model_file, flatbuffer, tmp_path
):
    content, path = model_file.read_bytes(), tmp_path / "flipped.tflite"
    expected = container.read_metadata(model_file)
    for position in [
        *range(0, len(flatbuffer), 7),
        *range(len(flatbuffer), len(content)),
    ]:
        for mask in (0x01, 0x80, 0xFF):
            flipped = bytearray(content)
            flipped[position] ^= mask
            path.write_bytes(flipped)
            try:
                assert container.read_metadata(path) == expected
            except UserError as error:
                assert "flipped.tflite" in str(error)
            else:
                assert position >= len(flatbuffer)


def test_a_changed_flatbuffer_is_told_by_its_checksum(model_file, tmp_path):
    content = bytearray(model_file.read_bytes())
    content[500] ^= 1
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(UserError, match="checksum differs; copy or export it again"):
        EdgeModel(path)


def sealed(path, flatbuffer, text, compression=zipfile.ZIP_STORED):
    """A file with whatever text for metadata."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", compression) as file:
        file.writestr("model.json", text)
    path.write_bytes(flatbuffer + archive.getvalue())
    return path


def fields(flatbuffer, **changes):
    values = {
        **METADATA,
        "format_version": 1,
        "flatbuffer_bytes": len(flatbuffer),
        "sha256": sha256(flatbuffer).hexdigest(),
        **changes,
    }
    return json.dumps({key: value for key, value in values.items() if value != "gone"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "format_version 2, asc-tf .* install a newer asc-tf"),
        ({"format_version": "gone"}, "format_version None"),
        ({"format_version": True}, "format_version True"),
        ({"labels": "gone"}, "labels is None"),
        ({"labels": "park"}, "labels is 'park'"),
        ({"labels": []}, "labels is \\[\\]"),
        ({"labels": ["a", 1]}, "label 1 is not a name"),
        ({"labels": ["a", "a"]}, "one name twice"),
        ({"labels": ["\x1b[31mred"]}, r"label '\\x1b\[31mred'"),
        ({"labels": ["\ud800"]}, "is not a name"),
        ({"sample_rate": 0}, "sample_rate is 0"),
        ({"sample_rate": "16000"}, "sample_rate is '16000'"),
        ({"sample_rate": True}, "sample_rate is True"),
        ({"segment_samples": -1}, "segment_samples is -1"),
        ({"segment_samples": 10**15}, "segment_samples is 1000000000000000"),
        ({"hop_samples": 0.5}, "hop_samples is 0.5"),
        ({"precision": None}, "precision is None"),
        ({"flatbuffer_bytes": 9}, "not 9"),
        ({"sha256": "gone"}, "sha256 is None"),
        ({"sha256": "00"}, "checksum differs"),
    ],
)
def test_a_field_that_is_not_sane_is_named(flatbuffer, tmp_path, changes, message):
    path = sealed(tmp_path / "m.tflite", flatbuffer, fields(flatbuffer, **changes))
    with pytest.raises(UserError, match=message) as raised:
        container.read_metadata(path)
    assert "m.tflite: " in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sample_rate": "32000"}, "sample_rate is '32000'"),
        ({"channels": ["mono"]}, r"channels is \['mono'\]"),
        ({"pooling": {}}, r"pooling is \{\}"),
    ],
)
def test_the_predictor_names_metadata_that_are_not_sane(
    flatbuffer, tmp_path, changes, message, capsys
):

    path = sealed(tmp_path / "m.tflite", flatbuffer, fields(flatbuffer, **changes))
    assert asc_tf_cli.main(["predict", f"--model={path}", "a.wav"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"asc-tf predict: {path}: ")
    assert re.search(message, line)


@pytest.mark.parametrize("config", ["gone", {}, {"audio": {}}])
def test_metadata_without_a_configuration_have_its_defaults(
    flatbuffer, tmp_path, config
):
    import asc_tf

    text = fields(flatbuffer, config=config)
    predictor = asc_tf.load(sealed(tmp_path / "m.tflite", flatbuffer, text))
    assert predictor.preprocessing.segments == "all"
    assert predictor.preprocessing.segment_samples == LENGTH


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "[" * 100_000, "\xff", '{"a": ' + "9" * 5000 + "}"]
)
def test_metadata_that_are_no_json_object_are_a_user_error(flatbuffer, tmp_path, text):
    path = sealed(tmp_path / "m.tflite", flatbuffer, text.encode("latin-1"))
    with pytest.raises(UserError, match=r"m\.tflite: damaged: its metadata are not"):
        container.read_metadata(path)


def test_metadata_that_would_inflate_are_refused_before_they_do(flatbuffer, tmp_path):
    path = tmp_path / "bomb.tflite"
    sealed(path, flatbuffer, b" " * 10**8, zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    with pytest.raises(UserError, match="its metadata exceed 1 MB"):
        container.read_metadata(path)
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


def test_a_model_of_other_origin_has_no_metadata(flatbuffer, tmp_path):
    path = tmp_path / "plain.tflite"
    path.write_bytes(flatbuffer)
    with pytest.raises(UserError, match="not exported by asc-tf export"):
        container.read_metadata(path)


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for reader in (container.read_metadata, read_on_edge):
        with pytest.raises(UserError, match="pipe: is a pipe or device"):
            reader(tmp_path / "pipe")
        with pytest.raises(UserError, match="is a folder"):
            reader(tmp_path)
        with pytest.raises(UserError, match="absent: no such file"):
            reader(tmp_path / "absent")
        with pytest.raises(UserError, match="null"):
            reader("a\0b")
        with pytest.raises(UserError, match="name too long"):
            reader("a" * 5000)


# --- WAV -----------------------------------------------------------------------------

SUBTYPES = ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")


def part(name, data, size=None):
    size = len(data) if size is None else size
    return name + struct.pack("<I", size) + data + b"\0" * (len(data) % 2)


def fmt(tag=1, channels=1, rate=8000, bits=16, align=None, extra=b""):
    align = channels * -(-bits // 8) if align is None else align
    numbers = (tag, channels, rate, rate * align % 2**32, align, bits)
    return part(b"fmt ", struct.pack("<HHIIHH", *numbers) + extra)


def riff(*parts, size=None, name=b"RIFF"):
    body = b"WAVE" + b"".join(parts)
    return name + struct.pack("<I", len(body) if size is None else size) + body


def read_bytes(tmp_path, content):
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    return read_on_edge(path)


RAMP = np.arange(-8, 8, dtype="<i2") * 4000
AS_FLOAT = (RAMP / 32768)[:, np.newaxis].astype(np.float32)


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("container_format", ["WAV", "WAVEX"])
@pytest.mark.parametrize("subtype", SUBTYPES)
def test_every_sample_format_reads_as_libsndfile_reads_it(
    tmp_path, subtype, container_format, channels
):
    data = np.random.default_rng(1).uniform(-1, 1, (501, channels))
    data[:3] = [[-1], [0], [1]]
    path = tmp_path / "a.wav"
    soundfile.write(path, data, 44100, subtype, format=container_format)
    waveform, rate = read_on_edge(path)
    expected, _ = soundfile.read(path, dtype="float32", always_2d=True)
    assert rate == 44100
    assert waveform.dtype == np.float32
    np.testing.assert_array_equal(waveform, expected)


def test_a_file_longer_than_a_block_keeps_its_order(tmp_path):
    data = np.random.default_rng(2).uniform(-1, 1, (500_000, 3))
    path = write_wav(tmp_path / "long.wav", data, subtype="PCM_24")
    expected, _ = soundfile.read(path, dtype="float32")
    np.testing.assert_array_equal(read_on_edge(path)[0], expected)


def test_integer_scales_are_powers_of_two(tmp_path):
    for bits, raw, expected in [
        (8, b"\x00\x80\xff", [-1, 0, 127 / 128]),
        (16, b"\x00\x80\x00\x00\xff\x7f", [-1, 0, 1 - 2**-15]),
        (24, b"\x00\x00\x80\x01\x00\x00\xff\xff\x7f", [-1, 2**-23, 1 - 2**-23]),
        (32, b"\x00\x00\x00\x80\x00\x01\x00\x00", [-1, 2**-23]),
    ]:
        waveform, _ = read_bytes(tmp_path, riff(fmt(bits=bits), part(b"data", raw)))
        np.testing.assert_array_equal(waveform[:, 0], expected)


@pytest.mark.parametrize(
    "parts",
    [
        (fmt(), part(b"data", RAMP.tobytes())),
        (part(b"data", RAMP.tobytes()), fmt()),
        (
            part(b"LIST", b"odd"),
            fmt(),
            part(b"junk", b""),
            part(b"data", RAMP.tobytes()),
        ),
        (fmt(extra=b"\0\0"), part(b"data", RAMP.tobytes()), part(b"id3 ", b"x")),
        (fmt(), fmt(bits=8), part(b"data", RAMP.tobytes()), fmt(bits=8)),
        (part(b"data", RAMP.tobytes()), part(b"data", b"second"), fmt()),
    ],
)
def test_parts_may_come_in_any_order_and_with_others(tmp_path, parts):
    np.testing.assert_array_equal(read_bytes(tmp_path, riff(*parts))[0], AS_FLOAT)


def test_data_of_odd_size_before_fmt_are_followed_by_a_pad_byte(tmp_path):
    content = riff(part(b"data", b"\x00\x80\xff"), fmt(bits=8))
    assert read_bytes(tmp_path, content)[0][:, 0].tolist() == [-1, 0, 127 / 128]


@pytest.mark.parametrize(
    ("data_size", "riff_size"),
    [(33, None), (10**6, None), (2**32 - 1, 2**32 - 1), (0, 8), (0, 0), (2**31, 0)],
)
def test_a_data_size_beyond_the_file_stands_for_what_is_there(
    tmp_path, data_size, riff_size
):
    data = part(b"data", RAMP.tobytes(), size=data_size)
    content = riff(fmt(), data, size=riff_size)
    np.testing.assert_array_equal(read_bytes(tmp_path, content)[0], AS_FLOAT)


def test_a_closed_file_without_samples_is_empty_not_broken(tmp_path):
    content = riff(fmt(channels=2), part(b"data", b""))
    with pytest.raises(UserError, match="no samples: the file is empty or cut"):
        read_bytes(tmp_path, content)


def test_a_last_frame_that_is_cut_short_is_dropped(tmp_path):
    content = riff(fmt(channels=3), part(b"data", RAMP.tobytes()))
    np.testing.assert_array_equal(
        read_bytes(tmp_path, content)[0], AS_FLOAT[:15].reshape(5, 3)
    )


@pytest.mark.parametrize(
    ("bits", "align", "raw", "expected"),
    [
        (12, 2, b"\xf0\x7f", 2047 / 2048),
        (12, 1, b"\xf0\x7f", 2047 / 2048),
        (20, 3, b"\x00\x00\x40", 0.5),
        (20, 4, b"\x00\x00\x00\x40", 0.5),
        (5, 1, b"\xc0", 0.5),
        (24, 9, b"\x00\x00\x40", 0.5),
        (24, 4, b"\x00\x00\x40", 0.5),
    ],
)
def test_odd_depths_sit_in_the_container_that_the_block_size_gives(
    tmp_path, bits, align, raw, expected
):
    content = riff(fmt(bits=bits, align=align), part(b"data", raw))
    assert read_bytes(tmp_path, content)[0].tolist() == [[pytest.approx(expected)]]


def extensible(guid):
    return fmt(0xFFFE, extra=struct.pack("<HHI", 22, 16, 4) + guid)


DATA = part(b"data", RAMP.tobytes())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"RIFF", r"not a WAV file \(begins b'RIFF'\)"),
        (b"RIFF\4\0\0\0AVI ", "not a WAV file"),
        (b"<html><body>", "not a WAV file"),
        (riff(fmt(), DATA, name=b"RIFX"), "is RIFX"),
        (riff(fmt(), DATA, name=b"RF64"), "is RF64"),
        (b"fLaC" + bytes(100), "is FLAC, not plain WAV"),
        (b"OggS" + bytes(100), "is Ogg, not plain WAV"),
        (riff(DATA), "no fmt part"),
        (riff(fmt()), "no data part"),
        (riff(part(b"fmt ", b"\1\0\1\0"), DATA), "fmt part has 4 bytes of 16"),
        (riff(fmt(0xFFFE), DATA), "fmt part has 16 bytes of 40"),
        (riff(extensible(b"\1\0" + b"\7" * 14), DATA), "GUID 01000707"),
        (riff(fmt(7, bits=8), DATA), r"tag 7 \(mu-law\)"),
        (riff(fmt(17, bits=4), DATA), r"tag 17 \(IMA ADPCM\)"),
        (riff(fmt(999), DATA), r"tag 999 \(unknown\)"),
        (riff(fmt(channels=0), DATA), "0 channels at 8000 Hz"),
        (riff(fmt(rate=0), DATA), "1 channels at 0 Hz"),
        (riff(fmt(rate=999), DATA), "a sample rate of 999 Hz, outside 1000 to 768000"),
        (riff(fmt(rate=2**32 - 1), DATA), "a sample rate of 4294967295 Hz"),
        (riff(fmt(bits=0), DATA), "0-bit PCM"),
        (riff(fmt(bits=64), DATA), "64-bit PCM"),
        (riff(fmt(3, bits=16), DATA), "16-bit float"),
        (riff(*[part(b"junk", b"")] * 1001), "more than 1000 parts"),
        (riff(fmt(3, bits=32), part(b"data", b"\0\0\x80\x7f")), "not finite"),
        (riff(fmt(3, bits=64), part(b"data", b"\xff" * 8)), "not finite"),
        (riff(fmt(3, bits=64), part(b"data", struct.pack("<d", 1e300))), "not finite"),
    ],
)
def test_what_is_not_read_is_named_with_what_to_do(tmp_path, content, message):
    with pytest.raises(UserError, match=message) as raised:
        read_bytes(tmp_path, content)
    assert str(raised.value).startswith(f"{tmp_path / 'a.wav'}: ")
    assert str(raised.value).endswith(
        (wav_file.CONVERT, "the file again", "copy it again")
    )


def test_claims_of_a_header_allocate_nothing(tmp_path):
    header = fmt(channels=65535, rate=768_000, bits=8, align=65535)
    content = riff(header, part(b"data", bytes(65535), size=2**32 - 1))
    tracemalloc.start()
    waveform, _ = read_bytes(tmp_path, content)
    assert tracemalloc.get_traced_memory()[1] < 2 * 10**6
    tracemalloc.stop()
    assert waveform.shape == (1, 65535)


def test_mutated_files_are_read_or_refused_and_never_a_traceback(tmp_path):
    rng = np.random.default_rng(3)
    originals = [
        riff(fmt(), part(b"LIST", b"abc"), DATA),
        riff(fmt(3, 2, bits=32), part(b"data", bytes(64))),
        riff(extensible(b"\1\0" + wav_file.wav_format.GUID_TAILS[0]), DATA),
    ]
    outcomes = set()
    for _ in range(1500):
        content = bytearray(originals[rng.integers(len(originals))])
        for position in rng.integers(len(content), size=rng.integers(1, 5)):
            content[position] = rng.choice([0, 1, 127, 128, 255, rng.integers(256)])
        try:
            waveform, rate = read_bytes(tmp_path, content[: rng.integers(20, 200)])
        except UserError:
            outcomes.add("refused")
        else:
            outcomes.add("read")
            assert waveform.nbytes <= 4 * len(content)
            assert rate > 0
    assert outcomes == {"read", "refused"}


@pytest.mark.shared_data
def test_odd_files_of_other_projects_read_as_libsndfile_reads_them(shared_data):
    folder = shared_data / "odd_wavs"
    read = 0
    for path in sorted(folder.rglob("*.wav")):
        try:
            expected, expected_rate = soundfile.read(
                path, dtype="float32", always_2d=True
            )
        except soundfile.LibsndfileError:
            expected = None
        try:
            waveform, rate = read_on_edge(path)
        except UserError as error:
            kinds = ("ADPCM", "law", "RIFX", "RF64")
            assert expected is None or any(kind in str(error) for kind in kinds), error
            assert path.name in str(error)
            continue
        assert rate == expected_rate, path
        np.testing.assert_array_equal(waveform, expected, err_msg=str(path))
        read += 1
    assert read >= 35


# --- the model -----------------------------------------------------------------------


def test_a_clip_gets_the_mean_over_its_segments(model, noise):
    starts = [0, 800, 1600, 2400]
    expected = np.mean([law(noise[s : s + LENGTH]) for s in starts], axis=0)
    probabilities = model.predict(noise, RATE)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)


@pytest.mark.parametrize("samples", [1, 1599, 1600, 1601, 2399, 2400, 3999])
def test_segments_follow_the_shared_law(model, noise, samples):
    parts = np.stack(list(segments.cut(noise[:samples], LENGTH, HOP)))
    expected = np.mean([law(part) for part in parts], axis=0)
    np.testing.assert_allclose(
        model.predict(noise[:samples], RATE), expected, atol=1e-6
    )
    np.testing.assert_allclose(
        model.predict_segments(parts), [law(part) for part in parts], atol=1e-6
    )


def test_a_rest_is_dropped_where_the_metadata_say_so_and_aligned_where_they_do_not(
    flatbuffer, tmp_path, noise
):
    starts = {"align": [0, 800, 1600, 2300], "drop": [0, 800, 1600]}
    for last_segment, places in starts.items():
        path = tmp_path / f"{last_segment}.tflite"
        path.write_bytes(flatbuffer)
        is_drop = last_segment == "drop"
        changes = {"last_segment": last_segment} if is_drop else {}
        container.write_metadata(path, METADATA | changes)
        expected = np.mean([law(noise[s : s + LENGTH]) for s in places], axis=0)
        for load in (EdgeModel, asc_tf.load):
            found = load(path).predict(noise[:3900], RATE)
            np.testing.assert_allclose(found, expected, atol=1e-6)


def test_channels_are_averaged(model, noise):
    stereo = np.stack([noise, -0.5 * noise], axis=1)
    np.testing.assert_allclose(
        model.predict(stereo, RATE), model.predict(0.25 * noise, RATE), atol=1e-6
    )


def test_other_rates_are_resampled(model, noise):
    expected = model.predict(resampling.resample(noise, 44100, RATE), RATE)
    np.testing.assert_array_equal(model.predict(noise, 44100), expected)
    np.testing.assert_array_equal(model.predict(noise, 44100.0), expected)


def test_no_segments_give_no_rows(model):
    empty = np.zeros((0, LENGTH), np.float32)
    assert model.predict_segments(empty).shape == (0, len(LABELS))


@pytest.mark.parametrize(
    ("waveform", "rate", "message"),
    [
        (np.zeros(0), RATE, r"waveform has shape \(0,\): no samples"),
        (np.zeros((5, 0)), RATE, "no samples"),
        (np.float32(0), RATE, r"waveform has shape \(\); give \[samples\]"),
        (np.zeros((1, 2, 3)), RATE, r"waveform has shape \(1, 2, 3\)"),
        (np.array([0, np.nan]), RATE, "waveform holds samples that are not finite"),
        (np.array([0, 1e300]), RATE, "waveform holds samples that are not finite"),
        (np.zeros(9, np.int16), RATE, r"waveform is int16; give floats in \[-1, 1\]"),
        (np.zeros(9), 0, "sample_rate is 0; give a whole number of Hz from 1000"),
        (np.zeros(9), -RATE, "sample_rate is -16000"),
        (np.zeros(9), 2**32 - 1, "sample_rate is 4294967295"),
        (np.zeros(9), 8000.5, "sample_rate is 8000.5"),
        (np.zeros(9), float("nan"), "sample_rate is nan"),
        (np.zeros(9), None, "sample_rate is None"),
    ],
)
def test_a_clip_that_makes_no_sense_is_refused(model, waveform, rate, message):
    with pytest.raises(UserError, match=message):
        model.predict(waveform, rate)


def test_segments_of_another_length_are_refused(model):
    message = r"shape \(2, 5\); give \[n, 1600\] at 16000 Hz"
    with pytest.raises(UserError, match=message):
        model.predict_segments(np.zeros((2, 5)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ["a", "b"]}, r"output is .*\(1, 3\).* say .*\(1, 2\)"),
        ({"segment_samples": 800}, r"input is .*\(1, 1600\).* say .*\(1, 800\)"),
    ],
)
def test_a_model_that_does_not_fit_its_metadata_is_refused(
    flatbuffer, tmp_path, changes, message
):
    path = sealed(tmp_path / "m.tflite", flatbuffer, fields(flatbuffer, **changes))
    with pytest.raises(UserError, match=message) as raised:
        EdgeModel(path)
    assert str(raised.value).startswith(f"{path}: ")


def test_a_flatbuffer_that_litert_refuses_is_a_user_error(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(100))
    container.write_metadata(path, METADATA)
    with pytest.raises(UserError, match="LiteRT refuses the model"):
        EdgeModel(path)


def test_threads_are_bounded(model_file, noise):
    assert EdgeModel(model_file, threads=2).predict(noise, RATE).shape == (3,)
    for threads in (0, 65):
        with pytest.raises(UserError, match=f"threads={threads}: give 1 to 64"):
            EdgeModel(model_file, threads=threads)


def test_without_litert_the_extra_is_named(model_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(UserError, match=r"pip install '\.\[edge\]'"):
        EdgeModel(model_file)


def test_a_bad_file_does_not_stop_the_others(model, noise, tmp_path):
    good = write_wav(tmp_path / "good.wav", noise, rate=8000)
    bad = tmp_path / "bad.wav"
    bad.write_text("no sound in here")
    empty = write_wav(tmp_path / "empty.wav", noise[:0])
    results = model.predict_files([bad, good, empty, str(good)])
    assert [set(result) == {"file", "error"} for result in results] == [1, 0, 1, 0]
    assert results[0]["error"].startswith(f"{bad}: not a WAV file")
    assert results[2]["error"].startswith(f"{empty}: no samples: the file")
    result = results[1]
    expected = model.predict(soundfile.read(good)[0], 8000)
    assert list(result["probabilities"]) == list(LABELS)
    np.testing.assert_array_equal(list(result["probabilities"].values()), expected)
    assert result["label"] == LABELS[expected.argmax()]
    assert result["probability"] == expected.max()
    assert result["seconds"] == len(noise) / 8000
    assert result["ms"] > 0


# --- the command ---------------------------------------------------------------------


def loud(path):
    """All ones: the second label wins, then the first."""
    return write_wav(path, np.ones(LENGTH), subtype="FLOAT")


def test_classify_shows_the_best_labels_in_aligned_lines(model_file, tmp_path, capsys):
    short, longer = loud(tmp_path / "a.wav"), loud(tmp_path / "longer.wav")
    arguments = ["classify", f"--model={model_file}", str(short), str(longer)]
    assert cli.main([*arguments, "--top_k=2"]) == 0
    output = capsys.readouterr()
    first, second = law(np.ones(LENGTH))[[1, 0]]
    width = len(str(longer))
    assert output.out.splitlines() == [
        f"{short!s:<{width}}  métro    {first:.4f}",
        f"{'':<{width}}  airport  {second:.4f}",
        f"{longer}  métro    {first:.4f}",
        f"{'':<{width}}  airport  {second:.4f}",
    ]
    assert output.err == ""


def test_classify_json_prints_one_object_per_file_and_nothing_else(
    model_file, tmp_path, capfd
):
    good, absent = loud(tmp_path / "a.wav"), tmp_path / "absent.wav"
    arguments = ["classify", "--json", str(absent), str(good), f"--model={model_file}"]
    assert cli.main(arguments) == 1
    output = capfd.readouterr()
    failure, result = map(json.loads, output.out.splitlines())
    assert failure == {"file": str(absent), "error": f"{absent}: no such file"}
    assert set(result) == {"file", "label", "probability", "top", "seconds", "ms"}
    assert (result["file"], result["label"]) == (str(good), "métro")
    assert [item["label"] for item in result["top"]] == ["métro", "airport", "park"]
    np.testing.assert_allclose(
        [item["probability"] for item in result["top"]],
        law(np.ones(LENGTH))[[1, 0, 2]],
        atol=1e-6,
    )
    assert result["probability"] == result["top"][0]["probability"]
    assert result["seconds"] == LENGTH / RATE
    assert output.err == f"asc-edge classify: {absent}: no such file\n"


def test_silence_is_classified_with_a_note(model_file, tmp_path, capsys):
    path = write_wav(tmp_path / "silent.wav", np.zeros(LENGTH))
    assert cli.main(["classify", "--json", str(path), f"--model={model_file}"]) == 0
    output = capsys.readouterr()
    result = json.loads(output.out)
    assert result["note"].startswith("silent: every sample is 0")
    assert len(result["top"]) == 3
    assert output.err == f"asc-edge classify: {path}: {result['note']}\n"


def test_a_failed_file_is_named_on_stderr_and_the_rest_is_shown(
    model_file, tmp_path, capsys
):
    good, absent = loud(tmp_path / "a.wav"), tmp_path / "absent.wav"
    arguments = ["classify", f"--model={model_file}", str(absent), str(good)]
    assert cli.main(arguments) == 1
    output = capsys.readouterr()
    assert output.err == f"asc-edge classify: {absent}: no such file\n"
    assert len(output.out.splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "asc-edge classify --model="),
        (["clasify"], "unknown command; did you mean classify?"),
        (["classify", "a.wav"], "--model is missing"),
        (["classify", "--model=M"], "no files"),
        (["classify", "--model=absent", "a.wav"], "--model=absent: no such file"),
        (["classify", "--model=M", "--topk=1", "a.wav"], "--topk: unknown flag"),
        (["classify", "--model=M", "--top_k=0", "a.wav"], "top_k"),
        (["classify", "--model=M", "--top_k=x", "a.wav"], "top_k"),
        (["classify", "--model=M", "--threads=0", "a.wav"], "threads"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_what_is_wrong(
    model_file, capsys, arguments, message
):
    arguments = [word.replace("=M", f"={model_file}") for word in arguments]
    assert cli.main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert message in output.err


def test_a_broken_model_exits_with_1(tmp_path, capsys):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"\0\0\0\0TFL3 and then nothing")
    assert cli.main(["classify", f"--model={path}", "a.wav"]) == 1
    assert f"asc-edge classify: {path}: no metadata" in capsys.readouterr().err


def test_help_and_version_go_to_stdout(capsys):
    from asc_tf.core.version import __version__

    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"
    assert cli.main(["--help"]) == 0
    assert "asc-edge classify" in capsys.readouterr().out
    assert cli.main(["classify", "--help"]) == 0
    output = capsys.readouterr().out
    assert all(f"--{flag}" in output for flag in ("model", "top_k", "json", "threads"))


def run_without_the_training_stack(arguments):
    code = """
import sys
for name in ("tensorflow", "keras", "soundfile", "scipy", "sklearn", "librosa"):
    sys.modules[name] = None
import asc_tf.edge.runtime
from asc_tf.edge.cli import main
sys.exit(main(sys.argv[1:]))
"""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=False,
        timeout=60,
    )


def test_the_edge_runs_without_tensorflow_and_says_nothing_but_the_result(
    model_file, tmp_path
):
    name = os.fsencode(loud(tmp_path / "a.wav"))[:-5] + b"\xff.wav"
    os.rename(tmp_path / "a.wav", name)
    done = run_without_the_training_stack(["classify", f"--model={model_file}", name])
    assert done.stderr == b""
    assert done.returncode == 0
    first, *rest = done.stdout.decode().splitlines()
    assert first.startswith(os.fsdecode(name[:-5]) + "\\udcff.wav")
    assert first.split()[1:] == ["métro", f"{law(np.ones(LENGTH)).max():.4f}"]
    assert len(rest) == 2
