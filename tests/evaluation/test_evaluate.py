"""Evaluation: numbers against scikit-learn, files as the contract says."""

import base64
import contextlib
import csv
import dataclasses
import io
import json
import re
import shutil
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import tensorflow as tf
import tiny
from sklearn import metrics as sk

from asc_tf import cli, datasets
from asc_tf.config import Config
from asc_tf.core.errors import UsageError, UserError
from asc_tf.dsp.segments import find_starts
from asc_tf.evaluation.evaluate import evaluate
from asc_tf.evaluation.load import load
from asc_tf.evaluation.predictor import predict_stored
from asc_tf.evaluation.scoring import (
    find_model_epoch,
    group_devices,
    make_prediction_rows,
)
from asc_tf.manifest import Clip, Manifest
from asc_tf.pipeline import corpus_checks
from asc_tf.pipeline.evaluation_data import scan_splits
from asc_tf.pipeline.run import Run
from asc_tf.report import figures
from asc_tf.training.model_file import load_whole
from asc_tf.workdir import Workdir

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAA"
    "SUVORK5CYII="
)


@pytest.fixture(autouse=True)
def _blank_pictures(monkeypatch):
    """Spares all reports but that of `evaluated` the drawing."""
    for name in ("draw_confusion_matrix", "draw_per_class", "draw_history"):
        monkeypatch.setattr(figures, name, lambda *args, **named: PIXEL)


@pytest.fixture(scope="module")
def workdir(tiny_run, tmp_path_factory) -> Workdir:
    """A copy of the run, in which recordings are cities and takes are devices."""
    folder = tmp_path_factory.mktemp("evaluate")
    workdir = Workdir(shutil.copytree(tiny_run.path, folder / "run"))
    config = tiny_run.config()
    corpus = shutil.copytree(config.dataset.dir, folder / "corpus")
    changes = {"dataset.dir": str(corpus), "audio.hop_seconds": 0.3}
    # Only `evaluated` takes the time for the validation split.
    changes["evaluate.calibrate"] = False
    workdir.config_file.write_text(config.replace(changes).to_toml())
    manifest = workdir.manifest()
    # Of four segments, whose mean is not their median.
    lengthened = manifest.clips_in("test")[0]
    samples = np.concatenate([tiny.clip(label, 5, 0.4) for label in tiny.LABELS])
    soundfile.write(corpus / lengthened.path, samples, tiny.RATE)
    clips = []
    for clip in manifest.clips:
        city, device = re.search(r"(\d+)-(\d)", clip.path).groups()
        clips.append(dataclasses.replace(clip, city=city, device=device))
    workdir.write_manifest(dataclasses.replace(manifest, clips=tuple(clips)))
    return workdir


@pytest.fixture(scope="module")
def evaluated(workdir):
    """The report of the test split, its page, and what the terminal said."""
    with (
        contextlib.redirect_stdout(io.StringIO()) as stdout,
        contextlib.redirect_stderr(io.StringIO()) as stderr,
    ):
        words = [str(workdir.path), "--evaluate.calibrate=true"]
        assert cli.main(["evaluate", *words]) == 0
    report = json.loads((workdir.report / "report.json").read_text())
    page = (workdir.report / "report.html").read_text()
    return report, page, rows_of(workdir), (stdout.getvalue(), stderr.getvalue())


@pytest.fixture
def corpus(workdir):
    """The folder of the clips, which is whole again after the test, as is the run."""
    folder, manifest = Path(workdir.config().dataset.dir), workdir.manifest()
    contents = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    yield folder
    for path, content in contents.items():
        if not path.is_file() or path.read_bytes() != content:
            path.write_bytes(content)
    workdir.write_manifest(manifest)


def rows_of(workdir: Workdir, folder: str = "") -> list[dict[str, str]]:
    path = workdir.report / folder / "predictions.csv"
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_each_mistake_of_the_report_can_be_seen_and_heard(evaluated):
    _, page, rows, _ = evaluated
    wrong = [row for row in rows if row["label"] != row["predicted"]]
    assert len(wrong) == page.count("data:audio/mpeg;base64,") > 0
    assert page.count("data:image/png;base64,") == 2 * len(wrong)
    assert "cannot be" not in page


def test_the_report_equals_scikit_learn_on_the_predictions(workdir, evaluated):
    report, _, rows, _ = evaluated
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
        clip.path for clip in workdir.manifest().clips_in("test")
    ]


def test_the_report_has_what_the_contract_says(evaluated):
    report, page, _, _ = evaluated
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
        "protocol": "drawn by recording, seed 0",
        "fold": None,
        "leaky": False,
    }
    assert report["segments"]["n_segments"] >= report["n_clips"]
    assert "<html" in page


def test_the_report_says_which_epoch_the_model_is_of(workdir, evaluated):
    best = min(tiny.history(workdir), key=lambda row: row["val_loss"])["epoch"]
    config = workdir.config()
    kept = {"epoch": best, "epochs": 6}
    assert find_model_epoch(workdir, config) == {"keep": "best"} | kept
    last = config.replace({"train.keep": "last"})
    kept = {"epoch": 6, "epochs": 6}
    assert find_model_epoch(workdir, last) == {"keep": "last"} | kept
    report, page, _, _ = evaluated
    note = f"epoch {best:.0f} of 6, the one with the lowest validation loss."
    assert report["notes"][0].endswith(note)
    assert note in page


@pytest.mark.parametrize("name", ["device", "city"])
def test_devices_and_cities_have_the_scores_of_their_own_clips(evaluated, name):
    report, _, rows, _ = evaluated
    groups = sorted({row[name] for row in rows})
    assert len(groups) > 1
    assert [row[name] for row in report[f"per_{name}"]] == groups
    for found in report[f"per_{name}"]:
        mine = [row for row in rows if row[name] == found[name]]
        right = [row["label"] == row["predicted"] for row in mine]
        assert found["n_clips"] == len(mine)
        assert found["accuracy"] == pytest.approx(np.mean(right))


def test_screen_and_page_show_the_same_figures_in_the_same_order(workdir, evaluated):
    report, page, _, (said, _) = evaluated
    line, *_, place = said.splitlines()
    assert place == str(workdir.report / "report.html")
    # The screen has the intervals beside the figures.
    ends = re.findall(r" \(([\d.]+) to ([\d.]+)( %)?\)", line)
    assert [float(end) for *pair, _ in ends for end in pair] == [
        round(end * (1 if name == "log_loss" else 100), 3 if name == "log_loss" else 1)
        for name in ("accuracy", "macro_accuracy", "log_loss")
        for end in report["intervals"][name]
    ]
    line = re.sub(r" \(.*?\)", "", line)
    names = re.findall("<dt>(.*?)</dt>", page)
    values = re.findall("<dd>(.*?)</dd>", page)
    shown = [f"{n} {v}" for n, v in zip(names, values, strict=True)]
    assert names[:3] == ["accuracy", "macro-averaged accuracy", "log loss"]
    assert line == f"test: {values[3]} clips, {', '.join(shown[:3])}"


def test_training_and_validation_clips_can_be_alone_or_in_one_table(workdir, capsys):
    words = [f"--workdir={workdir.path}", "--split=validation, train"]
    assert cli.main(["evaluate", *words]) == 0
    rows = rows_of(workdir, "train_validation")
    parts = [(row["split"], row["file"]) for row in rows]
    manifest = workdir.manifest()
    assert parts == [
        (split, clip.path)
        for split in ("train", "validation")
        for clip in manifest.clips_in(split)
    ]
    both = json.loads((workdir.report / "train_validation" / "report.json").read_text())
    assert both["n_clips"] == len(rows)
    assert both["segments"]["n_segments"] > len(rows)
    said = capsys.readouterr().out
    for found in both["per_split"]:
        alone, page = evaluate(workdir, found["split"])
        assert page == workdir.report / found["split"] / "report.html"
        assert alone == json.loads((page.parent / "report.json").read_text())
        assert alone["n_clips"] == len(manifest.clips_in(found["split"]))
        assert found == {name: alone[name] for name in found}
        assert f"{found['split']}: {found['n_clips']} clips, accuracy" in said
        low, high = found["intervals"]["accuracy"]
        assert low <= found["accuracy"] <= high
    right = [row["label"] == row["predicted"] for row in rows]
    assert both["accuracy"] == pytest.approx(np.mean(right))


def test_a_split_that_there_is_not_is_wrong_usage(workdir, capsys):
    assert (
        cli.main(["evaluate", f"--workdir={workdir.path}", "--split=train,tset"]) == 2
    )
    assert (
        "'tset' must be one of train, validation, test; did you"
        in capsys.readouterr().err
    )


@pytest.fixture
def without_labels(workdir):
    """The run, whose test clips have no labels."""
    manifest = workdir.manifest()
    clips = tuple(
        dataclasses.replace(clip, label="") if clip.split == "test" else clip
        for clip in manifest.clips
    )
    workdir.write_manifest(dataclasses.replace(manifest, clips=clips))
    yield workdir
    workdir.write_manifest(manifest)


def test_a_test_part_without_labels_gets_predictions_and_no_scores(
    workdir, evaluated, without_labels, tmp_path, capsys
):
    assert (workdir.report / "per_class.png").is_file()
    before = [row["predicted"] for row in evaluated[2]]
    arguments = [f"--workdir={workdir.path}"]
    assert cli.main(["evaluate", *arguments]) == 0
    said = capsys.readouterr().out
    assert f"test: {len(before)} clips without labels: predictions, but no" in said
    assert str(workdir.report / "predictions.csv") in said
    rows = rows_of(workdir)
    assert [row["predicted"] for row in rows] == before
    assert {row["label"] for row in rows} == {""}
    report = json.loads((workdir.report / "report.json").read_text())
    assert report["has_labels"] is False
    assert report["accuracy"] is None
    assert sum(report["n_predicted"].values()) == report["n_clips"] == len(rows)
    assert "No scores." in (workdir.report / "report.html").read_text()
    assert not list(workdir.report.glob("confusion*")) + list(
        workdir.report.glob("per_class*")
    )
    table = tmp_path / "submission.csv"
    assert (
        cli.main(["submission", str(workdir.path), f"--output={table}", "--top_k=1"])
        == 0
    )
    assert "no labels, so there are no scores" in capsys.readouterr().out
    guesses = [line.split(",")[1] for line in table.read_text().splitlines()[1:]]
    assert guesses == before


def test_clips_without_labels_are_not_mixed_with_others(without_labels, capsys):
    words = [f"--workdir={without_labels.path}", "--split=validation,test"]
    assert cli.main(["evaluate", *words]) == 2
    assert "the test split of this run has no labels" in capsys.readouterr().err


@pytest.fixture
def without_hum(workdir, corpus):
    """How many test clips of a label the corpus has lost: all of them."""
    gone = [clip for clip in workdir.manifest().clips_in("test") if clip.label == "hum"]
    for clip in gone:
        (corpus / clip.path).unlink()
    return len(gone)


def test_a_label_whose_files_are_gone_keeps_the_report_as_it_was(
    workdir, evaluated, without_hum, capsys
):
    files = [*workdir.report.glob("*"), workdir.manifest_file]
    before = {path: path.read_bytes() for path in files if path.is_file()}
    assert cli.main(["evaluate", f"--workdir={workdir.path}"]) == 1
    said = capsys.readouterr().err
    assert f"({without_hum} of {without_hum} of hum)" in said
    assert "more than dataset.max_missing = 0.1" in said
    assert {path: path.read_bytes() for path in before} == before


def test_a_partial_report_says_so_first(workdir, without_hum, capsys):
    words = [f"--workdir={workdir.path}", "--dataset.max_missing=1"]
    assert cli.main(["evaluate", *words]) == 0
    first, *_ = capsys.readouterr().out.splitlines()
    counted = f"hum {without_hum} of {without_hum}"
    assert first.startswith(f"PARTIAL: {without_hum} of ") and counted in first
    report = json.loads((workdir.report / "report.json").read_text())
    assert list(report)[:2] == ["split", "partial"]
    assert first == f"PARTIAL: {report['partial']}"
    page = (workdir.report / "report.html").read_text()
    header, _ = page.split("</header>")
    assert "PARTIAL report.</strong>" in header and counted in header


def test_clips_that_are_left_out_are_limited_in_all_and_of_each_label():
    def manifest(lost):
        return Manifest(
            tuple(
                Clip(f"{label}{n}", label, f"{label}{n}", split="test", reason=reason)
                for label, share in lost.items()
                for n in range(20)
                for reason in ["gone" if n < share else ""]
            ),
            tuple(lost),
        )

    check = corpus_checks.check_left_out
    check(manifest({"a": 2, "b": 0, "c": 0}), ["test"], 0.1)
    # One clip of a label may always be left out, if others are there.
    check(manifest({"a": 1, "b": 1, "c": 0}), ["test"], 0.04)
    with pytest.raises(UserError, match=r"^3 of 60 test .*\(3 of 20 of a\), a0 for"):
        check(manifest({"a": 3, "b": 0, "c": 0}), ["test"], 0.1)
    with pytest.raises(UserError, match=r"^3 of 60 test .* used, a0 for one"):
        check(manifest({"a": 1, "b": 1, "c": 1}), ["test"], 0.04)
    check(manifest({"a": 20, "b": 0, "c": 0}), ["test"], 1.0)


def test_clips_are_the_mean_of_their_segments(workdir):
    from asc_tf.evaluation.load import load_workdir

    run = scan_splits(Run.open(workdir), "train")
    found = load_workdir(workdir.path).predict_split(run, "train")
    assert len(found.segments) > len(found.clips)
    for index, probabilities in enumerate(found.clips):
        mine = found.segments[found.clip_ids == index]
        np.testing.assert_allclose(probabilities, mine.mean(axis=0), atol=1e-7)


def test_a_bad_test_clip_is_left_out_and_counted(workdir, evaluated, corpus, capsys):
    clip = workdir.manifest().clips_in("test")[0]
    content = (corpus / clip.path).read_bytes()
    (corpus / clip.path).write_bytes(content[:30])
    report, _ = evaluate(workdir)
    assert [row["file"] for row in report["excluded"]] == [clip.path]
    assert f"left out: {clip.path}: " in capsys.readouterr().err
    assert report["n_clips"] == evaluated[0]["n_clips"] - 1
    (corpus / clip.path).write_bytes(content)
    scan_splits(Run.open(workdir), "test")
    assert workdir.manifest().clips_in("test")[0].path == clip.path


def test_a_copy_of_a_training_clip_in_the_test_part_is_named(workdir, corpus, capsys):
    manifest = workdir.manifest()
    clip, copied = manifest.clips_in("test")[0], manifest.clips_in("train")[0]
    shutil.copy(corpus / copied.path, corpus / clip.path)
    report, _ = evaluate(workdir)
    said = next(note for note in report["notes"] if "exact copy in another" in note)
    assert f"{copied.path} in train and {clip.path} in test" in said
    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("corpus")
def test_recordings_on_both_sides_are_in_the_report(workdir):
    manifest = workdir.manifest()
    names = {manifest.clips_in("test")[0].identifier: ["train", "test"]}
    shared = {"clips": 3, "recordings": 1, "left_out": 0, "names": names}
    shared |= {"clips_present": 3, "recordings_present": 1}
    protocol = {"corpus": "urbansound8k", "leaky": False, "shared_recordings": shared}
    workdir.write_manifest(dataclasses.replace(manifest, protocol=protocol))
    report, page = evaluate(workdir)
    assert report["protocol"] == protocol
    said = "official split; 3 clips of 1 recording are on both sides ("
    assert report["notes"][0].startswith(said)
    assert page.read_text().count("on both sides") == 1
    assert "shared recordings" not in page.read_text()


def test_a_corpus_that_has_moved_is_found_by_its_flag(workdir, tmp_path, capsys):
    corpus = Path(workdir.config().dataset.dir)
    moved = corpus.rename(tmp_path / "moved")
    try:
        assert cli.main(["evaluate", f"--workdir={workdir.path}"]) == 1
        assert "give --dataset.dir" in capsys.readouterr().err
        arguments = [f"--workdir={workdir.path}", f"--dataset.dir={moved}"]
        assert cli.main(["evaluate", *arguments]) == 0
    finally:
        moved.rename(corpus)


def test_a_run_folder_that_may_not_be_written_to_is_refused_at_once(
    workdir, monkeypatch, capsys
):
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != workdir.path)
    assert cli.main(["evaluate", f"--workdir={workdir.path}"]) == 2
    message = f"--workdir={workdir.path}: may not be written to, and the report"
    assert message in capsys.readouterr().err


def test_a_folder_without_a_run_is_refused(tmp_path, capsys):
    assert cli.main(["evaluate", f"--workdir={tmp_path}"]) == 2
    assert "no run here" in capsys.readouterr().err
    assert cli.main(["evaluate", f"--workdir={tmp_path / 'absent'}"]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert cli.main(["evaluate"]) == 2
    assert "--workdir is missing" in capsys.readouterr().err


def test_a_damaged_model_is_named(workdir, tmp_path):
    broken = Workdir(tmp_path / "broken")
    broken.path.mkdir()
    for path in workdir.path.iterdir():
        if path.is_file():
            (broken.path / path.name).write_bytes(path.read_bytes())
    for content in (b"PK\x03\x04 not a model", b""):
        broken.model_file.write_bytes(content)
        with pytest.raises(
            UserError, match=r"model\.keras: the model cannot be loaded: empty"
        ):
            evaluate(broken)


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
            evaluate(workdir, split, {"dataset.dir": str(tmp_path)})
    assert workdir.manifest_file.read_text() == before


def test_a_damaged_history_is_named(workdir, tmp_path):
    damaged = Workdir(tmp_path)
    whole = workdir.history_file.read_text()
    damaged.history_file.write_text(whole + "7,x,1,1,1,1\n")
    with pytest.raises(UserError, match=r"history\.csv, row 7, column .*'x'"):
        find_model_epoch(damaged, workdir.config())


@pytest.mark.usefixtures("corpus")
def test_what_training_left_out_is_not_named_again(workdir, capsys):
    manifest = workdir.manifest()
    clip = manifest.clips_in("train")[0]
    clips = tuple(
        dataclasses.replace(c, reason="for a test") if c == clip else c
        for c in manifest.clips
    )
    workdir.write_manifest(dataclasses.replace(manifest, clips=clips))
    report, _ = evaluate(workdir)
    said = f"1 train clips were left out, {clip.path} for one (for a test)"
    assert said in report["notes"][-1]
    assert "left out" not in capsys.readouterr().err


@pytest.mark.usefixtures("corpus")
def test_a_random_split_that_was_forced_is_called_leaky(workdir, capsys):
    changes = {"dataset.protocol": "random", "dataset.allow_leaky": True}
    forced = datasets.load(workdir.config().replace(changes).dataset)
    identifiers = [
        {clip.identifier for clip in forced.clips_in(split)}
        for split in ("train", "test")
    ]
    assert set.intersection(*identifiers)
    workdir.write_manifest(forced)
    assert cli.main(["evaluate", f"--workdir={workdir.path}"]) == 0
    assert "(LEAKY protocol)" in capsys.readouterr().out
    report = json.loads((workdir.report / "report.json").read_text())
    assert report["protocol"]["leaky"] is report["leaky"] is True
    assert "LEAKY protocol" in (workdir.report / "report.html").read_text()


def test_the_model_file_of_a_run_is_taken_as_its_run(workdir):
    waveform = tiny.clip("hum", 3)
    whole = load(workdir.path).predict(waveform, tiny.RATE)
    by_file = load(workdir.model_file).predict(waveform, tiny.RATE)
    np.testing.assert_array_equal(by_file, whole)


def test_a_path_that_is_no_model_is_refused_naming_models_near_it(workdir, tmp_path):
    for name in ("int8.tflite", "float32.tflite"):
        (tmp_path / "two").mkdir(exist_ok=True)
        (tmp_path / "two" / name).touch()
    stray = shutil.copy(workdir.model_file, tmp_path / "model.keras")
    for path, words in (
        (workdir.path.parent, f"did you mean {workdir.path}?"),
        (tmp_path / "two", f"two/float32.tflite or {tmp_path}/two/int8.tflite?"),
        (stray, "outside its run folder a .keras file lacks its settings"),
    ):
        with pytest.raises(UsageError) as caught:
            load(path)
        assert words in str(caught.value)


def test_devices_are_grouped_where_the_training_split_has_the_seen_ones_only():
    def manifest(trained, corpus="tau2020_mobile"):
        rows = [(device, "train") for device in trained] + [
            ("s5", "test"),
            ("b", "test"),
        ]
        clips = tuple(
            Clip(f"{n}.wav", "bus", str(n), device=device, split=split)
            for n, (device, split) in enumerate(rows)
        )
        return Manifest(clips, ("bus", "tram"), {"corpus": corpus})

    def group(*arguments):
        table = manifest(*arguments)
        return group_devices(table, [c.device for c in table.clips_in("test")])

    assert group(["a", "b", "s1"]) == ["unseen", "real"]
    for other in (["a", "s1"], ["a", "b", "s5"]):
        assert group(other) == ["", ""]
    assert group(["a", "b", "s1"], "csv") == ["", ""]


def test_the_report_says_with_which_settings_command_and_machine_it_was_made(
    workdir, evaluated
):
    report, *_ = evaluated
    settings = workdir.config().flat() | {"evaluate.calibrate": True}
    assert report["settings"] == json.loads(json.dumps(settings))
    assert report["command"]
    age = datetime.now(UTC) - datetime.fromisoformat(report["created"])
    assert timedelta(0) <= age < timedelta(hours=1)
    assert report["environment"]["packages"]["numpy"] == np.__version__
    assert report["environment"]["machine"]["cores"] > 0


def test_evaluation_says_on_stderr_what_it_does(evaluated):
    *_, (_, err) = evaluated
    said = err.splitlines()
    steps = [line for line in said if line.endswith(" ...")]
    assert [step.split()[0] for step in steps] == [
        *("loading", "checking", "predicting", "checking", "predicting"),
        *("computing", "writing"),
    ]
    assert "predicting 12 clips of test ..." in steps


def test_temperature_and_threshold_come_from_the_validation_split(workdir, evaluated):
    report, _, rows, (said, _) = evaluated
    content = json.loads(workdir.calibration_file.read_text())
    unknown, calibration = report["unknown"], report["calibration"]
    assert content["threshold"] == unknown["threshold"]
    assert content["temperature"] == calibration["temperature"]
    n_validation = len(workdir.manifest().clips_in("validation"))
    assert (
        content["n_validation"] == unknown["n_validation"] == n_validation != len(rows)
    )
    accepted = [row["unknown"] == "0" for row in rows]
    assert unknown["accepted"] == np.mean(accepted)
    assert f"unknown below a top probability of {unknown['threshold']:.3f}" in said
    assert f"temperature {calibration['temperature']:.3g} of the validation" in said


def test_the_table_of_predictions_says_which_clips_are_below_the_threshold():
    clips = [Clip(f"{n}.wav", "bus", str(n), split="test") for n in range(3)]
    probabilities = np.array([[0.6, 0.4], [0.3, 0.7], [0.9, 0.1]])
    columns = [
        [row["unknown"] for row in make_prediction_rows(*arguments)]
        for arguments in (
            (("bus", "tram"), clips, probabilities, 0.7),
            (("bus", "tram"), clips, probabilities),
        )
    ]
    assert columns == [[1, 0, 0], ["", "", ""]]


def test_segments_have_the_scores_of_clips(evaluated):
    report, *_ = evaluated
    by_segment = report["segments"]
    names = ("intervals", "kappa", "top_k_accuracy", "map_at_k", "log_loss")
    for name in (*names, "macro_accuracy", "roc_auc"):
        assert type(by_segment[name]) is type(report[name])
    counted = sum(row["n_clips"] for row in by_segment["calibration"]["bins"])
    assert counted == by_segment["n_segments"] > report["n_clips"]
    assert by_segment["calibration"]["calibrated"]["log_loss"] > 0
    for key in ("per_device", "per_city"):
        rows = by_segment[key]
        assert sum(row["n_segments"] for row in rows) == by_segment["n_segments"]


def test_a_run_without_its_validation_files_is_evaluated_without_calibration(
    workdir, corpus, capsys
):
    for clip in workdir.manifest().clips_in("validation"):
        (corpus / clip.path).unlink()
    before = workdir.calibration_file.read_bytes()
    report, _ = evaluate(workdir, "test", {"evaluate.calibrate": True})
    note = "No temperature and no threshold for unknown clips: the validation"
    assert report["notes"][-1].startswith(note)
    assert note in capsys.readouterr().err
    assert report["calibration"]["temperature"] is report["unknown"] is None
    assert {row["unknown"] for row in rows_of(workdir)} == {""}
    assert workdir.calibration_file.read_bytes() == before


def test_segments_that_overlap_are_more(workdir):
    changes = {"evaluate.overlap": 0.8}
    report, _ = evaluate(workdir, "validation", changes)
    wanted = sum(
        len(find_starts(round(clip.seconds * tiny.RATE), tiny.RATE // 2, 800))
        for clip in workdir.manifest().clips_in("validation")
    )
    assert report["segments"]["n_segments"] == wanted
    assert report["segments"]["overlap"] == "80.0 %"
    assert report["settings"]["evaluate.overlap"] == 0.8


def fill_memory(*arguments):
    message = "OOM when allocating tensor with shape[32,501,128]"
    raise tf.errors.ResourceExhaustedError(None, None, message)


def test_a_memory_that_audio_fills_is_an_error_that_names_the_batch_size(workdir):
    predictor = dataclasses.replace(load(workdir.path), predict_batch=fill_memory)
    run = scan_splits(Run.open(workdir, {"evaluate.batch_size": 7}), "test")
    words = r"shape\[32,501,128\]\); give a smaller --evaluate.batch_size \(now 7\)"
    with pytest.raises(UserError, match=words):
        predictor.predict_split(run, "test")


def test_stored_features_run_without_xla_and_may_fill_the_memory():
    body = SimpleNamespace(predict_on_batch=fill_memory, jit_compile="auto")
    frontend = SimpleNamespace(standardize=lambda features: features)
    rows = [{"features": np.zeros([2, 4, 3]), "clip": np.arange(2)}]
    stored = SimpleNamespace(batches=lambda *given: rows, n_clips=lambda split: 2)
    model = SimpleNamespace(layers=[frontend, body])
    with pytest.raises(UserError, match=r"--evaluate.batch_size \(now 32\)"):
        predict_stored(model, stored, "test", Config())
    assert body.jit_compile is False
