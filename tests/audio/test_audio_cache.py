import dataclasses
import functools
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from wavs import encoded, noise, save

from asc_tf.audio import cache_format
from asc_tf.audio.cache import Row, WaveformCache
from asc_tf.audio.read import read
from asc_tf.audio.scan import scan
from asc_tf.config import Audio
from asc_tf.core.errors import UserError
from asc_tf.dsp import channels
from asc_tf.dsp.preprocessing import downmix_and_resample
from asc_tf.manifest import Clip, Manifest

AUDIO = Audio(sample_rate=16_000)
LEAST = 2e-38


@functools.cache
def decoder(dtype: str, width: int):
    return tf.function(
        lambda text: cache_format.decode(text, dtype, width),
        input_signature=[tf.TensorSpec([], tf.string)],
    )


def decoded(contents: bytes, dtype: str, width: int = 1) -> np.ndarray:
    return decoder(dtype, width)(tf.constant(contents)).numpy()


def scanned(folder: Path, *paths: str, audio: Audio = AUDIO, **values) -> list[Row]:
    """The rows of some files, one per view."""
    clips = tuple(Clip(path, "park", path, split="train", **values) for path in paths)
    found = scan(Manifest(clips, ("park",)), folder, ("train",), audio).clips
    assert not [clip.reason for clip in found if clip.reason]
    return [
        Row(clip, view)
        for clip in found
        for view in channels.list_views(audio.channels, clip.channels)
    ]


def of_row(cache: WaveformCache, row: Row, audio: Audio = AUDIO) -> np.ndarray:
    contents = cache.path(row).read_bytes()
    return decoded(contents, audio.cache_dtype, channels.count_channels(audio.channels))


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    save(folder / "a.wav", encoded("WAV", "PCM_16", 5000, 2))
    save(folder / "law.wav", encoded("WAV", "ALAW", 4000))
    return folder


@pytest.fixture
def cache(tmp_path, corpus):
    return WaveformCache(tmp_path / "cache", corpus, AUDIO)


def cached_files(cache: WaveformCache) -> list[Path]:
    return [path for path in cache.folder.rglob("*") if path.is_file()]


# --- the file ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "step"), [("int16", 0.5 / 32767), ("float16", 2**-12), ("float32", 0)]
)
def test_a_waveform_returns_within_the_precision_of_its_type(dtype, step):
    for peak in (1e-30, 1e-6, 0.5, 1.0, 40.0, 1e6):
        waveform = (noise(3000)[:, 0] * peak / 0.9).astype(np.float32)
        back = decoded(b"".join(cache_format.encode(waveform, dtype)), dtype)
        assert back.dtype == np.float32
        error = np.abs(back.astype(np.float64) - waveform).max()
        # A graph takes for 0 what is below the normal floats.
        assert error <= step * np.abs(waveform).max() * 1.01 + LEAST


@pytest.mark.parametrize("dtype", cache_format.DTYPES)
def test_two_channels_return_as_they_were_and_share_one_scale(dtype):
    waveform = noise(1000, 2).astype(np.float32) * [[1.0, 0.01]]
    back = decoded(
        b"".join(cache_format.encode(waveform.astype(np.float32), dtype)), dtype, 2
    )
    assert back.shape == (1000, 2)
    np.testing.assert_allclose(
        back, waveform, atol=1e-3 if dtype == "float16" else 2e-5
    )


@pytest.mark.parametrize("dtype", cache_format.DTYPES)
def test_the_least_and_the_largest_floats_stay_finite_and_small_or_large(dtype):
    for value in (0.0, 1e-45, 1e-40, 3e38):
        waveform = np.full(10, value, np.float32)
        contents = b"".join(cache_format.encode(waveform, dtype))
        back = decoded(contents, dtype)
        assert np.isfinite(back).all()
        np.testing.assert_allclose(back, waveform, rtol=1e-3, atol=LEAST)


@pytest.mark.parametrize("dtype", cache_format.DTYPES)
def test_only_a_whole_file_of_the_type_asked_for_is_whole(dtype):
    contents = b"".join(cache_format.encode(noise(100, 2).astype(np.float32), dtype))
    head = contents[: cache_format.HEADER.size]
    assert cache_format.is_complete(head, len(contents), dtype)
    for other in set(cache_format.DTYPES) - {dtype}:
        assert not cache_format.is_complete(head, len(contents), other)
    assert not cache_format.is_complete(head, len(contents) - 1, dtype)
    assert not cache_format.is_complete(head, len(contents) + 1, dtype)
    assert not cache_format.is_complete(head[:-1], len(contents), dtype)
    assert not cache_format.is_complete(bytes(len(head)), len(contents), dtype)
    assert not cache_format.is_complete(b"", 0, dtype)


# --- what is cached ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "dtype"),
    [
        *[("mono", dtype) for dtype in cache_format.DTYPES],
        *[("mid_side", "float32"), ("split", "int16")],
    ],
)
def test_a_cached_clip_is_the_decoded_clip(tmp_path, corpus, setting, dtype):
    audio = Audio(sample_rate=16_000, channels=setting, cache_dtype=dtype)
    cache = WaveformCache(tmp_path / "cache", corpus, audio)
    rows = scanned(corpus, "a.wav", "law.wav", audio=audio)
    cache.fill(rows)
    assert len(cached_files(cache)) == len(rows) == (4 if setting == "split" else 2)
    for row in rows:
        expected = downmix_and_resample(
            *read(corpus / row.clip.path, audio), row.view, 16_000
        )
        tolerance = {"int16": 2e-5, "float16": 3e-4, "float32": 0}[dtype]
        np.testing.assert_allclose(of_row(cache, row, audio), expected, atol=tolerance)


def test_a_clip_of_a_longer_file_is_its_span(tmp_path, corpus, cache):
    rows = [
        row
        for start in (0.0, 0.05)
        for path in ("a.wav", "law.wav")
        for row in scanned(corpus, path, start=start, duration=0.1)
    ]
    cache.fill(rows)
    assert len({cache.path(row) for row in rows}) == 4
    for row in rows:
        whole, rate = read(corpus / row.clip.path, AUDIO)
        first = round(row.clip.start * rate)
        span = whole[first : first + round(0.1 * rate)]
        expected = downmix_and_resample(span, rate, "mono", 16_000)
        np.testing.assert_allclose(of_row(cache, row), expected, atol=2e-5)


def test_a_cached_clip_is_not_decoded_again(corpus, cache, monkeypatch):
    rows = scanned(corpus, "a.wav", "law.wav")
    cache.fill(rows)
    stamps = {path: path.stat().st_mtime_ns for path in cached_files(cache)}
    monkeypatch.setattr(WaveformCache, "_write_views", None)
    cache.fill(rows)
    assert {path: path.stat().st_mtime_ns for path in cached_files(cache)} == stamps


def test_a_clip_that_is_in_the_table_twice_is_cached_once(corpus, cache):
    row = scanned(corpus, "a.wav")[0]
    other = row._replace(clip=dataclasses.replace(row.clip, label="tram"))
    seen = []

    def progress(done, total):
        seen.extend([*done, total])
        return seen

    cache.fill([row, other] * 50, progress)
    assert seen == [None, 1] and len(cached_files(cache)) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"sample_rate": 22_050},
        {"cache_dtype": "float16"},
        {"channels": "left"},
        {"decoder": "libsndfile"},
    ],
    ids=str,
)
def test_another_setting_never_finds_a_cached_clip(tmp_path, corpus, cache, change):
    before = scanned(corpus, "a.wav")[0]
    audio = dataclasses.replace(AUDIO, **change)
    after = scanned(corpus, "a.wav", audio=audio)[0]
    other = WaveformCache(tmp_path / "cache", corpus, audio)
    assert other.path(after) != cache.path(before)
    other.fill([after])
    assert not cache.path(before).exists()
    expected = downmix_and_resample(
        *read(corpus / "a.wav", audio), after.view, audio.sample_rate
    )
    np.testing.assert_allclose(of_row(other, after, audio), expected, atol=3e-4)


@pytest.mark.parametrize("change", ["time", "size", "place"])
def test_a_file_that_changed_never_finds_its_cached_clip(
    tmp_path, cache, corpus, change
):
    path = corpus / "a.wav"
    before = scanned(corpus, "a.wav")[0]
    cache.fill([before])
    stamp = before.clip.mtime_ns
    if change == "place":
        other = tmp_path / "other"
        other.mkdir()
        save(other / "a.wav", path.read_bytes())
        os.utime(other / "a.wav", ns=(stamp, stamp))
        moved = WaveformCache(cache.folder, other, AUDIO)
        assert moved.path(scanned(other, "a.wav")[0]) != cache.path(before)
        return
    if change == "time":
        contents, stamp = encoded("WAV", "PCM_16", 10_000, 1), stamp + 1
        assert len(contents) == before.clip.size
    else:
        contents = encoded("WAV", "PCM_16", 4000)
    save(path, contents)
    os.utime(path, ns=(stamp, stamp))
    after = scanned(corpus, "a.wav")[0]
    assert cache.path(after) != cache.path(before)
    cache.fill([after])
    expected = downmix_and_resample(*read(path, AUDIO), "mono", 16_000)
    np.testing.assert_allclose(of_row(cache, after), expected, atol=2e-5)


def test_a_file_that_changed_after_its_scan_is_not_cached(corpus, cache):
    rows = scanned(corpus, "a.wav")
    stamp = rows[0].clip.mtime_ns + 1
    os.utime(corpus / "a.wav", ns=(stamp, stamp))
    with pytest.raises(UserError, match=r"a\.wav: has changed since it was scanned"):
        cache.fill(rows)
    assert not cached_files(cache)


@pytest.mark.parametrize("name", ["a.wav", "law.wav"])
def test_a_file_that_is_gone_after_its_scan_is_named(corpus, cache, name):
    rows = scanned(corpus, name)
    (corpus / name).unlink()
    with pytest.raises(UserError, match=name):
        cache.fill(rows)
    assert not cached_files(cache)


# --- what is not whole ---------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    ["cut", "empty", "garbage", "zeros", "longer", "version", "type"],
)
def test_a_cached_file_that_is_not_whole_is_written_again(corpus, cache, damage):
    row = scanned(corpus, "a.wav")[0]
    cache.fill([row])
    good = cache.path(row).read_bytes()
    bad = {
        "cut": good[:-1],
        "empty": b"",
        "garbage": np.random.default_rng(0).bytes(len(good)),
        "zeros": bytes(len(good)),
        "longer": good + b"\0",
        "version": b"asc_tf\0\0" + good[8:],
        "type": b"".join(
            cache_format.encode(noise(5000)[:, 0].astype(np.float32), "float16")
        ),
    }[damage]
    cache.path(row).write_bytes(bad)
    cache.fill([row])
    assert cache.path(row).read_bytes() == good


# --- where it cannot be written ------------------------------------------------------


def test_a_folder_that_cannot_be_made_is_named(tmp_path, corpus):
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "cache"
    with pytest.raises(UserError) as raised:
        WaveformCache(folder, corpus, AUDIO).fill(scanned(corpus, "a.wav"))
    assert str(raised.value).startswith(f"audio.cache_dir = {folder}: cannot be")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere"
)
def test_a_folder_that_may_not_be_written_to_is_named(tmp_path, corpus):
    folder = tmp_path / "cache"
    folder.mkdir(mode=0o500)
    with pytest.raises(UserError, match=r"audio\.cache_dir = .*: cannot be written to"):
        WaveformCache(folder, corpus, AUDIO).fill(scanned(corpus, "a.wav"))


def test_where_there_is_no_room_it_is_said_and_nothing_half_is_left(corpus, cache):
    resource = pytest.importorskip("resource")
    rows = scanned(corpus, "a.wav", "law.wav")
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, usual[1]))
    try:
        with pytest.raises(UserError, match=r"audio\.cache_dir = .*or free disk space"):
            cache.fill(rows)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert cached_files(cache) == []
    cache.fill(rows)
    assert len(cached_files(cache)) == 2


def test_nothing_is_written_where_there_is_nothing_to_cache(cache):
    cache.fill([])
    assert not cache.folder.exists()
