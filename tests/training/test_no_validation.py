"""Runs without a validation part: all training clips train, the last epoch is kept."""

import json

import numpy as np
import pytest
import tiny

from asc_tf import datasets
from asc_tf.commands import export as export_command
from asc_tf.config import Config, Dataset
from asc_tf.config.checks import check_training, find_changes_without_validation
from asc_tf.core.errors import UsageError
from asc_tf.evaluation.evaluate import evaluate
from asc_tf.exporting.doctor import gates
from asc_tf.exporting.export import export
from asc_tf.pipeline.store_features import write_features
from asc_tf.training.model_file import load_whole
from asc_tf.training.train import train
from asc_tf.workdir import Workdir

ALONE = {"dataset__validation": "none", "train__keep": "last"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return tiny.write_corpus(tmp_path_factory.mktemp("alone") / "corpus", recordings=4)


@pytest.fixture(scope="module")
def run(corpus, tmp_path_factory) -> Workdir:
    """A run with averaged weights, whose model is another than the last weights."""
    workdir = Workdir(tmp_path_factory.mktemp("alone") / "run")
    train(tiny.config(corpus, train__epochs=2, train__ema=0.5, **ALONE), workdir)
    return workdir


def test_all_clips_that_are_not_for_the_test_train(run):
    manifest = run.manifest()
    assert manifest.clips_in("validation") == ()
    assert len(manifest.clips_in("train")) + len(manifest.clips_in("test")) == 24
    assert all(clip.size for clip in manifest.clips_in("train"))
    assert manifest.protocol["validation"] == "none"


def test_a_random_split_has_no_validation_part_either(corpus):
    settings = {"name": "folder", "dir": str(corpus), "validation": "none"}
    random = {"protocol": "random", "allow_leaky": True}
    for changes in ({}, random):
        manifest = datasets.load(Dataset(**settings, **changes))
        assert {clip.split for clip in manifest.clips} == {"train", "test"}
        assert manifest.splits == ("train", "test")


def test_a_corpus_with_a_validation_part_of_its_own_keeps_it(corpus):
    paths = sorted(path.relative_to(corpus) for path in corpus.rglob("*.wav"))
    rows = [
        f"{path},{path.parent},{('train', 'validation', 'test')[number % 3]}\n"
        for number, path in enumerate(paths)
    ]
    (corpus / "table.csv").write_text("filename,label,part\n" + "".join(rows))
    settings = {
        **{"name": "csv", "dir": str(corpus), "csv_file": "table.csv"},
        "split_column": "part",
    }
    assert len(datasets.load(Dataset(**settings)).clips_in("validation")) == 8
    with pytest.raises(UsageError, match="has a validation split of its own"):
        datasets.load(Dataset(**settings, validation="none"))


def test_history_and_tensorboard_have_the_curves_of_training_alone(run):
    rows = tiny.history(run)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert set(rows[0]) == {"epoch", "loss", "accuracy", "learning_rate"}
    folders = [path for path in (run.path / "tensorboard").iterdir() if path.is_dir()]
    assert [path.name for path in folders] == ["train"]


def test_the_model_is_that_of_the_last_epoch(run):
    with np.load(run.checkpoint_file) as saved:
        values = [saved[name] for name in saved if name != "history"]
    # Averages of the weights are what is saved; the checkpoint holds these too.
    for weight in load_whole(run.model_file).trainable_variables:
        assert any(
            value.shape == weight.shape and np.array_equal(value, weight.numpy())
            for value in values
        )


def test_the_report_says_which_epoch_it_is_of_and_draws_what_curves_there_are(run):
    report, page = evaluate(run)
    assert report["model_epoch"] == {"keep": "last", "epoch": 2, "epochs": 2}
    note = "The model is that of epoch 2 of 2, the last one."
    assert note in report["notes"]
    assert note in page.read_text()
    assert (run.report / "history.png").is_file()


def test_there_is_no_validation_part_to_evaluate(run):
    with pytest.raises(UsageError, match=r"--split=validation: .* no validation split"):
        evaluate(run, "validation")


@pytest.mark.slow
def test_an_export_is_checked_on_training_clips_and_says_so(
    run, tmp_path, monkeypatch, capsys
):
    changes = {"export.formats": ("float32",)}
    described = export(run, tmp_path / "export", changes)
    row = described["formats"]["float32"]
    assert row["train"]["n_clips"] == len(run.manifest().clips_in("train"))
    assert row["train"]["agreement"] == 1
    assert "validation" not in row
    assert "files are checked on training clips" in capsys.readouterr().out
    line = export_command.format_summary("float32", row)
    assert "agreement with Keras 100.0%" in line and line.endswith(" (train)")
    page = (tmp_path / "export" / "export.html").read_text()
    assert "Training clips: the gate" in page
    assert "Validation clips" not in page
    monkeypatch.setattr(gates, "MAX_FLOAT_DIFFERENCE", -1.0)
    rejected = export(run, tmp_path / "other", changes)["rejected"]
    assert "on train clips" in rejected["float32"]["reason"]


def test_features_are_stored_of_the_parts_there_are_and_a_run_begins_with_them(
    run, tmp_path
):
    config, folder = run.config(), tmp_path / "features"
    with pytest.raises(UsageError, match=r"--splits=.* no validation split"):
        write_features(config, folder, splits=("validation",))
    contents = write_features(config, folder)
    assert list(contents.splits) == ["train", "test"]
    workdir = Workdir(tmp_path / "run")
    begun = tiny.begin(config.replace({"dataset.features": str(folder)}), workdir)
    assert begun.run.count_examples() == len(run.manifest().clips_in("train"))
    assert json.loads(workdir.protocol_file.read_text())["validation"] == "none"


def test_the_next_command_after_features_keeps_the_last_epoch():
    config = Config().replace({"dataset.validation": "none"})
    assert find_changes_without_validation(config)["train.keep"] == "last"
    assert find_changes_without_validation(Config()) == {}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"train.keep": "best"}, r"train\.keep = 'best': .*set train\.keep = 'last'"),
        ({"train.patience": 3}, r"train\.patience = 3: .*set train\.patience = 0, or"),
        ({"train.schedule": "plateau"}, r"train\.schedule = 'plateau': .*set train"),
        ({"dataset.validation_share": 0.2}, r"dataset\.validation_share = 0\.2: "),
    ],
)
def test_what_needs_a_validation_part_is_refused_with_what_to_do(
    tmp_path, changes, message
):
    config = Config().replace({"dataset.validation": "none", "train.keep": "last"})
    check_training(config)
    refused = config.replace(changes)
    with pytest.raises(UsageError, match=message):
        train(refused, Workdir(tmp_path / "run"))
    check_training(refused.replace({"dataset.validation": "split"}))
    assert not (tmp_path / "run").exists()
