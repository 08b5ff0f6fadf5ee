"""What a run's model begins with: budgets, earlier weights, frozen layers, energy."""

import json
import shutil
import zipfile

import numpy as np
import pytest
import tiny

from asc_tf.core.errors import UsageError, UserError
from asc_tf.frontend import FrontendLayer
from asc_tf.manifest import Clip, Manifest
from asc_tf.models import get_body
from asc_tf.pipeline.run import Run
from asc_tf.training import build
from asc_tf.training.model_file import load_whole
from asc_tf.training.train import train
from asc_tf.workdir import Workdir


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A configuration of one epoch on stored features."""
    folder = tiny.write_features(tmp_path_factory.mktemp("features") / "stored")
    changes = {"model.filters": (8, 16), "train.epochs": 1}
    return tiny.features_config(folder).replace(changes)


@pytest.fixture(scope="module")
def earlier(config, tmp_path_factory):
    """The folder of a run of it."""
    workdir = Workdir(tmp_path_factory.mktemp("runs") / "earlier")
    train(config, workdir)
    return workdir


def body(workdir):
    return get_body(load_whole(workdir.model_file))


def weights(workdir, name):
    return body(workdir).get_layer(name).get_weights()


def test_a_frozen_layer_keeps_the_weights_of_the_earlier_run(config, earlier, tmp_path):
    changes = {"model.init_from": str(earlier.path), "model.freeze": ("conv*",)}
    config = config.replace(changes | {"train.seed": 5})
    workdir = Workdir(tmp_path / "run")
    train(config, workdir)
    for name in ("conv", "conv_norm"):
        for now, before in zip(
            weights(workdir, name), weights(earlier, name), strict=True
        ):
            np.testing.assert_array_equal(now, before)
    moved = [layer.name for layer in body(workdir).layers if layer.trainable_weights]
    assert moved and "conv" not in moved
    name = next(name for name in moved if name.startswith("block"))
    now, before = weights(workdir, name)[0], weights(earlier, name)[0]
    assert 0 < np.abs(now - before).max() < 0.5
    # Finished: the same command again has nothing to do, and needs nothing.
    assert train(config, workdir) == workdir.model_file


@pytest.mark.parametrize("keep_head", [True, False])
def test_a_kept_last_layer_goes_on_from_what_it_has_learned(
    config, earlier, tmp_path, keep_head
):
    changes = {"model.init_from": str(earlier.path), "model.keep_head": keep_head}
    begun = tiny.begin(config.replace(changes), Workdir(tmp_path / "run"))
    now = begun.trainer.body.get_layer("logits").get_weights()[0]
    assert np.array_equal(now, weights(earlier, "logits")[0]) == keep_head


def test_the_seed_decides_the_first_weights(config, tmp_path, monkeypatch):
    drawn = {}

    def keep_weights(training, *others):
        convolution = training.trainer.body.get_layer("conv")
        drawn[training.run.workdir.path.name] = convolution.get_weights()[0]
        raise StopIteration

    monkeypatch.setattr("asc_tf.training.fit.fit_epochs", keep_weights)
    for name, seed in (("first", 0), ("same", 0), ("other", 1)):
        with pytest.raises(StopIteration):
            train(config.replace({"train.seed": seed}), Workdir(tmp_path / name))
    np.testing.assert_array_equal(drawn["first"], drawn["same"])
    assert not np.array_equal(drawn["first"], drawn["other"])


@pytest.mark.parametrize("momentum", [0.0, 0.99])
def test_statistics_are_averaged_like_the_weights(config, tmp_path, momentum):
    changed = config.replace({"train.ema": momentum})
    trainer = tiny.begin(changed, Workdir(tmp_path / "run")).trainer
    layers = [each for each in trainer.body.layers if hasattr(each, "moving_mean")]
    averages = trainer.statistics
    assert len(averages.pairs) == 2 * len(layers) * bool(momentum)
    assert {both[1] for both in averages._momenta} <= {max(momentum, 0.99)}


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"model.budget_kb": 10.0}, UserError, ["model.budget_kb", "conv"]),
        ({"model.budget_mmacs": 0.01}, UserError, ["model.budget_mmacs", "conv"]),
        ({"model.init_from": "nowhere"}, UsageError, ["nowhere", "no model.keras"]),
        (
            {"model.init_from": "EARLIER", "model.filters": (8, 12)},
            UserError,
            ["layers differ", "block1"],
        ),
        (
            {"model.init_from": "OTHERS", "model.keep_head": True},
            UsageError,
            ["model.keep_head", "a, b, c", "leave it out"],
        ),
        (
            {"model.init_from": "EARLIER", "model.freeze": ("konv",)},
            UsageError,
            ["model.freeze", "konv"],
        ),
    ],
)
def test_a_model_that_is_refused_leaves_no_run_folder(
    config, earlier, tmp_path, changes, error, words
):
    others = shutil.copytree(earlier.path, tmp_path / "others")
    (others / "labels.txt").write_text("a\nb\nc\n")
    folders = {"EARLIER": str(earlier.path), "OTHERS": str(others)}
    changes = {key: folders.get(str(value), value) for key, value in changes.items()}
    with pytest.raises(error) as caught:
        train(config.replace(changes), Workdir(tmp_path / "run"))
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "run" / "config.toml").exists()


def test_a_run_does_not_go_on_with_another_network_of_the_same_shapes(
    config, earlier, tmp_path
):
    """A checkpoint holds weights without their layers."""
    workdir = Workdir(shutil.copytree(earlier.path, tmp_path / "run"))
    with zipfile.ZipFile(earlier.model_file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["config.json"] = members["config.json"].replace(b'"conv', b'"first')
    with zipfile.ZipFile(workdir.model_file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(UserError, match=r"layers that differ: .*first.*new folder"):
        train(config, workdir)


def test_a_run_goes_on_with_the_weights_it_began_with_alone(config, earlier, tmp_path):
    moved, other = (tmp_path / name for name in ("moved", "other"))
    shutil.copytree(earlier.path, moved)
    shutil.copytree(earlier.path, other)
    whole = load_whole(earlier.model_file)
    whole.set_weights([value + 1 for value in whole.get_weights()])
    whole.save(other / "model.keras")
    workdir = Workdir(tmp_path / "run")

    def begun_with(folder):
        return config.replace({"model.init_from": str(folder)})

    train(begun_with(earlier.path), workdir)
    before = workdir.config_file.read_text()
    with pytest.raises(UsageError) as caught:
        train(begun_with(other), workdir)
    assert "not the files that the run in" in str(caught.value)
    assert workdir.config_file.read_text() == before
    # The same ones may lie elsewhere, or nowhere any more.
    train(begun_with(moved), workdir)
    shutil.rmtree(moved)
    train(begun_with(moved), workdir)
    with pytest.raises(UsageError):
        train(begun_with(other), workdir)
    # An earlier run that has trained on where it was is not needed any more.
    shutil.copytree(other, moved)
    train(begun_with(moved), workdir)


def test_a_budget_that_is_kept_changes_nothing(config, earlier, tmp_path):
    workdir = Workdir(tmp_path / "run")
    kept = {"model.budget_kb": 500.0, "model.budget_mmacs": 50.0}
    train(config.replace(kept), workdir)
    assert tiny.history(workdir) == tiny.history(earlier)


@pytest.mark.slow
def test_the_energy_of_training_is_written(config, tmp_path):
    pytest.importorskip("codecarbon")
    workdir = Workdir(tmp_path / "run")
    energy = {"train.energy": True, "train.energy_country": "FRA", "train.epochs": 2}
    train(config.replace(energy), workdir)
    found = json.loads(workdir.energy_file.read_text())
    assert found["epochs"] == 2
    assert found["kwh"] > 0
    assert found["country"] == "FRA"


def test_without_codecarbon_the_extra_is_named(config, tmp_path, monkeypatch):
    monkeypatch.setattr("asc_tf.training.train.is_installed", lambda name: False)
    with pytest.raises(UserError, match=r"pip install '\.\[energy\]'"):
        train(config.replace({"train.energy": True}), Workdir(tmp_path / "run"))


def build_trainer(tmp_path, **changes):
    """What is trained, for two clips of a and six of b, and others to validate with."""
    config = tiny.config(tmp_path, **changes)
    frontend = FrontendLayer(config.audio.sample_rate, config.frontend)
    parts = {"train": "aabbbbbb", "validation": "aaaaaaaa", "test": "aaaabbbb"}
    clips = [
        Clip(f"{split}{number}.wav", label, str(number), split=split)
        for split, labels in parts.items()
        for number, label in enumerate(labels)
    ]
    manifest = Manifest(tuple(clips), ("a", "b"))
    workdir = Workdir(tmp_path / "run")
    return build.build_trainer(Run(config, workdir, manifest), frontend, steps=2)[0]


def test_what_is_trained_has_the_class_weights_of_the_training_part_alone(tmp_path):
    trainer = build_trainer(tmp_path, train__class_weights="balanced")
    np.testing.assert_allclose(trainer.class_weights, [8 / 4, 8 / 12])
    assert build_trainer(tmp_path).class_weights is None


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, -np.log(0.7)),
        ({"train__label_smoothing": 0.2}, -0.9 * np.log(0.7) - 0.1 * np.log(0.3)),
        (
            {"train__loss": "focal", "train__focal_gamma": 3.0},
            -(0.3**3) * np.log(0.7),
        ),
    ],
)
def test_what_is_trained_minimizes_the_configured_loss(tmp_path, changes, wanted):
    trainer = build_trainer(tmp_path, **changes)
    target, probabilities = np.array([[1.0, 0.0]]), np.array([[0.7, 0.3]])
    found = trainer.compute_loss(None, target, probabilities)
    assert float(found) == pytest.approx(wanted, rel=1e-5)
