"""The state of a run: what an epoch writes, and what a resumed run has again."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from asc_tf import models
from asc_tf.config import Augment, Config, Model, Train
from asc_tf.core.errors import UserError
from asc_tf.frontend import FrontendLayer
from asc_tf.models.precision import dtype_policy, make_float32_twin
from asc_tf.training import optimization
from asc_tf.training.checkpoint import RunState
from asc_tf.training.model_file import complete_model, load_whole
from asc_tf.training.trainer import Trainer
from asc_tf.workdir import Workdir

SAMPLES = 2048
PLAIN = Train(learning_rate=0.1, warmup_epochs=0.0)
AVERAGED = Train(learning_rate=0.1, warmup_epochs=0.0, ema=0.9)


def get_body(shape: tuple[int, ...], is_frozen: bool) -> keras.Model:
    """A network of which all but the last layer may be frozen."""
    inputs = keras.Input(shape)
    x = keras.layers.Dense(256, name="backbone")(keras.layers.Flatten()(inputs))
    x = keras.layers.BatchNormalization(name="norm")(x)
    outputs = keras.layers.Dense(3, activation="softmax", name="logits")(x)
    body = keras.Model(inputs, outputs, name="network")
    for name in ("backbone", "norm") if is_frozen else ():
        body.get_layer(name).trainable = False
    return body


def begin(
    folder: Path,
    is_frozen: bool = False,
    settings: Train = PLAIN,
    precision: str = "float32",
) -> tuple[Trainer, RunState]:
    """A run of a small network, compiled and not yet trained."""
    frontend = FrontendLayer(tiny.RATE, tiny.config(folder).frontend)
    frontend.build((None, SAMPLES))
    with dtype_policy(precision):
        body = get_body(frontend.compute_output_shape((None, SAMPLES))[1:], is_frozen)
    whole, twin = models.attach_frontend(frontend, body, (SAMPLES,)), None
    if precision != "float32":
        twin = models.attach_frontend(frontend, make_float32_twin(body), (SAMPLES,))
    trainer = Trainer(frontend, body, Augment(), None, settings.ema)
    schedule = optimization.make_learning_rate_schedule(settings, 2)
    optimizer = optimization.make_optimizer(settings, schedule)
    optimizer.build(trainer.trainable_variables)
    trainer.compile(optimizer, loss=optimization.make_loss(settings))
    state = RunState(Workdir(folder), whole, schedule, settings.patience, twin)
    state.set_model(trainer)
    return trainer, state


def end_epoch(trainer: Trainer, state: RunState, val_loss: float) -> list[np.ndarray]:
    """Change all that training changes, and end an epoch.

    Returns:
        The weights of the model that the epoch may save.
    """
    number = state.epochs_done
    generator = np.random.default_rng(number)
    norm = trainer.body.get_layer("norm")
    for variable in (
        *trainer.trainable_variables,
        *(norm.non_trainable_weights if norm.trainable else ()),
        *trainer.optimizer.variables[2:],
        *(average for _, average in trainer.statistics.pairs),
    ):
        variable.assign(generator.uniform(0.5, 1.5, variable.shape))
    state.on_epoch_end(number, {"loss": 1.0, "val_loss": val_loss})
    optimization.swap_averages(trainer)
    weights = [weight.numpy() for weight in state.whole.weights]
    optimization.swap_averages(trainer)
    return weights


def variables_of(trainer: Trainer, state: RunState) -> list[np.ndarray]:
    averages = [average for _, average in trainer.statistics.pairs]
    every = [*state.whole.variables, *trainer.optimizer.variables, *averages]
    return [variable.numpy() for variable in every]


def assert_equal(found: list, wanted: list) -> None:
    assert len(found) == len(wanted) > 0
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def stamps(folder: Path) -> dict[Path, tuple[int, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def bytes_written(folder: Path, before: dict[Path, tuple[int, int]]) -> int:
    now = stamps(folder)
    return sum(path.stat().st_size for path in now if now[path] != before.get(path))


def test_an_epoch_writes_the_weights_that_are_trained_and_not_the_frozen_ones(tmp_path):
    trainer, state = begin(tmp_path, is_frozen=True)
    frozen = sum(
        4 * np.prod(weight.shape)
        for layer in trainer.body.layers
        if not layer.trainable
        for weight in layer.weights
    )
    written = []
    for loss in (1.0, 0.9, 0.8):
        before = stamps(tmp_path)
        end_epoch(trainer, state, loss)
        written.append(bytes_written(tmp_path, before))
    # The model, and the frozen weights beside the checkpoint.
    assert written[0] > 2 * frozen
    assert max(written[1:]) < frozen / 3


def test_without_a_frozen_backbone_each_better_model_is_a_whole_file(tmp_path):
    trainer, state = begin(tmp_path)
    for loss in (1.0, 0.9):
        weights = end_epoch(trainer, state, loss)
        files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
        assert files == {"model.keras", "latest.npz", "history.csv"}
        saved = keras.models.load_model(
            tmp_path / "model.keras", custom_objects={"FrontendLayer": FrontendLayer}
        )
        assert_equal(saved.get_weights(), weights)


@pytest.mark.parametrize("is_frozen", [False, True])
@pytest.mark.parametrize("settings", [PLAIN, AVERAGED])
def test_a_resumed_run_has_every_variable_to_the_last_bit(
    tmp_path, is_frozen, settings
):
    trainer, state = begin(tmp_path, is_frozen, settings)
    for loss in (1.0, 0.9):
        end_epoch(trainer, state, loss)
    again, resumed = begin(tmp_path, is_frozen, settings)
    assert resumed.resume(again)
    assert resumed.history == state.history
    assert_equal(variables_of(again, resumed), variables_of(trainer, state))
    best = end_epoch(again, resumed, 0.8)
    assert_equal(load_whole(tmp_path / "model.keras").get_weights(), best)


def test_a_checkpoint_that_holds_all_variables_is_resumed_too(tmp_path):
    trainer, state = begin(tmp_path, is_frozen=True)
    end_epoch(trainer, state, 1.0)
    variables = [*state.whole.variables, *trainer.optimizer.variables]
    np.savez(
        tmp_path / "checkpoints" / "latest.npz",
        history=json.dumps(state.history),
        **{f"variable_{i}": each.numpy() for i, each in enumerate(variables)},
    )
    (tmp_path / "checkpoints" / "frozen.npz").unlink()
    again, resumed = begin(tmp_path, is_frozen=True)
    resumed.resume(again)
    assert_equal(variables_of(again, resumed), variables_of(trainer, state))
    end_epoch(again, resumed, 0.9)
    last, final = begin(tmp_path, is_frozen=True)
    final.resume(last)
    assert_equal(variables_of(last, final), variables_of(again, resumed))


def test_a_checkpoint_without_averages_of_statistics_begins_them_anew(tmp_path):
    trainer, state = begin(tmp_path, settings=AVERAGED)
    end_epoch(trainer, state, 1.0)
    path = state._workdir.checkpoint_file
    with np.load(path) as saved:
        arrays = {k: v for k, v in saved.items() if not k.startswith("average_")}
        assert len(arrays) < len(saved)
    np.savez(path, **arrays)
    again, resumed = begin(tmp_path, settings=AVERAGED)
    resumed.resume(again)
    assert again.statistics.pairs
    for statistic, average in again.statistics.pairs:
        np.testing.assert_array_equal(average.numpy(), statistic.numpy())


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_frozen_weights_that_are_not_those_of_the_checkpoint_are_named(
    tmp_path, damage
):
    trainer, state = begin(tmp_path, is_frozen=True)
    end_epoch(trainer, state, 1.0)
    path = tmp_path / "checkpoints" / "frozen.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink() if damage == "gone" else path.write_bytes(content)
    again, resumed = begin(tmp_path, is_frozen=True)
    with pytest.raises(UserError, match=r"cannot be restored .*frozen\.npz"):
        resumed.resume(again)


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("is_frozen", [False, True])
def test_the_model_is_that_of_the_best_epoch_and_not_of_the_last(
    tmp_path, is_frozen, precision
):
    trainer, state = begin(tmp_path, is_frozen, precision=precision)
    epochs = [end_epoch(trainer, state, loss) for loss in (1.0, 0.5, 0.7)]
    path = tmp_path / "model.keras"
    assert state.best["epoch"] == 2
    assert_equal(load_whole(path).get_weights(), epochs[1])
    complete_model(Workdir(tmp_path))
    assert not (tmp_path / "checkpoints" / "best.npz").exists()
    assert_equal(load_whole(path).get_weights(), epochs[1])
    complete_model(Workdir(tmp_path))


def test_the_whole_model_is_the_best_one_wherever_a_kill_comes(tmp_path):
    trainer, state = begin(tmp_path, is_frozen=True)
    end_epoch(trainer, state, 1.0)
    best = end_epoch(trainer, state, 0.5)
    checkpoints, path = tmp_path / "checkpoints", tmp_path / "model.keras"
    kept = (checkpoints / "best.npz").read_bytes()
    complete_model(Workdir(tmp_path))
    # Between the last two writes.
    (checkpoints / "best.npz").write_bytes(kept)
    assert_equal(load_whole(path).get_weights(), best)
    # Started again from its first epoch: the old best is nothing to this run.
    shutil.copy(checkpoints / "best.npz", tmp_path / "kept.npz")
    shutil.rmtree(checkpoints)
    checkpoints.mkdir()
    shutil.copy(tmp_path / "kept.npz", checkpoints / "best.npz")
    again, anew = begin(tmp_path, is_frozen=True)
    assert not anew.resume(again)
    assert_equal(end_epoch(again, anew, 2.0), load_whole(path).get_weights())


def test_weights_of_the_best_model_that_are_damaged_are_named(tmp_path):
    trainer, state = begin(tmp_path, is_frozen=True)
    for loss in (1.0, 0.5):
        end_epoch(trainer, state, loss)
    path = tmp_path / "checkpoints" / "best.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"best\.npz: .* cannot be read"):
        load_whole(tmp_path / "model.keras")
    np.savez(path, weight_1000=np.zeros(1))
    with pytest.raises(UserError, match=r"best\.npz: not of the model"):
        load_whole(tmp_path / "model.keras")


@pytest.mark.parametrize(
    ("patience", "losses", "is_exhausted"),
    [
        (1, [1.0], False),
        (1, [1.0, 0.9], False),
        (1, [1.0, 0.9, 0.95], True),
        (1, [1.0, 1.0], True),
        (2, [1.0, 1.1], False),
        (2, [1.0, 1.1, 1.2], True),
        (0, [1.0, 1.1, 1.2, 1.3], False),
    ],
)
def test_patience_counts_the_epochs_without_a_lower_loss(
    tmp_path, patience, losses, is_exhausted
):
    state = RunState(Workdir(tmp_path), None, None, patience)
    state.history = [
        {"epoch": number + 1, "val_loss": loss} for number, loss in enumerate(losses)
    ]
    assert state.is_exhausted == is_exhausted


def test_batch_norms_of_frozen_layers_are_in_no_average():
    body = models.build(Model(filters=(4, 8)), (40, 16), 3)
    every = optimization.StatisticsAverages(body, 0.9)
    models.freeze_layers(body, ["conv*"])
    others = optimization.StatisticsAverages(body, 0.9)
    names = [statistic.path for statistic, _ in others.pairs]
    assert len(every.pairs) == len(others.pairs) + 2
    assert not [name for name in names if name.startswith("conv_norm/")]
    assert not optimization.StatisticsAverages(body, 0.0).pairs


def test_statistics_are_averaged_as_the_weights_are():
    inputs = keras.Input((2,))
    norm = keras.layers.BatchNormalization(momentum=0.5, name="norm")
    outputs = keras.layers.Dense(2, activation="softmax")(norm(inputs))
    settings = Train(learning_rate=0.1, warmup_epochs=0.0, ema=0.8)
    frontend = FrontendLayer(8000, Config().frontend)
    body = keras.Model(inputs, outputs)
    trainer = Trainer(frontend, body, Augment(), None, settings.ema)
    schedule = optimization.make_learning_rate_schedule(settings, 10)
    optimizer = optimization.make_optimizer(settings, schedule)
    optimizer.build(trainer.trainable_variables)
    trainer.compile(optimizer, loss=optimization.make_loss(settings))
    generator = np.random.default_rng(0)
    means, variances, raw = [], [], None
    for step in range(4):
        features = generator.normal(step, 1 + step, (6, 2)).astype("float32")
        trainer.train_step(({"features": tf.constant(features)}, tf.eye(6, 2)))
        means.append(features.mean(axis=0))
        variances.append(features.var(axis=0))
    wanted = [means[0], variances[0]]
    for mean, variance in zip(means[1:], variances[1:], strict=True):
        wanted = [0.8 * wanted[0] + 0.2 * mean, 0.8 * wanted[1] + 0.2 * variance]
    raw = [norm.moving_mean.numpy(), norm.moving_variance.numpy()]
    assert np.abs(raw[0] - wanted[0]).min() > 0.1
    optimization.swap_averages(trainer)
    np.testing.assert_allclose(norm.moving_mean.numpy(), wanted[0], rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance.numpy(), wanted[1], rtol=1e-5)
    optimization.swap_averages(trainer)
    assert_equal([norm.moving_mean.numpy(), norm.moving_variance.numpy()], raw)
