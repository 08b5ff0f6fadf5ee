import json

import numpy as np
import pytest
import soundfile
from wavs import RATE, by_libsndfile, encoded, fmt, noise, part, riff, save

from asc_tf import cli
from asc_tf.audio import sndfile
from asc_tf.audio.inspect import inspect
from asc_tf.audio.read import read
from asc_tf.config import Audio
from asc_tf.dsp import streaming

KINDS = {
    "A-law": ("WAV", "ALAW", "FILE"),
    "mu-law": ("WAV", "ULAW", "FILE"),
    "IMA ADPCM": ("WAV", "IMA_ADPCM", "FILE"),
    "Microsoft ADPCM": ("WAV", "MS_ADPCM", "FILE"),
    "GSM 6.10": ("WAV", "GSM610", "FILE"),
    "G.721": ("WAV", "G721_32", "FILE"),
    "RF64 PCM_16": ("RF64", "PCM_16", "FILE"),
    "RF64 PCM_24": ("RF64", "PCM_24", "FILE"),
    "RIFX PCM_16": ("WAV", "PCM_16", "BIG"),
    "RIFX PCM_24": ("WAV", "PCM_24", "BIG"),
    "RIFX FLOAT": ("WAV", "FLOAT", "BIG"),
    "AIFF PCM_16": ("AIFF", "PCM_16", "FILE"),
    "AIFF PCM_24": ("AIFF", "PCM_24", "FILE"),
    "AIFF FLOAT": ("AIFF", "FLOAT", "FILE"),
    "AU": ("AU", "PCM_16", "FILE"),
    "CAF": ("CAF", "PCM_24", "FILE"),
    "CAF ALAC": ("CAF", "ALAC_16", "FILE"),
    "W64": ("W64", "PCM_32", "FILE"),
    "Opus": ("OGG", "OPUS", "FILE"),
}


def made(kind: str, samples=10_007, channels=1) -> bytes:
    container, subtype, endian = KINDS[kind]
    rate = 48_000 if subtype == "OPUS" else RATE
    return encoded(container, subtype, samples, channels, rate, endian)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_graph_does_not_decode_is_read_as_libsndfile_reads_it(tmp_path, kind):
    for channels in (1,) if kind[0] == "G" else (1, 2):
        path = save(tmp_path / "clip", made(kind, channels=channels))
        expected, rate = soundfile.read(path, dtype="float32", always_2d=True)
        found = inspect(path)
        container, subtype, _ = KINDS[kind]
        assert (found.error, found.note, found.decoder) == ("", "", "libsndfile")
        assert (found.container, found.encoding) == (container, subtype)
        assert (found.sample_rate, found.channels) == (rate, channels)
        assert found.samples == len(expected)
        assert found.peak == pytest.approx(np.abs(expected).max())
        assert found.rms == pytest.approx(np.sqrt(np.mean(expected**2)), rel=1e-4)
        ours, our_rate = read(path, Audio())
        assert our_rate == rate
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize(
    "kind", ["A-law", "Microsoft ADPCM", "AIFF PCM_24", "CAF ALAC", "Opus"]
)
def test_blocks_make_the_whole(tmp_path, kind, monkeypatch):
    path = save(tmp_path / "clip", made(kind, 30_001, 2))
    expected, _ = soundfile.read(path, dtype="float32", always_2d=True)
    whole = sndfile.measure(path, 600.0)
    monkeypatch.setattr(streaming, "BLOCK_VALUES", 2000)
    ours, _ = sndfile.read(path, (0.0, 0.0), 600.0)
    np.testing.assert_array_equal(ours, expected)
    in_blocks = sndfile.measure(path, 600.0)
    assert in_blocks[:-1] == whole[:-1]
    assert in_blocks.rms == pytest.approx(whole.rms)


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"), ("FLAC", "PCM_24")],
)
def test_blocks_of_a_compressed_file_make_the_whole(
    tmp_path, container, subtype, monkeypatch
):
    path = save(tmp_path / "clip", encoded(container, subtype, 60_000, 2))
    expected, _ = soundfile.read(path, dtype="float32", always_2d=True)
    monkeypatch.setattr(streaming, "BLOCK_VALUES", 5000)
    ours, _ = sndfile.read(path, (0.0, 0.0), 600.0)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("start", [0.0, 0.3, 0.999])
@pytest.mark.parametrize("kind", ["A-law", "IMA ADPCM", "Opus"])
def test_a_span_is_cut_from_the_whole_wherever_its_blocks_lie(
    tmp_path, kind, start, monkeypatch
):
    path = save(tmp_path / "clip", made(kind, 60_000))
    whole, rate = soundfile.read(path, dtype="float32", always_2d=True)
    monkeypatch.setattr(streaming, "BLOCK_VALUES", 1000)
    for duration in (0.0, 1e-4, 0.05, 0.7, 99.0):
        ours, _ = sndfile.read(path, (start, duration), 600.0)
        first = round(start * rate)
        end = first + round(duration * rate) if duration else None
        np.testing.assert_array_equal(ours, whole[first:end])


def test_a_flac_that_does_not_say_how_long_it_is_is_read_to_its_end(tmp_path):
    contents = encoded("FLAC", "PCM_16", 300_000)
    expected, _ = by_libsndfile(contents)
    streamed = bytearray(contents)
    streamed[21] &= 0xF0
    streamed[22:26] = bytes(4)
    path = save(tmp_path / "streamed.flac", bytes(streamed))
    found = inspect(path)
    assert (found.error, found.decoder) == ("", "libsndfile")
    assert found.samples == len(expected)
    np.testing.assert_array_equal(read(path, Audio())[0], expected)


@pytest.mark.parametrize("kind", ["A-law", "RF64 PCM_16", "AIFF PCM_16", "Opus"])
def test_a_file_over_the_limit_is_refused_before_all_of_it_is_read(tmp_path, kind):
    rate = 48_000 if kind == "Opus" else RATE
    at, over = (save(tmp_path / str(n), made(kind, rate + n)) for n in (0, 1000))
    assert inspect(at, 1.0).error == ""
    assert inspect(over, 1.0).error == "longer than audio.max_seconds = 1"
    with pytest.raises(sndfile.RefusedError, match="longer than"):
        sndfile.read(over, (0.0, 0.0), 1.0)


def test_a_header_that_claims_four_gigabytes_gives_what_is_there(tmp_path):
    data = part(b"data", bytes(100), size=2**32 - 1)
    path = save(tmp_path / "claims.wav", riff(fmt(6, bits=8), data, size=2**32 - 1))
    found = inspect(path)
    assert (found.error, found.samples) == ("", 100)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_cut_is_read_as_far_as_libsndfile_goes(tmp_path, kind):
    for size in (0, 4, 44, 500):
        path = save(tmp_path / "cut", made(kind, 3000)[:size])
        found = inspect(path)
        try:
            expected, _ = soundfile.read(path, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, RuntimeError):
            expected = np.empty((0, 1))
        if not len(expected):
            assert found.error
            continue
        assert found.samples == len(expected)
        np.testing.assert_array_equal(read(path, Audio())[0], expected)


def test_levels_are_of_all_channels(tmp_path):
    values = np.stack([noise(5000)[:, 0] / 4, np.full(5000, -0.5)], axis=1)
    path = tmp_path / "clip.aiff"
    soundfile.write(path, values, RATE, "PCM_24")
    found = inspect(path)
    assert found.peak == pytest.approx(0.5)
    assert found.rms == pytest.approx(np.sqrt(np.mean(values**2)), rel=1e-5)


def test_the_command_names_the_decoder_and_the_note(tmp_path, capsys):
    law = save(tmp_path / "law.wav", made("A-law"))
    assert cli.main(["inspect", str(law), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["decoder"], record["encoding"]) == ("libsndfile", "ALAW")
    assert "note" not in record
    contents = encoded("WAV", "PCM_16", RATE)
    cut = save(tmp_path / "cut.wav", contents[: 44 + RATE])
    assert cli.main(["inspect", str(cut)]) == 0
    said = capsys.readouterr().out
    assert "decoder: graph; holds 0.50 s where its header says 1.00 s" in said
    assert cli.main(["inspect", str(law), "--audio.decoder=graph"]) == 1
    assert "WAVE format 6 (A-law) is not decoded" in capsys.readouterr().err


def test_the_command_refuses_a_file_that_no_split_takes(tmp_path, capsys):
    path = tmp_path / "loud.wav"
    soundfile.write(path, np.full(5000, 1e7, np.float32), RATE, "FLOAT")
    assert cli.main(["inspect", str(path), "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["error"] == "a peak of 1.0e+07, far beyond full scale"
    assert err == f"asc-tf inspect: {path}: {json.loads(out)['error']}\n"


# --- files of other projects ---------------------------------------------------------


def depth(path) -> int:
    """Bits of a sample that float32 keeps; of a lossy encoding 16."""
    deep = ("PCM_24", "PCM_32", "FLOAT", "DOUBLE")
    return 24 if soundfile.info(path).subtype in deep else 16


UNREADABLE = {
    "test-44100Hz-le-1ch-4bytes-early-eof-no-data.wav",
    "test-44100Hz-le-1ch-4bytes-incomplete-chunk.wav",
    "test-8000Hz-le-3ch-5S-36bit.wav",
    "test-8000Hz-le-3ch-5S-45bit.wav",
    "test-8000Hz-le-3ch-5S-53bit.wav",
    "test-8000Hz-le-3ch-5S-64bit.wav",
}


@pytest.mark.shared_data
@pytest.mark.parametrize("decoder", ["auto", "libsndfile"])
def test_odd_files_sound_as_libsndfile_reads_them(shared_data, decoder):
    paths = [p for p in (shared_data / "odd_wavs").rglob("*") if p.is_file()]
    assert len(paths) > 60
    refused = set()
    for path in paths:
        found = inspect(path, decoder=decoder)
        try:
            expected, rate = soundfile.read(path, always_2d=True)
        except soundfile.LibsndfileError:
            assert found.error
            refused.add(path.name)
            continue
        assert not found.refusal, path
        assert (found.sample_rate, found.samples) == (rate, len(expected)), path
        ours, _ = read(path, Audio(decoder=decoder))
        step = 2.0 ** (1 - depth(path))
        np.testing.assert_allclose(ours, expected, rtol=0, atol=step, err_msg=str(path))
        assert found.peak == pytest.approx(np.abs(expected).max(), abs=step)
        rms = np.sqrt(np.mean(np.square(expected)))
        assert found.rms == pytest.approx(rms, rel=1e-4, abs=step)
    assert refused == UNREADABLE
