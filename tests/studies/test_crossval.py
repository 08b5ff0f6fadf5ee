import csv
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tiny
from pages import Page
from sklearn.metrics import accuracy_score, log_loss
from study_runs import FAKE, begun, is_ended, workers

from asc_tf import cli, datasets
from asc_tf.core.errors import UsageError, UserError
from asc_tf.core.files import format_csv
from asc_tf.evaluation.intervals import bootstrap_intervals
from asc_tf.studies import runner
from asc_tf.studies.crossval import choose_folds, crossval
from asc_tf.studies.folder import lock_study
from asc_tf.studies.predictions import read_test_predictions
from asc_tf.workdir import Workdir

ALL = [f"fold{fold}_seed{seed}" for fold in (1, 2, 3) for seed in (0, 1)]


def run(config, root, **options):
    return crossval({"": config}, root, **options)


def read_report(root):
    return json.loads((root / "report" / "report.json").read_bytes())


def comparable(report):
    return {k: v for k, v in report.items() if k not in ("created", "environment")}


@pytest.fixture
def config_file(three_folds, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(three_folds.to_toml())
    return path


def test_the_pooled_scores_are_those_of_all_predictions_together(
    three_folds, tmp_path, fake, capsys
):
    root = tmp_path / "study"
    run(three_folds, root, seeds=2, jobs=3)
    report = read_report(root)
    assert sorted(begun(root)) == ALL
    tables = [read_test_predictions(root / name / "report") for name in ALL]
    truth = np.concatenate([table.truth for table in tables])
    values = np.concatenate([table.probabilities for table in tables])
    recordings = [r for table in tables for r in table.recordings]
    assert report["accuracy"] == accuracy_score(truth, values.argmax(axis=1))
    assert report["log_loss"] == pytest.approx(log_loss(truth, values))
    expected = bootstrap_intervals(tables[0].labels, truth, values, recordings)
    assert report["intervals"] == expected
    assert (report["n_clips"], report["n_predictions"]) == (54, 108)
    assert (report["folds"], report["seeds"]) == ([1, 2, 3], [0, 1])
    assert report["missing"] == []
    # Each clip is tested once for each seed.
    with (root / "report" / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["run"] for row in rows] == [name for name in ALL for _ in range(18)]
    keys = {(row["file"], row["seed"]) for row in rows}
    assert len(rows) == len(keys) == 108


def test_means_and_deviations_are_over_runs_folds_and_seeds(
    three_folds, tmp_path, fake
):
    root = tmp_path / "study"
    run(three_folds, root, seeds=2, jobs=3)
    report = read_report(root)
    table = np.array(
        [
            [
                json.loads((root / name / "report/report.json").read_bytes())[
                    "log_loss"
                ]
                for name in (f"fold{fold}_seed0", f"fold{fold}_seed1")
            ]
            for fold in (1, 2, 3)
        ]
    )
    for over, values in (
        ("over_runs", table.ravel()),
        ("over_folds", table.mean(axis=1)),
        ("over_seeds", table.mean(axis=0)),
    ):
        found = report[over]["log_loss"]
        assert found["mean"] == pytest.approx(values.mean())
        assert found["std"] == pytest.approx(values.std(ddof=1))
        assert found["n"] == len(values)
    assert [row["log_loss"] for row in report["per_fold"]] == pytest.approx(
        table.mean(axis=1).tolist()
    )
    page = Page((root / "report" / "report.html").read_text(encoding="utf-8"))
    page.check_harmless()
    assert page.one("h1").text == "Crossval: study"
    shown = page.section("Per fold").rows()
    assert [row[:3] for row in shown[1:]] == [[str(n), "2", "18"] for n in (1, 2, 3)]
    # Scores without an interval are in the table only.
    heads = [each.text for each in page.all("dt")]
    assert [text.partition("95 %")[0] for text in heads] == [
        *("accuracy", "macro-averaged accuracy", "log loss", "mAP@3")
    ]
    means = {
        row[0]: row[1] for row in page.section("Mean and standard deviation").rows()
    }
    assert means["ROC AUC"] == f"{report['roc_auc']:.3f}"


def test_finished_runs_are_not_repeated_and_more_folds_and_seeds_extend(
    three_folds, tmp_path, fake, capsys
):
    root = tmp_path / "study"
    run(three_folds, root, folds=[1])
    assert begun(root) == ["fold1_seed0"]
    run(three_folds, root, folds=[1, 3])
    assert begun(root)[1:] == ["fold3_seed0"]
    # The seeds of one fold leave the table with holes, which the report names.
    run(three_folds, root, folds=[2], seeds=2)
    assert begun(root)[2:] == ["fold2_seed0", "fold2_seed1"]
    assert read_report(root)["missing"] == ["fold1_seed1", "fold3_seed1"]
    run(three_folds, root, seeds=2, jobs=2)
    assert sorted(begun(root)) == ALL
    extended = comparable(read_report(root))
    run(three_folds, tmp_path / "at_once" / "study", seeds=2, jobs=3)
    assert extended == comparable(read_report(tmp_path / "at_once" / "study"))
    capsys.readouterr()
    run(three_folds, root, seeds=2)
    assert capsys.readouterr().out == "6 of 6 runs are finished already\n"


def test_a_damaged_folder_of_an_earlier_call_is_left_out_of_the_report(
    three_folds, tmp_path, fake, capsys
):
    root = tmp_path / "study"
    run(three_folds, root, folds=[1, 3])
    (root / "fold3_seed0" / "config.toml").write_text("[newer]\nkey = 1\n")
    capsys.readouterr()
    run(three_folds, root, folds=[2])
    assert "fold3_seed0 is left out of the report: " in capsys.readouterr().out
    assert [row["fold"] for row in read_report(root)["per_run"]] == [1, 2]


def test_another_configuration_in_the_folder_is_refused(three_folds, tmp_path, fake):
    root = tmp_path / "study"
    run(three_folds, root, folds=[1])
    with pytest.raises(UsageError, match=r"epochs is 3 in the study and 4 in"):
        run(three_folds.replace({"train.epochs": 4}), root, folds=[1])
    # A key that is newer than the study has its default there.
    study = json.loads((root / "study.json").read_bytes())
    del study["points"][""]["augment.copies"]
    (root / "study.json").write_text(json.dumps(study))
    run(three_folds, root, folds=[1])
    with pytest.raises(UsageError, match=r"copies is 1 in the study and 2 in"):
        run(three_folds.replace({"augment.copies": 2}), root, folds=[1])
    # Another seed to begin with is no other configuration, and a folder may move.
    run(three_folds.replace({"train.seed": 5}), root, folds=[1])
    assert begun(root) == ["fold1_seed0", "fold1_seed5"]
    with pytest.raises(UsageError, match="holds a study with no points"):
        crossval({"a": three_folds}, root)


def test_a_failed_run_is_named_and_the_rest_goes_on(
    config_file, three_folds, tmp_path, behave, capsys
):
    root = tmp_path / "study"
    behave(fold1_seed0="fail", fold2_seed0="crash")
    words = ["crossval", str(config_file), f"--workdir={root}"]
    assert cli.main(words) == 1
    out, err = capsys.readouterr()
    log = root / "fold1_seed0" / "log.txt"
    assert f"[1/3] fold1_seed0: failed: train.x = 1: too small ({log})\n" in out
    assert "PARTIAL: missing fold1_seed0, fold2_seed0" in out
    assert err.splitlines() == [
        "asc-tf crossval: fold1_seed0 failed: train.x = 1: too small",
        "asc-tf crossval: fold2_seed0 failed: the process was ended by SIGKILL, "
        "perhaps because memory was full",
    ]
    assert "a line of the log" in log.read_text()
    report = read_report(root)
    assert report["missing"] == ["fold1_seed0", "fold2_seed0"]
    page = Page((root / "report" / "report.html").read_text(encoding="utf-8"))
    assert page.one("p", "banner").text.startswith(
        "PARTIAL report. Missing runs: fold1"
    )
    behave(fold1_seed0="fail")
    assert cli.main(words) == 1
    assert read_report(root)["missing"] == ["fold1_seed0"]
    # The log of the first failure is still there.
    assert log.read_text().count("a line of the log") == 2
    assert begun(root).count("fold3_seed0") == 1


DRIVER = """
import sys
from asc_tf import cli
from asc_tf.studies import runner
runner.COMMAND = sys.argv[1:4]
sys.exit(cli.main(sys.argv[4:]))
"""


def start_parent(config_file, root, jobs=2):
    words = ["crossval", str(config_file), f"--workdir={root}", f"--jobs={jobs}"]
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, *FAKE, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_workers(root, count):
    deadline = time.monotonic() + 60
    while len(begun(root)) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(workers(root)) == count


@pytest.mark.parametrize(
    "kill", tiny.cases((signal.SIGKILL, signal.SIGTERM), signal.SIGKILL)
)
def test_the_runs_end_with_their_parent_and_the_folder_is_free(
    config_file, three_folds, tmp_path, behave, kill
):
    root = tmp_path / "study"
    behave(fold1_seed0="hang", fold2_seed0="hang")
    parent = start_parent(config_file, root)
    wait_for_workers(root, 2)
    # Ctrl-C reaches the parent only, which stops the runs.
    for worker in workers(root):
        assert os.getpgid(worker) != os.getpgid(parent.pid)
    with pytest.raises(UserError, match="another asc-tf crossval runs here"):
        run(three_folds, root)
    parent.send_signal(kill)
    _, err = parent.communicate(timeout=60)
    assert is_ended(root)
    if kill == signal.SIGTERM:
        assert parent.returncode == 130
        assert err.startswith("asc-tf crossval: interrupted; finished epochs and runs")
    with lock_study(root, "crossval"):
        pass


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        (
            {"dataset.protocol": "official", "dataset.folds": 5},
            {},
            "dataset.name = folder has no folds under dataset.protocol = official: "
            "--seeds=3 trains its one split with three seeds; "
            "--dataset.protocol=grouped_kfold makes --dataset.folds=5 folds",
        ),
        (
            {"dataset.protocol": "official", "dataset.folds": 5},
            {"folds": [1], "seeds": 2},
            "--folds: dataset.name = folder has no folds",
        ),
        ({}, {"folds": [1, 4]}, "--folds: 4 is none of the folds 1, 2, 3"),
        (
            {"train.patience": 3, "dataset.validation": "none"},
            {},
            "train.keep = 'best', train.patience = 3: no validation loss",
        ),
    ],
)
def test_a_study_that_cannot_be_trained_is_refused_at_once(
    three_folds, tmp_path, fake, changes, options, message
):
    with pytest.raises(UsageError) as caught:
        run(three_folds.replace(changes), tmp_path / "study", **options)
    assert str(caught.value).startswith(message)
    assert not (tmp_path / "study").exists()


def test_folders_that_hold_something_else_are_refused(three_folds, tmp_path, fake):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    Workdir(tmp_path / "run").begin(three_folds, datasets.load(three_folds.dataset))
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "study.json").write_text('{"command": "sweep", "points": {}}')
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "study.json").write_text("{")
    for name, message in {
        "full": "not empty and not a study",
        "run": "holds a run of asc-tf train",
        "sweep": "holds a study of asc-tf sweep",
        "damaged": "cannot be read",
    }.items():
        with pytest.raises(UserError, match=message):
            run(three_folds, tmp_path / name)


def test_without_folds_there_are_seeds(three_folds, tmp_path, fake):
    config = three_folds.replace(
        {"dataset.protocol": "official", "dataset.folds": 5, "dataset.test_share": 0.3}
    )
    run(config, tmp_path / "study", seeds=2)
    report = read_report(tmp_path / "study")
    assert [row["run"] for row in report["per_run"]] == ["seed0", "seed1"]
    assert (report["folds"], report["over_folds"], report["per_fold"]) == ([], None, [])
    assert report["over_seeds"]["accuracy"]["n"] == 2


def test_the_points_of_a_study_file_are_trained_and_compared(
    config_file, tmp_path, fake, capsys
):
    study = tmp_path / "study.toml"
    study.write_text(
        'study = "crossval"\nbase = "config.toml"\nfolds = [1, 2]\n'
        "[train]\nepochs = 9\n[points.plain]\n[points.larger.train]\nbatch_size = 16\n"
    )
    root = tmp_path / "study"
    assert cli.main(["crossval", f"--config={study}", f"--workdir={root}"]) == 0
    out = capsys.readouterr().out
    assert "[4/4] larger/fold2_seed0: accuracy" in out
    for name, batch_size in {"plain": 8, "larger": 16}.items():
        report = read_report(root / name)
        assert report["settings"]["train.batch_size"] == batch_size
        assert report["settings"]["train.epochs"] == 9
        assert [row["run"] for row in report["per_run"]] == [
            "fold1_seed0",
            "fold2_seed0",
        ]
        # Decoded clips are shared by all points.
        config = Workdir(root / name / "fold1_seed0").config()
        assert config.audio.cache_dir == str(root / "audio_cache")
    compared = json.loads((root / "compare" / "compare.json").read_bytes())
    assert [row["name"] for row in compared["runs"]] == ["plain", "larger"]
    assert compared["runs"][1]["settings"] == {"train.batch_size": "16"}


def test_a_run_takes_the_memory_that_the_finished_ones_needed(
    three_folds, tmp_path, fake, capsys, monkeypatch
):
    root = tmp_path / "study"
    monkeypatch.setattr(runner, "find_free_memory", lambda: 3 * 10**9)
    run(three_folds, root, jobs=2)
    out = capsys.readouterr().out
    assert out.startswith(
        "1 of 2 runs at a time: 3.0 GB of memory are free, a run needs about 2.0 GB; "
        "more begin when memory is free\n"
    )
    run(three_folds, root, jobs=2, seeds=2)
    out = capsys.readouterr().out
    assert "\n2 runs at a time (3.0 GB of memory are free, a run needs about" in out
    monkeypatch.setattr(runner, "find_free_memory", lambda: 0)
    # One run always begins.
    run(three_folds, tmp_path / "other", jobs=4, folds=[1])
    assert begun(tmp_path / "other") == ["fold1_seed0"]


def test_runs_at_a_time_share_the_gpu_and_say_so(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(runner, "GPU", tmp_path / "none")
    assert "GPU" not in runner.describe_jobs(2, 1)
    monkeypatch.setattr(runner, "GPU", tmp_path)
    assert runner.describe_jobs(2, 1).endswith("if it becomes full, give --jobs=1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert "GPU" not in runner.describe_jobs(2, 1)


def test_all_clips_are_leaky_if_one_run_is(three_folds, tmp_path, fake, capsys):
    config = three_folds.replace(
        {
            "dataset.protocol": "random",
            "dataset.allow_leaky": True,
            "dataset.folds": 5,
        }
    )
    run(config, tmp_path / "study", seeds=2)
    assert read_report(tmp_path / "study")["protocol"]["leaky"]
    page = Page((tmp_path / "study/report/report.html").read_text(encoding="utf-8"))
    assert page.one("p", "banner").text.startswith("LEAKY protocol.")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all("% (LEAKY protocol), " in line for line in lines)


def test_stored_features_have_one_fold_so_only_seeds_differ(tmp_path, fake):
    config = tiny.features_config(tiny.write_features(tmp_path / "features"))
    with pytest.raises(
        UsageError, match=r"--folds: dataset.features holds the features"
    ):
        run(config, tmp_path / "study", folds=[1], seeds=2)
    with pytest.raises(UsageError, match=r"features of one fold: give --seeds=3"):
        run(config, tmp_path / "study")


def test_a_fold_is_named_by_the_flag_of_the_command(
    config_file, tmp_path, fake, capsys
):
    words = ["crossval", str(config_file), f"--workdir={tmp_path / 'study'}"]
    assert cli.main([*words, "--dataset.fold=3"]) == 2
    assert "name the folds to train with --folds=3" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def test_the_reason_is_that_of_the_last_attempt(three_folds, tmp_path, behave, capsys):
    root = tmp_path / "study"
    behave(fold1_seed0="fail")
    assert run(three_folds, root, folds=[1])[1] == {
        "fold1_seed0": "train.x = 1: too small"
    }
    behave(fold1_seed0="end")
    assert run(three_folds, root, folds=[1])[1] == {"fold1_seed0": "exit code 3"}


def test_a_run_that_cannot_be_started_is_named_and_the_rest_goes_on(
    three_folds, tmp_path, fake, monkeypatch, capsys
):
    start = runner._start

    def start_some(run, *arguments):
        if run.name == "fold1_seed0":
            raise PermissionError(13, "Permission denied", str(run.workdir.path))
        return start(run, *arguments)

    monkeypatch.setattr(runner, "_start", start_some)
    _, failures = run(three_folds, tmp_path / "study", jobs=2)
    (reason,) = failures.values()
    assert reason.startswith("cannot be started: [Errno 13] Permission denied")
    assert "[1/3] fold1_seed0: failed: cannot be started" in capsys.readouterr().out
    assert begun(tmp_path / "study") == ["fold2_seed0", "fold3_seed0"]


def test_a_fold_without_files_is_left_out_and_said(
    three_folds, tmp_path, fake, monkeypatch, capsys
):
    for usable, said in (
        ([1, 2], "Fold 3 is left out: one of its splits has no files"),
        ([1], "Folds 2, 3 are left out: one of the splits of each has no files"),
    ):
        monkeypatch.setattr(datasets, "usable_folds", lambda *_, own=usable: own)
        assert choose_folds(three_folds, None) == usable
        assert capsys.readouterr().out == f"{said}\n"


def test_pooled_predictions_have_the_groups_of_the_dcase_devices(
    three_folds, tmp_path, fake
):
    root = tmp_path / "study"
    run(three_folds, root, folds=[1, 2])
    for name in ("fold1_seed0", "fold2_seed0"):
        workdir = Workdir(root / name)
        manifest = workdir.manifest()
        clips = [dataclasses.replace(c, device="a") for c in manifest.clips]
        tests = [c for c in clips if c.split == "test"]
        unseen = {c.path for c in tests[:5]}
        clips = [
            dataclasses.replace(c, device="s4") if c.path in unseen else c
            for c in clips
        ]
        protocol = dict(manifest.protocol) | {"corpus": "tau2020_mobile"}
        workdir.write_manifest(
            dataclasses.replace(manifest, clips=tuple(clips), protocol=protocol)
        )
        workdir.protocol_file.write_text(json.dumps(protocol))
        table = workdir.report / "predictions.csv"
        with table.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        for row in rows:
            row["device"] = "s4" if row["file"] in unseen else "a"
        table.write_text(format_csv(list(rows[0]), rows))
    run(three_folds, root, folds=[1, 2])
    groups = read_report(root)["per_device_group"]
    assert [(row["device_group"], row["n_clips"]) for row in groups] == [
        ("real", 26),
        ("unseen", 10),
    ]
    page = Page((root / "report" / "report.html").read_text(encoding="utf-8"))
    shown = page.section("Per device group").rows()
    assert [row[:2] for row in shown[1:]] == [["real", "26"], ["unseen", "10"]]
