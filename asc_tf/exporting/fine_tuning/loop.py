"""Epochs of fine-tuning: steps, validation, and the file from which they resume."""

import dataclasses
import json
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from asc_tf.config import Config
from asc_tf.core.errors import UserError
from asc_tf.core.files import write_atomically, write_csv, write_npz
from asc_tf.exporting.fine_tuning.twin import Ranges, Twin
from asc_tf.frontend import FrontendLayer
from asc_tf.pipeline.batches import make_training_batches
from asc_tf.pipeline.examples import Examples
from asc_tf.training import optimization
from asc_tf.training.keras_internals import InputWait, Prefetcher
from asc_tf.training.model_file import select_row
from asc_tf.training.progress import format_epoch
from asc_tf.training.trainer import prepare_batch

CHECKPOINT, RESULT, HISTORY = "latest.npz", "result.npz", "history.csv"


@dataclasses.dataclass(frozen=True)
class Result:
    """Weights and ranges of the epoch that is kept.

    Attributes:
        weights: Weights in the order of the Keras network.
        ranges: Ranges measured during training, if there are any.
        history: One row per epoch.
        epoch: Number of the epoch that is kept; 0 for the network before the first.
    """

    weights: list[np.ndarray]
    ranges: Ranges
    history: list[dict[str, float]]
    epoch: int


class FineTuner:
    """Training of a twin on the batches that the run was trained on.

    Args:
        twin: Network in tf_keras.
        config: Configuration, whose `train` has the epochs, the learning rate and the
            warm-up of this training.
        steps: Number of steps of an epoch.
        first_epoch: Number of epochs of the run, so that the examples of each epoch
            are new.
        examples: Examples of the run.
        frontend: Front-end layer of the trained model.
        class_weights: Weight of each label, or None.
        segments: Batches of features that are not augmented, for the ranges of
            activations.
        folder: Folder of the checkpoint.
        identity: Text on all that the result depends on; a checkpoint with another
            text is not used.
    """

    def __init__(
        self,
        twin: Twin,
        config: Config,
        steps: int,
        first_epoch: int,
        examples: Examples,
        frontend: FrontendLayer,
        class_weights: np.ndarray | None,
        segments: Sequence[tf.Tensor],
        folder: Path,
        identity: str,
    ) -> None:
        self._twin, self._config, self._first = twin, config, first_epoch
        self._examples, self._frontend = examples, frontend
        self._class_weights, self._segments = class_weights, segments
        self._folder, self._identity = folder, identity
        train = config.train
        self._steps = steps
        self._loss = optimization.make_loss(train)
        self._schedule = optimization.make_learning_rate_schedule(train, steps)
        without_averages = dataclasses.replace(train, ema=0.0)
        self._optimizer = optimization.make_optimizer(
            without_averages, train.learning_rate, library=tf_keras
        )
        self._optimizer.build(twin.trainable_variables)
        self._variables = [*twin.variables, *self._optimizer.variables]
        has_validation = "validation" in config.dataset.training_splits
        self._keeps_best = has_validation and train.keep == "best"
        self.history: list[dict[str, float]] = []
        # Validation loss before the first epoch.
        self._before = float("nan")
        self._best: Result | None = None

    def resume(self) -> bool:
        """Restore the checkpoint.

        Returns:
            Whether there is one of this training. A damaged one, or one of another
            model or other settings, is not used.
        """
        saved = read_npz(self._folder / CHECKPOINT, self._identity)
        names = [f"variable_{index}" for index in range(len(self._variables))]
        if saved is None or not self._fits(saved, names):
            return False
        for name, variable in zip(names, self._variables, strict=True):
            variable.assign(saved[name])
        self.history = json.loads(str(saved["history"]))
        self._before = float(saved["before"])
        if "epoch" in saved:
            self._best = read_result(saved)
        self._follow_history()
        return True

    def _fits(self, saved: dict[str, np.ndarray], names: Sequence[str]) -> bool:
        """Tell whether a checkpoint has each variable, in its shape."""
        pairs = zip(names, self._variables, strict=True)
        return {"history", "before"} <= set(saved) and all(
            name in saved and saved[name].shape == tuple(variable.shape)
            for name, variable in pairs
        )

    def run(self) -> Result:
        """Train the epochs that are left.

        Raises:
            UserError: If the loss, or that of validation in each epoch, is not finite.
        """
        done, epochs = len(self.history), self._config.train.epochs
        total = self._config.replace({"train.epochs": self._first + epochs})
        batches = make_training_batches(
            self._examples, self._frontend, total, self._first + done
        )
        # The batch size stays open, because the last batch of an epoch may be smaller.
        step = tf.function(
            self._step, input_signature=[batches.element_spec], autograph=False
        )
        has_validation = "validation" in self._config.dataset.training_splits
        validation = self._examples.validation() if has_validation else None
        if validation is not None:
            self._validation_step = tf.function(
                self._evaluate_batch,
                input_signature=list(validation.element_spec),
                autograph=False,
            )
        if not done:
            self._twin.calibrate(self._segments)
        if validation is not None and not done:
            self._before, accuracy = self._validate(validation)
            loss = f"validation loss {self._before:.4f}"
            print(f"before: {loss}, accuracy {accuracy:.1%}", flush=True)
            if self._keeps_best and self._twin.is_complete(0):
                self._best = self._take_result(0)
        source, fetch = iter(batches), Prefetcher()
        for _ in range(done, epochs):
            self._run_epoch(step, lambda: fetch.next(source), validation)
        return dataclasses.replace(self._require_best(), history=self.history)

    def _require_best(self) -> Result:
        if self._best is None:
            raise UserError(
                "fine-tuning: the validation loss is not finite in any epoch that may "
                "be exported; leave the format out of --formats, or look at the "
                "validation clips with asc-tf inspect"
            )
        return self._best

    def _run_epoch(
        self,
        step_function: Callable[[tuple], tuple],
        next_batch: Callable[[], tuple],
        validation: tf.data.Dataset | None,
    ) -> None:
        """Train and validate one epoch, print its line and save it."""
        number, began, wait = len(self.history) + 1, time.monotonic(), InputWait()
        sums = np.zeros(3)
        for step in range(self._steps):
            rate = float(self._schedule((number - 1) * self._steps + step))
            self._optimizer.learning_rate.assign(rate)
            with wait.measure():
                batch = next_batch()
            sums += np.array(step_function(batch))
            if not np.isfinite(sums[0]):
                raise UserError(
                    f"fine-tuning: the loss is not finite in step {step + 1} of epoch "
                    f"{number}, at learning rate {rate:.3g}; leave the format out of "
                    "--formats, or look at the input with asc-tf inspect"
                )
        self._twin.end_epoch()
        self._twin.calibrate(self._segments)
        logs = {"loss": sums[0] / sums[2], "accuracy": sums[1] / sums[2]}
        share = wait.share()
        if validation is not None:
            logs["val_loss"], logs["val_accuracy"] = self._validate(validation)
        self.history.append({"epoch": number, **logs, "learning_rate": rate})
        self._follow_history()
        self._keep_best(number)
        self._save()
        seconds = time.monotonic() - began
        epochs = self._config.train.epochs
        line = format_epoch(number, epochs, seconds, logs | {"waiting": share})
        print(line, flush=True)

    def _step(self, batch: tuple) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Train on one batch; return the sums of loss, right answers and examples."""
        features, targets, weights = prepare_batch(
            batch, self._frontend, self._config.augment, self._class_weights
        )
        with tf.GradientTape() as tape:
            probabilities = self._twin(features, training=True)
            loss = self._loss(targets, probabilities, sample_weight=weights)
        variables = self._twin.trainable_variables
        gradients = tape.gradient(loss, variables)
        self._optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return self._count(targets, probabilities, loss)

    def _evaluate_batch(
        self, inputs: dict[str, tf.Tensor], targets: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Validate one batch; return the sums of loss, right answers and examples."""
        features = inputs.get("features")
        if features is None:
            features = self._frontend(inputs["waveform"])
        probabilities = self._twin(features, training=False)
        return self._count(targets, probabilities, self._loss(targets, probabilities))

    def _count(
        self, targets: tf.Tensor, probabilities: tf.Tensor, loss: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        count = tf.cast(tf.shape(targets)[0], tf.float32)
        is_right = tf.argmax(targets, axis=1) == tf.argmax(probabilities, axis=1)
        return loss * count, tf.reduce_sum(tf.cast(is_right, tf.float32)), count

    def _validate(self, batches: tf.data.Dataset) -> tuple[float, float]:
        """Compute loss and accuracy of the validation segments."""
        sums = np.zeros(3)
        for inputs, targets in batches:
            sums += np.array(self._validation_step(inputs, targets))
        return float(sums[0] / sums[2]), float(sums[1] / sums[2])

    def _follow_history(self) -> None:
        if isinstance(self._schedule, optimization.PlateauSchedule):
            self._schedule.follow([row["val_loss"] for row in self.history])

    def _keep_best(self, number: int) -> None:
        """Keep the weights of this epoch if it is the best that may be exported."""
        complete = [
            row
            for row in self.history
            if self._twin.is_complete(int(row["epoch"]) * self._steps)
        ]
        row = select_row(complete, "best" if self._keeps_best else "last")
        if row is None or row["epoch"] != number:
            return
        is_first = self._best is not None and self._best.epoch == 0
        if not is_first or row["val_loss"] < self._before:
            self._best = self._take_result(number)

    def _take_result(self, epoch: int) -> Result:
        return Result(self._twin.weights(), self._twin.ranges(), [], epoch)

    def _save(self) -> None:
        arrays = {
            f"variable_{index}": variable.numpy()
            for index, variable in enumerate(self._variables)
        }
        arrays["history"] = np.array(json.dumps(self.history))
        arrays["before"] = np.array(self._before)
        if self._best:
            arrays |= describe_result(self._best)
        arrays["identity"] = np.array(self._identity)
        with write_atomically(self._folder / CHECKPOINT) as temporary:
            write_npz(temporary, arrays)
        write_csv(self._folder / HISTORY, list(self.history[0]), self.history)


def read_npz(path: Path, identity: str) -> dict[str, np.ndarray] | None:
    """Read a file of arrays; None if it is missing, damaged, or of other settings."""
    try:
        with np.load(path, allow_pickle=False) as saved:
            if str(saved["identity"]) != identity:
                return None
            return dict(saved)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def describe_result(result: Result) -> dict[str, np.ndarray]:
    """Describe a result as arrays, for `read_result`."""
    arrays = {f"weight_{index}": each for index, each in enumerate(result.weights)}
    arrays["ranges"] = np.array(json.dumps(result.ranges))
    arrays["epoch"] = np.array(result.epoch)
    return arrays


def read_result(saved: dict[str, np.ndarray]) -> Result:
    """Read what `describe_result` has written, and the history beside it."""
    count = sum(name.startswith("weight_") for name in saved)
    ranges: dict[str, Any] = json.loads(str(saved["ranges"]))
    return Result(
        [saved[f"weight_{index}"] for index in range(count)],
        {name: (low, high) for name, (low, high) in ranges.items()},
        json.loads(str(saved["history"])),
        int(saved["epoch"]),
    )
