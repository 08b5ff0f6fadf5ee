"""Number of processors."""

import os
from pathlib import Path

import pytest

from asc_tf.audio import cache, inspect
from asc_tf.config import Audio
from asc_tf.core import processors
from asc_tf.core.processors import count_processors
from asc_tf.datasets import duplicates
from asc_tf.manifest import Clip
from asc_tf.pipeline import options
from asc_tf.serving.settings import Settings

CGROUPS = "sys/fs/cgroup"


def test_the_processors_that_a_process_may_use_are_counted(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5}, raising=False)
    assert count_processors(tmp_path) == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert count_processors(tmp_path) == 6


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/", {"cpu.max": "1000 100000\n"}, 1),
        ("0::/", {"cpu.max": "max 100000\n"}, 8),
        ("0::/", {"cpu.max": "6400000 100000\n"}, 8),
        # A group below another one has no more than that.
        ("0::/a/b", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3),
        ("0::/a/b", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "20000 10000"}, 2),
        (
            "5:cpu,cpuacct:/a\n4:memory:/\n0::/",
            {"cpu/a/cpu.cfs_quota_us": "250000", "cpu/a/cpu.cfs_period_us": "100000"},
            3,
        ),
        (
            "5:cpu:/",
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            8,
        ),
        # The path is the host's, the folder the container's.
        ("0::/docker/1", {"cpu.max": "400000 100000"}, 4),
        ("5:cpu:/", {"cpu/cpu.cfs_quota_us": "100000"}, 8),
        ("0::/", {"cpu.max": ""}, 8),
        ("0::/", {"cpu.max": "100000 0"}, 8),
        ("0::/", {"cpu.max": "some text of today"}, 8),
        ("0::/", {"cpu.max": "\xff"}, 8),
        ("no group", {}, 8),
        ("", {}, 8),
    ],
)
def test_quotas_of_control_groups_bound_the_processors(
    tmp_path, monkeypatch, groups, files, expected
):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for name, text in files.items():
        path = tmp_path / CGROUPS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="latin-1")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(groups)
    assert count_processors(tmp_path) == expected
    assert count_processors(tmp_path / "absent") == 8


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
    monkeypatch.setattr(processors, "find_limit_files", lambda *_: [])
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
