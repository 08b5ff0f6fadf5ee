import dataclasses
import os

import numpy as np
import pytest

from asc_tf.audio import scan as scan_module
from asc_tf.audio.scan import scan
from asc_tf.audio.tensorflow_io import load_tensorflow_io
from asc_tf.config import Audio
from asc_tf.manifest import Clip, Manifest

RATE = 8000
TONE = 0.5 * np.sin(np.arange(RATE) / 10)


def clip(path: str, split="train", **values) -> Clip:
    return Clip(path, label="park", identifier=path, split=split, **values)


def manifest(*clips: Clip) -> Manifest:
    return Manifest(clips, ("park", "tram"))


@pytest.fixture
def folder(tmp_path, write_wav):
    for name in ("a", "b"):
        write_wav(tmp_path / f"{name}.wav", TONE, RATE)
    return tmp_path


@pytest.fixture
def reads(monkeypatch):
    """The names of the files that are read, in order."""
    names: list[str] = []
    inspect_all = scan_module.inspect_all

    def counted(paths, *arguments):
        paths = list(paths)
        names.extend(path.name for path in paths)
        return inspect_all(paths, *arguments)

    monkeypatch.setattr(scan_module, "inspect_all", counted)
    return names


def test_the_columns_say_what_is_in_the_file(folder):
    scanned = scan(manifest(clip("a.wav")), folder, ("train",), Audio()).clips[0]
    status = (folder / "a.wav").stat()
    assert (scanned.size, scanned.mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert (scanned.route, scanned.sample_rate) == ("wav", RATE)
    assert (scanned.samples, scanned.seconds) == (RATE, 1.0)
    assert scanned.peak == pytest.approx(0.5, abs=1e-3)
    assert scanned.reason == ""


def test_only_the_splits_that_are_named_are_read(folder, reads):
    unread = clip("there-is-no-such.wav", "test")
    whole = manifest(clip("a.wav"), unread, clip("b.wav", "validation"))
    scanned = scan(whole, folder, ("train", "validation"), Audio())
    assert sorted(reads) == ["a.wav", "b.wav"]
    assert scanned.clips[1] == unread
    assert [c.path for c in scanned.clips] == [c.path for c in whole.clips]
    assert (scanned.labels, scanned.protocol) == (whole.labels, whole.protocol)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.wav", "no such file"),
        ("nul\0.wav", "no such file"),
        (".", "a folder, not a file"),
        ("empty.wav", "an empty file"),
        ("silent.wav", "silent: every sample is 0"),
        (
            "text.wav",
            "libsndfile cannot read this file (Format not recognised); check",
        ),
        ("cut.wav", "no data part: the file is damaged or cut off"),
        ("cut.flac", "libsndfile cannot read this file ("),
        ("long.wav", "longer than audio.max_seconds = 2"),
    ],
)
def test_a_file_that_cannot_be_used_has_its_reason(folder, write_wav, name, reason):
    import soundfile

    write_wav(folder / "silent.wav", np.zeros(RATE), RATE)
    write_wav(folder / "long.wav", np.tile(TONE, 3), RATE)
    soundfile.write(folder / "whole.flac", TONE, RATE)
    whole = (folder / "whole.flac").read_bytes()
    (folder / "cut.flac").write_bytes(whole[:-1])
    (folder / "cut.wav").write_bytes((folder / "a.wav").read_bytes()[:40])
    (folder / "text.wav").write_text("this is no audio\n" * 10)
    (folder / "empty.wav").touch()
    scanned = scan(
        manifest(clip(name), clip("a.wav")), folder, ("train",), Audio(max_seconds=2.0)
    )
    assert scanned.clips[0].reason.startswith(reason)
    assert scanned.clips_in("train") == scanned.clips[1:]
    assert scanned.excluded == scanned.clips[:1]


TOO_SHORT = (
    "too short: {} ms, and a clip needs 10 ms or more; remove it, or put a longer one "
    "there"
)


@pytest.mark.parametrize(
    ("start", "duration", "reason"),
    [
        (0.0, 0.0, ""),
        (0.5, 0.5, ""),
        (0.9, 0.5, ""),
        (0.99, 0.0, ""),
        (0.9998, 0.0, TOO_SHORT.format("0.2")),
        (0.0, 0.0098, TOO_SHORT.format("9.8")),
        (0.99999, 0.0, "starts at 0.99999 s in a file of 1.00 s"),
        (1.0, 0.0, "starts at 1 s in a file of 1.00 s"),
        (7.5, 1.0, "starts at 7.5 s in a file of 1.00 s"),
        (0.0, 1e-5, "a duration of 1e-05 s holds no sample"),
    ],
)
def test_a_clip_that_holds_no_sample_of_its_file_is_left_out(
    folder, start, duration, reason
):
    row = clip("a.wav", start=start, duration=duration)
    assert scan(manifest(row), folder, ("train",), Audio()).clips[0].reason == reason


def test_clips_of_one_file_share_one_reading(folder, reads):
    rows = [clip("a.wav", start=start, duration=0.25) for start in (0.0, 0.25, 0.5)]
    scanned = scan(
        manifest(*rows, clip("a.wav", start=3.0)),
        folder,
        ("train",),
        Audio(),
    )
    assert reads == ["a.wav"]
    assert [bool(c.reason) for c in scanned.clips] == [False, False, False, True]
    assert {c.samples for c in scanned.clips} == {RATE}
    assert [c.start for c in scanned.clips] == [0.0, 0.25, 0.5, 3.0]


def test_what_was_read_before_is_not_read_again(folder, reads):
    rows = manifest(
        clip("a.wav", duration=0.5), clip("a.wav", start=2.0), clip("b.wav", "test")
    )
    first = scan(rows, folder, ("train",), Audio())
    assert reads == ["a.wav"]
    again = scan(rows, folder, ("train",), Audio(), known=first.clips)
    assert reads == ["a.wav"]
    assert again == first
    tested = scan(first, folder, ("test",), Audio(), known=first.clips)
    assert reads == ["a.wav", "b.wav"]
    assert tested.clips[:2] == first.clips[:2]
    assert tested.clips[2].samples == RATE


def test_a_clip_beyond_the_end_does_not_spoil_its_neighbours_at_the_second_scan(folder):
    rows = manifest(clip("a.wav"), clip("a.wav", start=2.0))
    first = scan(rows, folder, ("train",), Audio())
    assert [bool(c.reason) for c in first.clips] == [False, True]
    again = scan(rows, folder, ("train",), Audio(), known=first.clips)
    assert again == first


@pytest.mark.parametrize("change", ["size", "time"])
def test_a_file_that_changed_is_read_again(folder, reads, write_wav, change):
    rows = manifest(clip("a.wav"), clip("b.wav"))
    first = scan(rows, folder, ("train",), Audio())
    stamp = first.clips[0].mtime_ns
    if change == "size":
        write_wav(folder / "a.wav", TONE[:100], RATE)
    else:
        write_wav(folder / "a.wav", TONE / 2, RATE)
        stamp += 1_000_000
    os.utime(folder / "a.wav", ns=(stamp, stamp))
    reads.clear()
    again = scan(rows, folder, ("train",), Audio(), known=first.clips)
    assert reads == ["a.wav"]
    assert again.clips[0] != first.clips[0]
    assert again.clips[1] == first.clips[1]


def test_a_file_that_is_gone_has_its_reason_though_it_was_read_before(folder):
    rows = manifest(clip("a.wav"))
    first = scan(rows, folder, ("train",), Audio())
    (folder / "a.wav").unlink()
    again = scan(rows, folder, ("train",), Audio(), known=first.clips)
    assert again.clips[0].reason == "no such file"


def test_another_limit_counts_for_files_that_were_read_before(folder):
    rows = manifest(clip("a.wav"))
    good = scan(rows, folder, ("train",), Audio())
    refused = scan(rows, folder, ("train",), Audio(max_seconds=0.5), known=good.clips)
    assert refused.clips[0].reason == "longer than audio.max_seconds = 0.5"
    assert scan(rows, folder, ("train",), Audio(), known=refused.clips) == good


def test_progress_wraps_the_files_that_are_read(folder):
    seen = []

    def progress(results, total):
        assert total == 2
        for result in results:
            seen.append(result)
            yield result

    rows = manifest(clip("a.wav"), clip("b.wav"), clip("b.wav", start=0.5))
    scan(rows, folder, ("train",), Audio(), progress=progress)
    assert [result.samples for result in seen] == [RATE, RATE]


def test_columns_of_an_earlier_scan_do_not_outlive_it(folder):
    row = dataclasses.replace(clip("a.wav"), samples=1, peak=9.0, reason="was bad")
    scanned = scan(manifest(row), folder, ("train",), Audio()).clips[0]
    assert (scanned.samples, scanned.reason) == (RATE, "")


def test_a_file_far_beyond_full_scale_is_left_out(tmp_path, write_wav):
    write_wav(tmp_path / "huge.wav", np.full(800, 1e20), 8000, subtype="DOUBLE")
    clips = (Clip("huge.wav", "bus", "1", split="train"),)
    found = scan(Manifest(clips, ("bus",)), tmp_path, ("train",), Audio())
    assert found.clips[0].reason == "a peak of 1.0e+20, far beyond full scale"


def test_what_libsndfile_reads_of_a_damaged_file_is_used_with_a_note(folder):
    import soundfile

    soundfile.write(folder / "whole.ogg", np.tile(TONE, 9), RATE)
    whole = (folder / "whole.ogg").read_bytes()
    last_page = whole.rindex(b"OggS")
    (folder / "cut.ogg").write_bytes(whole[:last_page])
    rows = manifest(clip("cut.ogg"), clip("whole.ogg"))
    cut, good = scan(rows, folder, ("train",), Audio()).clips
    assert (cut.reason, cut.route) == ("", "sndfile")
    assert 0 < cut.samples < good.samples == 9 * RATE
    assert (good.reason, good.note) == ("", "")
    if load_tensorflow_io():
        assert (cut.note, good.route) == ("cut off", "vorbis")


@pytest.fixture
def kinds(folder):
    """A manifest of a WAV file and one that libsndfile alone reads."""
    import soundfile

    soundfile.write(folder / "law.wav", TONE, RATE, subtype="ALAW")
    return manifest(clip("a.wav"), clip("law.wav"))


@pytest.mark.parametrize(
    ("decoder", "routes", "refused"),
    [
        ("auto", ["wav", "sndfile"], [False, False]),
        ("graph", ["wav", ""], [False, True]),
        ("libsndfile", ["sndfile", "sndfile"], [False, False]),
    ],
)
def test_the_decoder_is_that_of_the_settings(folder, kinds, decoder, routes, refused):
    clips = scan(kinds, folder, ("train",), Audio(decoder=decoder)).clips
    assert [clip.route for clip in clips] == routes
    assert [bool(clip.reason) for clip in clips] == refused


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("auto", "graph", ["law.wav"]),
        ("auto", "libsndfile", ["a.wav"]),
        ("graph", "auto", ["law.wav"]),
        ("libsndfile", "graph", ["a.wav", "law.wav"]),
    ],
)
def test_a_clip_is_read_again_when_another_decoder_is_asked_for(
    folder, kinds, reads, before, after, expected
):
    first = scan(kinds, folder, ("train",), Audio(decoder=before))
    reads.clear()
    audio = Audio(decoder=after)
    again = scan(kinds, folder, ("train",), audio, known=first.clips)
    assert reads == expected
    assert again == scan(kinds, folder, ("train",), audio)


def test_what_libsndfile_has_read_need_not_be_read_again(folder, kinds, reads):
    first = scan(kinds, folder, ("train",), Audio(decoder="libsndfile"))
    reads.clear()
    assert scan(kinds, folder, ("train",), Audio(), known=first.clips) == first
    assert reads == []


def test_a_clip_is_read_again_where_its_decoder_is_missing(folder, reads, monkeypatch):
    rows = manifest(clip("a.wav"))
    first = scan(rows, folder, ("train",), Audio())
    monkeypatch.setattr(scan_module, "list_routes", lambda: ("sndfile",))
    reads.clear()
    scan(rows, folder, ("train",), Audio(), known=first.clips)
    assert reads == ["a.wav"]


def test_a_wav_that_is_cut_is_used_with_a_note(folder):
    contents = (folder / "a.wav").read_bytes()
    (folder / "a.wav").write_bytes(contents[: 44 + RATE])
    found = scan(manifest(clip("a.wav")), folder, ("train",), Audio()).clips[0]
    assert (found.reason, found.samples) == ("", RATE // 2)
    assert found.note == "holds 0.50 s where its header says 1.00 s"
