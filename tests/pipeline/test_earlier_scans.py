import dataclasses
import os
import shutil

import pytest
import tiny

from asc_tf.audio import scan
from asc_tf.pipeline.earlier_scans import (
    MAX_RUNS,
    find_runs_beside,
    read_scanned_clips,
)
from asc_tf.pipeline.prepare import prepare
from asc_tf.workdir import Workdir


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return tiny.write_corpus(tmp_path_factory.mktemp("corpus"), recordings=6)


@pytest.fixture
def inspected(monkeypatch) -> list[str]:
    """Names of the files that are read."""
    names: list[str] = []
    original = scan.inspect_all

    def inspect_all(paths, *others):
        names.extend(path.name for path in paths)
        return original(paths, *others)

    monkeypatch.setattr(scan, "inspect_all", inspect_all)
    return names


def begin(config, folder, time=0):
    """Scan a run, write its table as training does, and return the run."""
    workdir = Workdir(folder)
    run = prepare(config, workdir)
    workdir.begin(config, run.manifest)
    if time:
        os.utime(workdir.manifest_file, (time, time))
    return run


def test_a_run_takes_the_scan_of_another_run_beside_it(corpus, tmp_path, inspected):
    config = tiny.config(corpus)
    first = begin(config, tmp_path / "first")
    assert len(inspected) == len(first.manifest.clips_in("train", "validation"))
    inspected.clear()
    second = begin(config.replace({"train.seed": 3}), tmp_path / "second")
    assert inspected == []
    assert second.manifest == first.manifest


def test_only_what_no_run_has_scanned_is_read(corpus, tmp_path, inspected):
    own = shutil.copytree(corpus, tmp_path / "corpus")
    config = tiny.config(own)
    run = begin(config, tmp_path / "runs" / "first")
    inspected.clear()
    changed, *_ = run.manifest.clips_in("train")
    os.utime(own / changed.path, (1, 1))
    other = begin(config.replace({"dataset.seed": 5}), tmp_path / "runs" / "second")
    known = {clip.path for clip in run.manifest.clips_in("train", "validation")}
    wanted = {clip.path for clip in other.manifest.clips_in("train", "validation")}
    assert wanted - known
    names = {path.rpartition("/")[2] for path in (wanted - known) | {changed.path}}
    assert set(inspected) == names & {path.rpartition("/")[2] for path in wanted}


def test_runs_on_another_corpus_or_without_a_readable_table_do_not_count(
    corpus, tmp_path, inspected
):
    config = tiny.config(corpus)
    begin(config, tmp_path / "damaged").workdir.manifest_file.write_text("nothing")
    begin(config, tmp_path / "foreign").workdir.config_file.write_text("nothing")
    copy = shutil.copytree(corpus, tmp_path / "copy")
    begin(tiny.config(copy), tmp_path / "other")
    # Another decoder: files may have another route.
    begin(config.replace({"audio.decoder": "graph"}), tmp_path / "decoder")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    inspected.clear()
    run = begin(config, tmp_path / "run")
    assert len(inspected) == len(run.manifest.clips_in("train", "validation"))


def test_the_newest_table_that_has_a_clip_counts(corpus, tmp_path):
    config = tiny.config(corpus)
    first = begin(config, tmp_path / "first").manifest
    # The newer run has scanned three clips, which had changed.
    sizes = {clip.path: int(place < 3) for place, clip in enumerate(first.clips)}
    clips = [dataclasses.replace(c, size=sizes[c.path]) for c in first.clips]
    newer = Workdir(tmp_path / "newer")
    newer.begin(config, dataclasses.replace(first, clips=tuple(clips)))
    known = read_scanned_clips([newer.path, tmp_path / "first"])
    wanted = {clip.path: sizes[clip.path] or clip.size for clip in first.clips}
    assert {c.path: c.size for c in known} == {p: s for p, s in wanted.items() if s}


def test_the_newest_runs_come_first_and_a_run_is_not_beside_itself(corpus, tmp_path):
    config = tiny.config(corpus)
    for number in range(MAX_RUNS + 2):
        begin(config, tmp_path / f"run{number}", time=100 + number)
    last = Workdir(tmp_path / f"run{MAX_RUNS + 1}")
    names = [path.name for path in find_runs_beside(last, config)]
    assert names == [f"run{number}" for number in range(MAX_RUNS, 0, -1)]
    assert find_runs_beside(Workdir(tmp_path / "none" / "run"), config) == []
