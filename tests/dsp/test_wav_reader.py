"""WAV files read without TensorFlow and libsndfile."""

import struct
import tracemalloc

import numpy as np
import pytest
import soundfile
from wavs import read_on_edge

from asc_tf.core.errors import UserError
from asc_tf.dsp import wav_reader

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
    path = tmp_path / "long.wav"
    soundfile.write(path, data, 16000, subtype="PCM_24")
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


@pytest.mark.parametrize(("size", "promised"), [(None, 4), (400, 200)])
def test_a_stream_has_the_samples_that_its_header_promises(tmp_path, size, promised):
    content = riff(fmt(), part(b"data", bytes(8), size=size))
    path = tmp_path / "cut.wav"
    path.write_bytes(content)
    for stream in (wav_reader.open_stream(path), wav_reader.open_contents(content)):
        assert (stream.samples, stream.promised) == (4, promised)


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
        (wav_reader.CONVERT, "the file again", "copy it again")
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
        riff(extensible(b"\1\0" + wav_reader.wav_format.GUID_TAILS[0]), DATA),
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
