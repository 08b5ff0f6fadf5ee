"""Schedules, losses, weights and optimizers against their definitions."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from asc_tf.config import Augment, Config, Train
from asc_tf.frontend import FrontendLayer
from asc_tf.training import optimization
from asc_tf.training.model_file import load_whole
from asc_tf.training.optimization import PlateauSchedule, make_learning_rate_schedule
from asc_tf.training.train import train
from asc_tf.training.trainer import Trainer
from asc_tf.workdir import Workdir

TARGETS = np.array([[1, 0, 0], [0, 0.3, 0.7], [0, 1, 0]], np.float32)
PROBABILITIES = np.array(
    [[0.7, 0.2, 0.1], [0.5, 0.25, 0.25], [0.01, 0.98, 0.01]], np.float32
)


def rates(settings: Train, steps: list[int], steps_per_epoch: int = 10) -> list[float]:
    schedule = make_learning_rate_schedule(settings, steps_per_epoch)
    return [float(schedule(step)) for step in steps]


def get_body(weights: np.ndarray) -> keras.Model:
    """Softmax of the product of features `[batch, n]` and weights `[n, labels]`."""
    inputs = keras.Input((len(weights),))
    layer = keras.layers.Dense(
        weights.shape[1], use_bias=False, activation="softmax", name="only"
    )
    body = keras.Model(inputs, layer(inputs))
    layer.set_weights([weights])
    return body


def trainer_of(settings: Train, weights: np.ndarray, class_weights=None) -> Trainer:
    layer = FrontendLayer(8000, Config().frontend)
    trainer = Trainer(layer, get_body(weights), Augment(), class_weights)
    schedule = make_learning_rate_schedule(settings, 10)
    made = optimization.make_optimizer(settings, schedule)
    made.build(trainer.trainable_variables)
    trainer.compile(made, loss=optimization.make_loss(settings), metrics=["accuracy"])
    return trainer


def plain(**changes) -> Train:
    values = {"schedule": "constant", "warmup_epochs": 0.0, "learning_rate": 0.1}
    return Train(**(values | changes))


def test_a_constant_rate_is_reached_by_a_linear_warm_up():
    settings = Train(schedule="constant", learning_rate=0.5, warmup_epochs=2.0)
    found = rates(settings, [0, 5, 10, 20, 500])
    np.testing.assert_allclose(found, [0, 0.125, 0.25, 0.5, 0.5], rtol=1e-6)


def test_an_inverse_time_rate_falls_as_its_formula_after_the_warm_up():
    settings = plain(schedule="inverse_time", decay_rate=0.02)
    steps = [0, 1, 50, 599]
    np.testing.assert_allclose(
        rates(settings, steps), [0.1 / (1 + 0.02 * step) for step in steps], rtol=1e-6
    )
    warmed = plain(schedule="inverse_time", decay_rate=0.02, warmup_epochs=1.0)
    np.testing.assert_allclose(rates(warmed, [5, 10, 60]), [0.05, 0.1, 0.05], rtol=1e-6)


def test_a_cosine_rate_warms_up_and_falls_to_0():
    settings = Train(epochs=10, learning_rate=0.5, warmup_epochs=2.0)
    found = rates(settings, [0, 100, 200, 600, 1000], steps_per_epoch=100)
    np.testing.assert_allclose(found, [0, 0.25, 0.5, 0.25, 0], atol=1e-6)
    flat = rates(Train(epochs=1, warmup_epochs=0.0), [0, 5, 10])
    np.testing.assert_allclose(flat, [3e-3, 1.5e-3, 0], atol=1e-9)


LOSSES = [1, 0.9, 0.95, 0.8999, 0.91, 0.5, 0.6, np.nan, 0.49995, 0.7, 0.4, 0.41, 0.42]


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_a_plateau_lowers_the_rate_when_keras_would(patience):
    schedule = make_learning_rate_schedule(
        plain(schedule="plateau", plateau_factor=0.3, plateau_patience=patience), 10
    )
    assert isinstance(schedule, PlateauSchedule)
    reference = keras.callbacks.ReduceLROnPlateau(factor=0.3, patience=patience)
    model = get_body(np.ones((2, 3), np.float32))
    model.compile(keras.optimizers.SGD(0.1), loss="categorical_crossentropy")
    reference.set_model(model)
    reference.on_train_begin()
    for epoch, loss in enumerate(LOSSES):
        reference.on_epoch_end(epoch, {"val_loss": loss})
        schedule.follow(LOSSES[: epoch + 1])
        wanted = float(model.optimizer.learning_rate)
        assert float(schedule(100)) == pytest.approx(wanted, rel=1e-5)
    assert wanted < 0.1


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_focal_loss_is_that_of_the_paper(gamma, smoothing):
    settings = Train(loss="focal", focal_gamma=gamma, label_smoothing=smoothing)
    found = float(optimization.make_loss(settings)(TARGETS, PROBABILITIES))
    smooth = (1 - smoothing) * TARGETS + smoothing / 3
    each = -smooth * (1 - PROBABILITIES) ** gamma * np.log(PROBABILITIES)
    assert found == pytest.approx(each.sum(axis=1).mean(), rel=1e-5)


def test_label_smoothing_moves_a_share_of_the_target_to_all_labels():
    found = float(
        optimization.make_loss(Train(label_smoothing=0.3))(TARGETS, PROBABILITIES)
    )
    each = -(0.7 * TARGETS + 0.1) * np.log(PROBABILITIES)
    assert found == pytest.approx(each.sum(axis=1).mean(), rel=1e-5)


def test_balanced_class_weights_let_all_labels_count_alike():
    labels, clips = ("a", "b", "gone"), ["a"] * 6 + ["b"] * 2
    found = optimization.compute_class_weights(
        Train(class_weights="balanced"), labels, clips
    )
    np.testing.assert_allclose(found, [8 / 12, 8 / 4, 1])
    assert sum(found[labels.index(clip)] for clip in clips) == pytest.approx(len(clips))
    assert optimization.compute_class_weights(Train(), labels, clips) is None


@pytest.mark.parametrize("own", [None, np.array([1, 0.5, 0], np.float32)])
def test_class_weights_count_by_the_shares_of_a_mixed_target(own):
    weights = np.array([0.5, 1.0, 3.0], np.float32)
    trainer = trainer_of(plain(learning_rate=1e-9), np.eye(3, dtype="f"), weights)
    features = np.log(PROBABILITIES)
    described = (TARGETS,) if own is None else (TARGETS, own)
    logs = trainer.train_step(({"features": tf.constant(features)}, *described))
    each = -(TARGETS * weights * np.log(PROBABILITIES)).sum(axis=1)
    each = each if own is None else each * own
    assert float(logs["loss"]) == pytest.approx(each.mean(), rel=1e-5)


def step_of(settings: Train, weights: np.ndarray, scale: float = 1.0) -> np.ndarray:
    """What one step of training changes."""
    trainer = trainer_of(settings, weights)
    features = tf.constant(scale * np.eye(3, dtype="f"))
    trainer.train_step(({"features": features}, tf.constant(TARGETS)))
    return trainer.body.get_weights()[0] - weights


def test_clipping_bounds_the_norm_of_all_gradients():
    weights = np.zeros((3, 3), np.float32)
    sgd = {"optimizer": "sgd", "momentum": 0.0}
    free = step_of(plain(**sgd), weights, scale=100.0)
    clipped = step_of(plain(**sgd, clip_norm=0.5), weights, scale=100.0)
    assert np.linalg.norm(free) > 1
    assert np.linalg.norm(clipped) == pytest.approx(0.1 * 0.5, rel=1e-5)
    np.testing.assert_allclose(
        clipped / np.linalg.norm(clipped), free / np.linalg.norm(free), atol=1e-6
    )


def test_weight_decay_shrinks_by_the_rate_and_that_of_adamw_spares_some():
    inputs = keras.Input((2,))
    outputs = keras.layers.BatchNormalization()(keras.layers.Dense(2)(inputs))
    for name, spared in (("adam", 0), ("sgd", 0), ("adamw", 3)):
        settings = plain(optimizer=name, weight_decay=0.5)
        model = keras.Model(inputs, outputs)
        variables = model.trainable_variables
        for variable in variables:
            variable.assign(tf.ones(variable.shape))
        made = optimization.make_optimizer(
            settings, make_learning_rate_schedule(settings, 10)
        )
        made.build(variables)
        made.apply([tf.zeros(variable.shape) for variable in variables])
        values = [float(variable.numpy().ravel()[0]) for variable in variables]
        assert values.count(1.0) == spared
        assert min(values) == pytest.approx(1 - 0.1 * 0.5)


def test_sgd_moves_against_the_gradient_with_momentum():
    settings = plain(optimizer="sgd", momentum=0.5)
    variable = keras.Variable(1.0)
    made = optimization.make_optimizer(
        settings, make_learning_rate_schedule(settings, 10)
    )
    made.build([variable])
    for wanted in (1 - 0.1, 1 - 0.1 - 0.15):
        made.apply([tf.constant(1.0)])
        assert float(variable) == pytest.approx(wanted)


def test_averages_trade_places_with_weights_to_the_last_bit():
    trainer = trainer_of(plain(ema=0.9, learning_rate=0.5), np.eye(3, dtype="f"))
    seen = []
    for _ in range(3):
        features = tf.constant(1e3 * PROBABILITIES)
        trainer.train_step(({"features": features}, tf.constant(TARGETS)))
        seen.append(trainer.body.get_weights()[0])
    average = seen[0]
    for weights in seen[1:]:
        average = 0.9 * average + 0.1 * weights
    optimization.swap_averages(trainer)
    np.testing.assert_allclose(trainer.body.get_weights()[0], average, atol=1e-6)
    optimization.swap_averages(trainer)
    np.testing.assert_array_equal(trainer.body.get_weights()[0], seen[-1])


def test_averaged_weights_are_what_is_validated_and_saved(tmp_path):
    folder = tiny.write_features(tmp_path / "features")
    changes = {"train.epochs": 1, "model.dropout": 0.0}
    config = tiny.features_config(folder).replace(changes)
    averaged, raw = Workdir(tmp_path / "averaged"), Workdir(tmp_path / "raw")
    train(config.replace({"train.ema": 0.5}), averaged)
    train(config, raw)
    with np.load(averaged.checkpoint_file) as checkpoint:
        arrays = [checkpoint[name] for name in checkpoint if name != "history"]
    models = [load_whole(workdir.model_file) for workdir in (averaged, raw)]
    # The averages are in the checkpoint, beside the weights of the run without them.
    for pair in zip(*(model.trainable_variables for model in models), strict=True):
        values = [variable.numpy() for variable in pair]
        assert not np.array_equal(*values)
        for value in values:
            assert any(np.array_equal(value, array) for array in arrays)
    losses = [tiny.history(workdir)[0] for workdir in (averaged, raw)]
    assert losses[0]["loss"] == losses[1]["loss"]
    assert losses[0]["val_loss"] != losses[1]["val_loss"]


@pytest.mark.parametrize(
    ("steps", "per_epoch", "epochs"),
    [(0, 5, 60), (1, 5, 1), (5, 5, 1), (6, 5, 2), (30000, 105, 286)],
)
def test_steps_are_as_many_whole_epochs_as_hold_them(steps, per_epoch, epochs):
    assert Train(steps=steps).count_epochs(per_epoch) == epochs
