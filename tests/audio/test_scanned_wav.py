"""A scanned WAV file is decoded without parsing to the same samples as with it."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from wavs import SUBTYPES, encoded, extensible, fmt, part, riff, save

from asc_tf.audio import scanned_wav, wav_samples
from asc_tf.audio.decode import Variants, decode_clip
from asc_tf.audio.inspect import inspect
from asc_tf.config import Audio
from asc_tf.manifest import Clip

RATE = 8000
RAMP = part(b"data", np.arange(-400, 400, dtype="<i2").tobytes())


def scan_clip(path: Path, **columns) -> Clip:
    """A row of the manifest as the scan of the file fills it in."""
    scanned = inspect(path)
    assert not scanned.error
    names = ("route", "sample_rate", "channels", "samples")
    columns |= {name: getattr(scanned, name) for name in names}
    return Clip(path.name, "bus", "a", size=path.stat().st_size, **columns)


def decode(path: Path, clip: Clip, view: str, parses: bool) -> np.ndarray:
    """The view of a clip at its own rate, by the parser or without it."""
    wav = scanned_wav.locate_clip(path, clip)
    assert wav is not None
    route = "wav" if parses else wav.layout.route
    return decode_clip(
        tf.io.read_file(str(path)),
        tf.constant(route),
        tf.constant(clip.sample_rate, tf.int64),
        tf.constant([clip.start, clip.duration], tf.float64),
        tf.constant(view),
        Audio(sample_rate=clip.sample_rate, channels=view),
        Variants((route,), (view,), (clip.sample_rate,)),
        tf.constant([wav.first_byte, wav.samples], tf.int64),
    ).numpy()


def assert_decodes_alike(path: Path, view: str = "mono", **columns) -> None:
    clip = scan_clip(path, **columns)
    parsed, scanned = (decode(path, clip, view, parses) for parses in (True, False))
    assert scanned.dtype == np.float32
    np.testing.assert_array_equal(scanned, parsed)


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_every_format_is_decoded_as_the_parser_decodes_it(tmp_path, subtype):
    for channels, view in ((1, "mono"), (2, "mono"), (2, "mid_side"), (5, "mono")):
        contents = encoded("WAV", subtype, 1001, channels, RATE)
        assert_decodes_alike(save(tmp_path / "clip.wav", contents), view)


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_number_of_samples_is_decoded(tmp_path, subtype, channels):
    for samples in range(81, 89):
        contents = encoded("WAV", subtype, samples, channels, RATE)
        assert_decodes_alike(save(tmp_path / "clip.wav", contents))


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_a_long_clip_is_decoded_in_blocks(tmp_path, monkeypatch, subtype):
    monkeypatch.setattr(wav_samples, "BLOCK", 1000)
    path = save(tmp_path / "clip.wav", encoded("WAV", subtype, 2503, 2, RATE))
    expected = decode(path, scan_clip(path), "mono", parses=True)
    assert expected.shape == (2503,)
    assert_decodes_alike(path)
    assert_decodes_alike(path, "stereo", start=0.0625, duration=0.2)


@pytest.mark.parametrize(
    ("start", "duration", "expected"),
    [
        (0.0, 0.0, (0, 800)),
        (0.05, 0.0, (400, 800)),
        (0.05, 0.025, (400, 600)),
        (0.05, 9.0, (400, 800)),
        (0.05, 1e300, (400, 800)),
        (0.05, 1e-9, (400, 400)),
        (5.0, 1.0, (800, 800)),
        (0.0003125, 0.0003125, (2, 4)),
    ],
)
def test_a_clip_is_the_span_of_its_file(tmp_path, start, duration, expected):
    path = save(tmp_path / "clip.wav", riff(fmt(), RAMP))
    clip = scan_clip(path, start=start, duration=duration)
    assert clip.bounds == expected
    assert_decodes_alike(path, start=start, duration=duration)


@pytest.mark.parametrize(
    "contents",
    [
        riff(extensible(), RAMP),
        riff(part(b"bext", bytes(603)), fmt(), part(b"fact", bytes(4)), RAMP),
        riff(fmt(), RAMP, part(b"LIST", bytes(50))),
        riff(fmt(), RAMP, size=0)[:-1],
        riff(fmt(bits=12, align=2), RAMP),
    ],
    ids=["extensible", "parts before", "parts behind", "cut off", "12 bits"],
)
def test_every_kind_of_header_leads_to_the_samples(tmp_path, contents):
    path = save(tmp_path / "clip.wav", contents)
    wav = scanned_wav.locate_clip(path, scan_clip(path))
    assert contents.startswith(wav.header)
    assert wav.header.endswith(b"data" + RAMP[4:8])
    assert_decodes_alike(path)


@pytest.mark.parametrize(
    "other", [{"sample_rate": 16000}, {"channels": 2}, {"samples": 799}]
)
def test_a_header_that_differs_from_the_scan_is_left_to_the_parser(tmp_path, other):
    path = save(tmp_path / "clip.wav", riff(fmt(), RAMP))
    clip = scan_clip(path)
    assert scanned_wav.locate_clip(path, clip) is not None
    changed = Clip(**{**vars(clip), **other})
    assert scanned_wav.locate_clip(path, changed) is None


def test_a_file_that_is_gone_or_has_a_very_long_header_is_left_to_the_parser(tmp_path):
    path = save(tmp_path / "clip.wav", riff(part(b"JUNK", bytes(70_000)), fmt(), RAMP))
    clip = scan_clip(path)
    assert scanned_wav.locate_clip(path, clip) is None
    path.unlink()
    assert scanned_wav.locate_clip(path, clip) is None


@pytest.mark.shared_data
def test_real_files_are_decoded_alike(shared_data):
    decoded = 0
    for path in sorted((shared_data / "odd_wavs").rglob("*.wav")):
        scanned = inspect(path)
        if scanned.refusal or scanned.route != "wav":
            continue
        assert_decodes_alike(path)
        decoded += 1
    assert decoded > 20
