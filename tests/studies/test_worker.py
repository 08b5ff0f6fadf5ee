import json
import shutil

import pytest
import tiny

from asc_tf import config as configuration
from asc_tf.audio import scan as scanning
from asc_tf.core.errors import UserError
from asc_tf.core.files import write_text
from asc_tf.evaluation.evaluate import evaluate
from asc_tf.pipeline.earlier_scans import read_scanned_clips
from asc_tf.studies import worker
from asc_tf.studies.runner import StudyRun
from asc_tf.studies.worker import SCORES, score_validation
from asc_tf.workdir import Workdir


@pytest.fixture
def own_run(tiny_run, tmp_path):
    """A copy of the run, on a corpus of its own."""
    own = Workdir(tmp_path / "run")
    shutil.copytree(tiny_run.path, own.path)
    config = own.config()
    corpus = shutil.copytree(config.dataset.dir, tmp_path / "corpus")
    write_text(own.config_file, config.replace({"dataset.dir": str(corpus)}).to_toml())
    return own


@pytest.mark.slow
def test_a_sweep_scores_the_validation_split_without_any_test_clip(own_run, tmp_path):
    expected, _ = evaluate(own_run, "validation")
    for clip in own_run.manifest().clips:
        if clip.split == "test":
            (tmp_path / "corpus" / clip.path).unlink()
    scores = score_validation(own_run)
    assert {name: scores[name] for name in SCORES} == pytest.approx(
        {name: expected[name] for name in SCORES}
    )
    assert scores["n_clips"] == expected["n_clips"]
    assert scores["epoch"] == expected["model_epoch"]["epoch"]
    assert not (own_run.report / "report.json").exists()


def test_a_finished_run_has_its_result_and_its_report(tmp_path):
    features = tiny.write_features(tmp_path / "features")
    config = tiny.features_config(features, train__epochs=1)
    workdir = Workdir(tmp_path / "run")
    job = {"config": config.flat(), "workdir": str(workdir.path), "siblings": []}
    job = json.loads(json.dumps(job))
    run = StudyRun("run", workdir, config)
    assert run.read_result("test") is None
    worker.run_job({**job, "score": "test"})
    report = json.loads((workdir.report / "report.json").read_bytes())
    result = run.read_result("test")
    assert result["scores"]["accuracy"] == report["accuracy"]
    assert result["peak_bytes"] > 10**7
    assert run.read_result("validation") is None
    # A run whose report was removed is not finished.
    shutil.rmtree(workdir.report)
    assert run.read_result("test") is None
    scores = score_validation(workdir)
    assert scores["n_clips"] == sum(tiny.CLIPS["validation"])
    assert 0 <= scores["accuracy"] <= 1


def test_clips_without_labels_have_no_scores_and_the_run_fails(tmp_path, monkeypatch):
    features = tiny.write_features(tmp_path / "features")
    config = tiny.features_config(features, train__epochs=1)
    monkeypatch.setattr("asc_tf.training.train.train", lambda *_, **__: None)
    unlabelled = {"accuracy": None, "log_loss": None}
    monkeypatch.setattr(
        "asc_tf.evaluation.evaluate.evaluate", lambda _: (unlabelled, None)
    )
    monkeypatch.setattr(worker, "share_scan", lambda *_: None)
    workdir = Workdir(tmp_path / "run")
    job = {"config": config.flat(), "workdir": str(workdir.path), "siblings": []}
    with pytest.raises(UserError, match="clips of the test split have no labels"):
        worker.run_job({**job, "score": "test"})
    assert not (workdir.path / worker.RESULT).exists()


def test_the_scans_of_other_runs_are_used(own_run, tmp_path, monkeypatch):
    manifest = own_run.manifest()
    root, audio = tmp_path / "corpus", own_run.config().audio
    splits = ("train", "validation", "test")
    scanned = scanning.scan(manifest, root, splits, audio)
    own_run.write_manifest(scanned)
    known = read_scanned_clips([tmp_path / "none", own_run.path])
    assert sorted(c.path for c in known) == sorted(c.path for c in scanned.clips)
    inspected = []
    inspect_all = scanning.inspect_all

    def inspect(paths, *arguments):
        inspected.extend(paths)
        return inspect_all(paths, *arguments)

    monkeypatch.setattr(scanning, "inspect_all", inspect)
    other = Workdir(tmp_path / "other")
    config = configuration.read(own_run.config_file)
    from asc_tf.pipeline.prepare import prepare

    run = prepare(config, other, known)
    assert inspected == []
    assert run.manifest.clips_in("train") == scanned.clips_in("train")
    other.begin(config, run.manifest)
    worker.share_scan(other, known)
    assert inspected == []
    assert other.manifest().clips_in("test") == scanned.clips_in("test")
    # A file that has changed is read again.
    changed = scanned.clips_in("test")[0]
    (root / changed.path).write_bytes(b"RIFF")
    worker.share_scan(other, known)
    assert inspected == [root / changed.path]
