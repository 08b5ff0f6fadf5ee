"""What may be kept in memory: the container's limit, and all that is kept."""

import os
from pathlib import Path

import pytest
import tensorflow as tf
import tiny

from asc_tf.core import memory
from asc_tf.frontend import FrontendLayer
from asc_tf.pipeline import training_data
from asc_tf.pipeline.examples import StoredExamples
from asc_tf.pipeline.feature_size import evaluated_bytes, stored_bytes
from asc_tf.pipeline.feature_store import StoredFeatures
from asc_tf.pipeline.prepare import prepare
from asc_tf.pipeline.run import Run
from asc_tf.workdir import Workdir

if not hasattr(os, "sysconf"):
    pytest.skip("the memory of Windows is not read", allow_module_level=True)

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
V1, V2 = "sys/fs/cgroup/memory", "sys/fs/cgroup"


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/", {f"{V2}/memory.max": "1000000\n"}, 10**6),
        ("0::/", {f"{V2}/memory.max": "max\n"}, MACHINE),
        (
            "0::/a/b",
            {f"{V2}/a/memory.max": "2000000", f"{V2}/a/b/memory.max": "max"},
            2 * 10**6,
        ),
        (
            "5:cpu,cpuacct:/\n4:memory:/a\n0::/",
            {
                f"{V1}/memory.limit_in_bytes": str(2**63 - 4096),
                f"{V1}/a/memory.limit_in_bytes": "3000000",
            },
            3 * 10**6,
        ),
        # The path is the host's, the folder the container's.
        ("4:memory:/docker/1", {f"{V1}/memory.limit_in_bytes": "5000000"}, 5 * 10**6),
        ("0::/", {f"{V2}/memory.max": str(2 * MACHINE)}, MACHINE),
        ("1:name=systemd:/", {}, MACHINE),
        ("", {}, MACHINE),
    ],
)
def test_the_limit_is_the_smallest_of_machine_and_control_groups(
    tmp_path, groups, files, expected
):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(groups)
    assert memory.find_memory_limit(tmp_path) == expected
    assert memory.find_memory_limit(tmp_path / "absent") == MACHINE


def test_free_memory_is_what_the_machine_and_every_control_group_leave(tmp_path):
    group = tmp_path / V2 / "a"
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/a")
    (tmp_path / "proc/meminfo").write_text("MemFree: 1 kB\nMemAvailable:  5000 kB\n")
    assert memory.find_free_memory(tmp_path) == 5000 * 1024
    (group / "memory.max").write_text("3000000")
    (group / "memory.current").write_text("2500000")
    assert memory.find_free_memory(tmp_path) == 500000
    # Files that the system keeps in memory can be dropped.
    (group / "memory.stat").write_text("anon 7\ninactive_file 400000\n")
    assert memory.find_free_memory(tmp_path) == 900000
    stat = "inactive_file 400000\nactive_file 50000\n"
    (group / "memory.stat").write_text(stat)
    assert memory.find_free_memory(tmp_path) == 950000
    # Version 1 counts the groups below this one with those lines only.
    totals = "total_inactive_file 500000\ntotal_active_file 60000\n"
    (group / "memory.stat").write_text(stat + totals)
    assert memory.find_free_memory(tmp_path) == 1060000
    (group / "memory.current").write_text("9000000")
    assert memory.find_free_memory(tmp_path) == 0
    assert 0 < memory.find_free_memory(tmp_path / "absent") <= MACHINE


def test_half_of_the_memory_may_be_filled(monkeypatch):
    monkeypatch.setattr(memory, "find_memory_limit", lambda: 1000)
    assert memory.fits_memory(500)
    assert not memory.fits_memory(501)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return tiny.write_corpus(tmp_path_factory.mktemp("corpus"), recordings=4)


CHANGES = {"audio__segment_seconds": 0.3, "audio__hop_seconds": 0.1}


def examples_of(corpus, folder, **changes):
    config = tiny.config(corpus, **changes)
    workdir = Workdir(folder / "run")
    run = prepare(config, workdir)
    layer = FrontendLayer(config.audio.sample_rate, config.frontend)
    layer.build((None, config.audio.segment_samples))
    return config, run.manifest, training_data.make_examples(run, layer)


def is_cached(dataset: tf.data.Dataset) -> bool:
    """Whether one of the steps of a pipeline is a cache."""
    kinds = {type(dataset).__name__}
    while inputs := dataset._inputs():
        (dataset,) = inputs
        kinds.add(type(dataset).__name__)
    return "CacheDataset" in kinds


def test_the_features_of_validation_are_counted_to_the_byte_and_kept_if_they_fit(
    corpus, tmp_path, monkeypatch
):
    config, manifest, examples = examples_of(corpus, tmp_path, **CHANGES)
    clips = manifest.clips_in("validation")
    found = examples.validation()
    assert is_cached(found)
    rows = [inputs["features"].numpy() for inputs, _ in found]
    assert evaluated_bytes(clips, config) == sum(row.nbytes for row in rows)
    overlapping = config.replace({"evaluate.overlap": 0.9})
    assert evaluated_bytes(clips, overlapping) > evaluated_bytes(clips, config)
    centre = config.replace({"evaluate.segments": "centre"})
    assert evaluated_bytes(clips, centre) == rows[0][0].nbytes * len(clips)
    monkeypatch.setattr(memory, "find_memory_limit", lambda: 1000)
    *_, examples = examples_of(corpus, tmp_path, **CHANGES)
    assert not is_cached(examples.validation())


def test_clips_are_decoded_anew_where_they_and_validation_do_not_fit_together(
    corpus, tmp_path, monkeypatch, capsys
):
    config, manifest, _ = examples_of(corpus, tmp_path, **CHANGES)
    clips = manifest.clips_in("train")
    decoded = 4 * tiny.RATE * sum(clip.seconds for clip in clips)
    features = evaluated_bytes(manifest.clips_in("validation"), config)
    for room, said in ((decoded + features, False), (decoded + features - 1, True)):
        monkeypatch.setattr(memory, "find_memory_limit", lambda room=room: 2 * room)
        training_data.make_waveforms(Run(config, Workdir(tmp_path / "run"), manifest))
        assert ("are decoded again in each epoch" in capsys.readouterr().out) == said


def test_stored_features_of_validation_are_counted(tmp_path, monkeypatch):
    folder = tiny.write_features(tmp_path / "features")
    config = tiny.features_config(folder, train__segments="all")
    stored = StoredFeatures.open(folder)
    layer = FrontendLayer(config.audio.sample_rate, config.frontend)
    layer.build((None, config.audio.segment_samples))
    sizes = [stored_bytes(stored, split) for split in ("train", "validation")]
    rows = stored.dataset("validation").as_numpy_iterator()
    assert sizes[1] == sum(row["features"].nbytes for row in rows)
    for room, kept in (
        (sum(sizes), (True, True)),
        (sum(sizes) - 1, (False, True)),
        (sizes[1] - 1, (False, False)),
    ):
        monkeypatch.setattr(memory, "find_memory_limit", lambda room=room: 2 * room)
        examples = StoredExamples(stored, layer, config)
        found = examples._cached_rows is not None, is_cached(examples.validation())
        assert found == kept
