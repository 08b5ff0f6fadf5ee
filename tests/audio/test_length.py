"""A file that ends before its header says is noted, whatever reads it."""

import io

import numpy as np
import pytest
import soundfile

from asc_tf.audio.inspect import inspect
from asc_tf.audio.length import count_missing_bytes

KINDS = [
    *(("AIFF", "PCM_16"), ("AU", "PCM_16"), ("RF64", "PCM_16"), ("W64", "PCM_16")),
    *(("WAV", "ALAW"), ("WAV", "IMA_ADPCM"), ("OGG", "OPUS"), ("WAV", "PCM_24")),
]


def contents_of(container: str, subtype: str) -> bytes:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 96000)
    stream = io.BytesIO()
    soundfile.write(stream, samples, 48000, format=container, subtype=subtype)
    return stream.getvalue()


@pytest.mark.parametrize(("container", "subtype"), KINDS)
def test_a_file_cut_off_is_read_as_far_as_it_goes_and_noted(
    tmp_path, container, subtype
):
    contents = contents_of(container, subtype)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.write_bytes(contents)
    cut.write_bytes(contents[: len(contents) * 6 // 10])
    for decoder in ("auto", "libsndfile"):
        good, found = (inspect(path, decoder=decoder) for path in (whole, cut))
        assert (good.error, good.note, found.error) == ("", "", "")
        assert found.note
        assert 0 < found.samples < good.samples


def test_a_length_that_was_left_open_is_no_missing_part():
    for size in (0, 2**31 - 1, 2**32 - 1):
        head = b"RIFF" + size.to_bytes(4, "little") + b"WAVEfmt "
        assert count_missing_bytes(head, 1000) == 0
    assert count_missing_bytes(b".snd" + bytes(3) + b"\x18" + b"\xff" * 4, 1000) == 0


@pytest.mark.parametrize("head", [b"", b"RIFF", b"FORM\0\0\1\0", b"no audio at all"])
def test_what_does_not_say_its_length_lacks_nothing(head):
    assert count_missing_bytes(head, len(head)) == 0


def test_the_missing_bytes_are_counted():
    head = b"RIFF" + (992).to_bytes(4, "little") + b"WAVEfmt "
    assert count_missing_bytes(head, 900) == 100
    assert count_missing_bytes(head, 1000) == count_missing_bytes(head, 1001) == 0
