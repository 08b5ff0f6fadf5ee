"""Number of processors."""

import os
from pathlib import Path

import pytest

from asc_tf.audio import cache, inspect
from asc_tf.config import Audio
from asc_tf.core.processors import count_processors
from asc_tf.datasets import duplicates
from asc_tf.manifest import Clip
from asc_tf.pipeline import options
from asc_tf.serving.settings import Settings


def test_the_processors_that_a_process_may_use_are_counted(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5}, raising=False)
    assert count_processors() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert count_processors() == 6


@pytest.fixture
def asked(monkeypatch):
    """Threads of each pool, none of which begins."""
    threads = []

    def refuse(count):
        threads.append(count)
        raise KeyError

    for module in (cache, duplicates, inspect):
        monkeypatch.setattr(module, "ThreadPoolExecutor", refuse)
    return threads


def test_all_pools_have_a_thread_for_each_of_them(monkeypatch, asked):
    for module in (inspect, duplicates):
        monkeypatch.setattr(module, "count_processors", lambda: 5)
    with pytest.raises(KeyError):
        inspect.inspect_all([], 600.0)
    with pytest.raises(KeyError):
        duplicates.find_duplicates([], Path())
    assert asked == [5, 5]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert Settings(Path("unused")).workers == 3
    dataset = options.set_options(options.tf.data.Dataset.range(1))
    assert dataset.options().threading.private_threadpool_size == 12


def test_fewer_clips_are_decoded_at_a_time_where_they_would_fill_the_memory(
    tmp_path, monkeypatch, asked
):
    monkeypatch.setattr(cache, "count_processors", lambda: 64)
    monkeypatch.setattr(cache, "find_memory_limit", lambda: 8 * 10**9)
    short = Clip("a.wav", "bus", "a", samples=480_000, channels=2)
    long = Clip("b.wav", "bus", "b", samples=28_800_000, channels=2)
    files = cache.WaveformCache(tmp_path, tmp_path, Audio())
    for clips in ([short], [short, long]):
        with pytest.raises(KeyError):
            files.fill([cache.Row(clip, "mono") for clip in clips])
    monkeypatch.setattr(cache, "find_memory_limit", lambda: 10**6)
    with pytest.raises(KeyError):
        files.fill([cache.Row(long, "mono")])
    assert asked == [64, 4, 1]
