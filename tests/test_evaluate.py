"""Evaluation: numbers against scikit-learn, files as the contract says."""

import csv
import dataclasses
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
from sklearn import metrics as sk

from asc_tf import evaluate, train
from asc_tf.checkpoint import load_whole
from asc_tf.errors import UserError
from asc_tf.workdir import Workdir


@pytest.fixture(scope="module")
def workdir(tmp_path_factory) -> Workdir:
    corpus = tiny.write_corpus(tmp_path_factory.mktemp("corpus"))
    soundfile.write(
        corpus / "hum" / "long-0.wav", np.tile(tiny.clip("hum", 99), 5), tiny.RATE
    )
    workdir = Workdir(tmp_path_factory.mktemp("run") / "run")
    config = tiny.config(corpus, audio__hop_seconds=0.3, dataset__test_share=0.3)
    train.train(config, workdir)
    return workdir


def rows_of(workdir: Workdir) -> list[dict[str, str]]:
    with (workdir.report / "predictions.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_report_equals_scikit_learn_on_the_predictions(workdir):
    report, page = evaluate.evaluate(workdir)
    assert page == workdir.report / "report.html"
    assert report == json.loads((workdir.report / "report.json").read_text())
    rows = rows_of(workdir)
    labels = report["labels"]
    truth = [row["label"] for row in rows]
    predicted = [row["predicted"] for row in rows]
    probabilities = [[float(row[f"p_{label}"]) for label in labels] for row in rows]
    assert report["n_clips"] == len(rows) > 5
    assert report["accuracy"] == pytest.approx(sk.accuracy_score(truth, predicted))
    assert report["macro_accuracy"] == pytest.approx(
        sk.balanced_accuracy_score(truth, predicted)
    )
    shares = np.array(probabilities)
    shares /= shares.sum(axis=1, keepdims=True)
    assert report["log_loss"] == pytest.approx(
        sk.log_loss(truth, shares, labels=labels), rel=1e-5
    )
    counts = sk.confusion_matrix(truth, predicted, labels=labels)
    np.testing.assert_array_equal(report["confusion_matrix"]["counts"], counts)
    assert [row["file"] for row in rows] == [
        clip.path for clip in workdir.manifest().part("test")
    ]


def test_the_report_has_what_the_contract_says(workdir):
    report, page = evaluate.evaluate(workdir)
    assert set(report) >= {
        "split",
        "n_clips",
        "accuracy",
        "macro_accuracy",
        "log_loss",
        "segments",
        "per_class",
        "per_device",
        "per_city",
        "confusion_matrix",
        "labels",
        "excluded",
        "protocol",
    }
    assert report["split"] == "test"
    assert report["protocol"] == {
        "corpus": "folder",
        "protocol": "official",
        "fold": None,
        "leaky": False,
    }
    assert report["segments"]["n_segments"] >= report["n_clips"]
    assert "<html" in page.read_text()


def test_clips_are_the_mean_of_their_segments(workdir):
    from asc_tf.predictor import load_workdir

    config = workdir.config()
    manifest = evaluate.scanned(config, workdir, "train")
    predictor = load_workdir(workdir.path)
    found = evaluate.predict_part(predictor, config, workdir, manifest, "train")
    assert len(found.segments) > len(found.clips)
    for index, probabilities in enumerate(found.clips):
        mine = found.segments[found.clip_ids == index]
        np.testing.assert_allclose(probabilities, mine.mean(axis=0), atol=1e-7)


def test_a_bad_test_clip_is_left_out_and_counted(workdir, capsys):
    corpus = Path(workdir.config().dataset.dir)
    clip = workdir.manifest().part("test")[0]
    path = corpus / clip.path
    content = path.read_bytes()
    try:
        path.write_bytes(content[:30])
        before, _ = evaluate.evaluate(workdir)
    finally:
        path.write_bytes(content)
    assert [row["file"] for row in before["excluded"]] == [clip.path]
    assert f"left out: {clip.path}: " in capsys.readouterr().err
    after, _ = evaluate.evaluate(workdir)
    assert after["excluded"] == []
    assert after["n_clips"] == before["n_clips"] + 1


def test_a_copy_of_a_training_clip_in_the_test_part_is_named(workdir, capsys):
    corpus, manifest = Path(workdir.config().dataset.dir), workdir.manifest()
    clip, copied = manifest.part("test")[0], manifest.part("train")[0]
    content = (corpus / clip.path).read_bytes()
    try:
        (corpus / clip.path).write_bytes((corpus / copied.path).read_bytes())
        report, _ = evaluate.evaluate(workdir)
    finally:
        (corpus / clip.path).write_bytes(content)
        workdir.write_manifest(manifest)
    said = next(note for note in report["notes"] if "exact copy in another" in note)
    assert f"{copied.path} in train and {clip.path} in test" in said
    assert said in capsys.readouterr().err


def test_recordings_on_both_sides_are_in_the_report(workdir):
    manifest = workdir.manifest()
    names = {manifest.part("test")[0].identifier: ["train", "test"]}
    shared = {"clips": 3, "recordings": 1, "left_out": 0, "names": names}
    shared |= {"clips_present": 3, "recordings_present": 1}
    protocol = {"corpus": "urbansound8k", "leaky": False, "shared_recordings": shared}
    try:
        workdir.write_manifest(dataclasses.replace(manifest, protocol=protocol))
        report, page = evaluate.evaluate(workdir)
    finally:
        workdir.write_manifest(manifest)
    assert report["protocol"] == protocol
    said = "official split; 3 clips of 1 recording are on both sides ("
    assert report["notes"][0].startswith(said)
    assert page.read_text().count("on both sides") == 1
    assert "shared recordings" not in page.read_text()


def test_a_corpus_that_has_moved_is_found_by_its_flag(workdir, tmp_path, capsys):
    corpus = Path(workdir.config().dataset.dir)
    moved = corpus.rename(tmp_path / "moved")
    try:
        assert evaluate.main([f"--workdir={workdir.path}"]) == 1
        assert "give --dataset.dir" in capsys.readouterr().err
        arguments = [f"--workdir={workdir.path}", f"--dataset.dir={moved}"]
        assert evaluate.main(arguments) == 0
    finally:
        moved.rename(corpus)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_other_parts_can_be_evaluated(workdir, split):
    report, _ = evaluate.evaluate(workdir, split)
    assert report["n_clips"] == len(workdir.manifest().part(split))


def test_a_folder_without_a_run_is_refused(tmp_path, capsys):
    assert evaluate.main([f"--workdir={tmp_path}"]) == 2
    assert "no run here" in capsys.readouterr().err
    assert evaluate.main([f"--workdir={tmp_path / 'absent'}"]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert evaluate.main([]) == 2
    assert "--workdir is missing" in capsys.readouterr().err


def test_a_damaged_model_is_named(workdir, tmp_path):
    broken = Workdir(tmp_path / "broken")
    broken.path.mkdir()
    for path in workdir.path.iterdir():
        if path.is_file():
            (broken.path / path.name).write_bytes(path.read_bytes())
    broken.model_file.write_bytes(b"PK\x03\x04 not a model")
    with pytest.raises(UserError, match=r"model\.keras: the model cannot be loaded"):
        evaluate.evaluate(broken)


@pytest.mark.parametrize(("wrote", "is_newer"), [("99.1.0", True), ("3.0.0", False)])
def test_a_model_that_does_not_load_names_the_newer_keras_that_wrote_it(
    workdir, tmp_path, wrote, is_newer
):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(workdir.model_file) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name).replace(b'"Conv2D"', b'"Unknown"')
            if name == "metadata.json":
                content = json.dumps({"keras_version": wrote}).encode()
            new.writestr(name, content)
    with pytest.raises(UserError, match="model cannot be loaded: ") as caught:
        load_whole(path)
    assert (f"Keras {wrote} wrote it" in str(caught.value)) == is_newer


def test_a_mistyped_folder_leaves_the_run_as_it_is(workdir, tmp_path):
    before = workdir.manifest_file.read_text()
    for split in ("validation", "test"):
        with pytest.raises(UserError, match="no usable clip"):
            evaluate.evaluate(workdir, split, {"dataset.dir": str(tmp_path)})
    assert workdir.manifest_file.read_text() == before


def test_a_damaged_history_is_named(workdir):
    whole = workdir.history_file.read_text()
    try:
        workdir.history_file.write_text(whole + "4,x,1,1,1,1\n")
        with pytest.raises(UserError, match=r"history\.csv, row 4, column .*'x'"):
            evaluate.evaluate(workdir)
    finally:
        workdir.history_file.write_text(whole)


def test_what_training_left_out_is_not_named_again(workdir, capsys):
    manifest = workdir.manifest()
    clip = manifest.part("train")[0]
    clips = tuple(
        dataclasses.replace(c, reason="for a test") if c == clip else c
        for c in manifest.clips
    )
    try:
        workdir.write_manifest(dataclasses.replace(manifest, clips=clips))
        evaluate.evaluate(workdir)
    finally:
        workdir.write_manifest(manifest)
    assert "left out" not in capsys.readouterr().err


def test_a_random_split_that_was_forced_is_called_leaky(tmp_path, capsys):
    corpus = tiny.write_corpus(tmp_path / "corpus", recordings=4)
    config = tiny.config(
        corpus, dataset__protocol="random", dataset__allow_leaky=True, train__epochs=1
    )
    workdir = Workdir(tmp_path / "run")
    train.train(config, workdir)
    identifiers = {
        split: {clip.identifier for clip in workdir.manifest().part(split)}
        for split in ("train", "test")
    }
    assert identifiers["train"] & identifiers["test"]
    assert evaluate.main([f"--workdir={workdir.path}"]) == 0
    assert "(LEAKY protocol)" in capsys.readouterr().out
    report = json.loads((workdir.report / "report.json").read_text())
    assert report["protocol"]["leaky"] is True
    assert "LEAKY protocol" in (workdir.report / "report.html").read_text()
