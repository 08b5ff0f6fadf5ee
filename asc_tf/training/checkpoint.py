"""Checkpoint, history and best model of a run, written after each epoch.

A resumed run is exactly equal to an uninterrupted one. Keras's `BackupAndRestore` does
not save the seed generators of dropout; here every variable is saved: weights,
statistics, optimizer and seed generators.

Frozen weights, for example of a backbone, are large and never change. They are written
once, to a file of their own beside the checkpoint and in the first `model.keras`. After
that an epoch writes only the other weights; those of a better model go to `best.npz`,
from which `asc_tf.training.model_file` puts them into the model.
"""

import json
import zipfile
from typing import Any

import keras
import numpy as np

from asc_tf.core.errors import UserError
from asc_tf.core.files import (
    flush_to_disk,
    hash_path,
    write_atomically,
    write_csv,
    write_npz,
)
from asc_tf.frontend import FrontendLayer
from asc_tf.models.precision import list_layers
from asc_tf.training.model_file import select_row
from asc_tf.training.optimization import PlateauSchedule, swap_averages
from asc_tf.workdir import Workdir


class RunState(keras.callbacks.Callback):
    """Callback that saves model, history and checkpoint, and stops training early.

    At the end of an epoch `model.keras` is written first (if it is the best so far, or
    with `train.keep = last` in any case), then the history, then the checkpoint. A step
    that was interrupted is repeated, with the same result, when the run resumes.

    Args:
        workdir: Run folder.
        whole: Model with its front-end, which is saved; its body is in training.
        schedule: Learning rate by step.
        patience: Number of epochs without a lower validation loss before training
            stops.
        twin: Equal float32 model of one device, which is saved in place of `whole` if
            that is trained in mixed precision or on several devices.
        keep: Epoch whose model is saved, best or last (`train.keep`).

    Attributes:
        whole: Model with its front-end.
        history: One row per epoch.
    """

    def __init__(
        self,
        workdir: Workdir,
        whole: keras.Model,
        schedule: keras.optimizers.schedules.LearningRateSchedule,
        patience: int,
        twin: keras.Model | None = None,
        keep: str = "best",
    ) -> None:
        super().__init__()
        self.keep = keep
        self._workdir, self.whole, self._twin = workdir, whole, twin
        self._schedule, self._patience = schedule, patience
        self.history: list[dict[str, float]] = []
        # Whether model.keras is of this run, and the hash of its frozen.npz.
        self._has_model = False
        self._frozen_digest = ""

    @property
    def epochs_done(self) -> int:
        """Number of epochs in the history."""
        return len(self.history)

    @property
    def best(self) -> dict[str, float] | None:
        """Row of the epoch with the lowest validation loss."""
        return select_row(self.history, "best")

    @property
    def saved_row(self) -> dict[str, float] | None:
        """Row of the epoch whose model is saved."""
        return select_row(self.history, self.keep)

    @property
    def is_exhausted(self) -> bool:
        """Whether patience has run out."""
        if not self._patience or not self.best:
            return False
        return self.epochs_done - self.best["epoch"] >= self._patience

    def resume(self, model: keras.Model) -> bool:
        """Restore the checkpoint into a model; return whether there is one.

        Raises:
            UserError: If the checkpoint is damaged or of another model.
        """
        path = self._workdir.checkpoint_file
        if not path.is_file():
            return False
        variables = self._variables(model)
        try:
            saved, digest = self._read()
            history = json.loads(str(saved["history"]))
            count = sum(name.startswith("variable_") for name in saved)
            if count != len(variables):
                raise ValueError(
                    f"{count} variables in the file, {len(variables)} in the model: "
                    "train.precision = auto may choose otherwise on another machine"
                )
            for index, variable in enumerate(variables):
                variable.assign(saved[f"variable_{index}"])
            # Runs of earlier versions have no averages of statistics.
            for index, (statistic, average) in enumerate(model.statistics.pairs):
                average.assign(saved.get(f"average_{index}", statistic.numpy()))
        except (
            *(OSError, KeyError, ValueError, EOFError),
            zipfile.BadZipFile,
        ) as error:
            raise UserError(
                f"{path}: the checkpoint cannot be restored ({error}); remove the "
                "folder checkpoints to start the run again"
            ) from error
        self.history = history
        self._frozen_digest = digest
        self._has_model = self._workdir.model_file.is_file()
        self._follow_history()
        self._write_history()
        return True

    def rate_jump(self, model: keras.Model) -> tuple[float, float] | None:
        """Compare the schedule with the one of the epochs so far, after `resume`.

        They differ if `train.epochs` has changed and the schedule depends on it.

        Returns:
            Learning rates of the last step and of the next one; None if the schedule is
            the same.
        """
        # The rate of a plateau depends on the history, not on the number of epochs.
        if not self.history or isinstance(self._schedule, PlateauSchedule):
            return None
        done = int(model.optimizer.iterations.numpy())
        last = self.history[-1]["learning_rate"]
        # float32 may be rounded differently on another machine.
        if np.isclose(float(self._schedule(done - 1)), last, rtol=1e-3, atol=0):
            return None
        return last, float(self._schedule(done))

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Stop at once if the mean loss since the start of the epoch is not finite.

        Raises:
            UserError: If it is not finite; the message names step, epoch, learning rate
                and the last checkpoint.
        """
        if logs is None or np.isfinite(logs["loss"]):
            return
        step = f"in step {batch + 1} of epoch {self.epochs_done + 1}"
        raise self._make_error("the loss is", step)

    def _make_error(self, what: str, where: str) -> UserError:
        saved = "no epoch has ended, so nothing is saved"
        if done := self._workdir.epochs_done():
            saved = f"{self._workdir.checkpoint_file} holds epoch {done}"
        rate = self._last_learning_rate()
        return UserError(
            f"{what} not finite {where}, at learning rate {rate:.3g} ({saved}); use a "
            "new folder and a lower train.learning_rate, or train.clip_norm = 1, or "
            "look at the input with asc-tf inspect"
        )

    def _last_learning_rate(self) -> float:
        """Return the learning rate of the last step."""
        done = int(self.model.optimizer.iterations.numpy())
        return float(self._schedule(max(done - 1, 0)))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save the epoch.

        Raises:
            UserError: If a weight is not finite, which pooling can hide from the loss;
                then nothing is written.
        """
        values = (variable.numpy() for variable in self._variables(self.model))
        if not all(np.isfinite(value).all() for value in values):
            raise self._make_error("a weight is", f"at the end of epoch {epoch + 1}")
        previous, rate = self.saved_row, self._last_learning_rate()
        # The time of waiting differs each time, and the history must be repeatable.
        results = {k: float(v) for k, v in (logs or {}).items() if k != "waiting"}
        row = {"epoch": epoch + 1} | results
        self.history.append(row | {"learning_rate": rate})
        if self.saved_row is not previous:
            self._save_model()
        self._follow_history()
        self._write_history()
        self._save()
        if self.is_exhausted:
            self.model.stop_training = True

    def _follow_history(self) -> None:
        if isinstance(self._schedule, PlateauSchedule):
            self._schedule.follow([row["val_loss"] for row in self.history])

    def _save_model(self) -> None:
        swap_averages(self.model)
        model = self._twin or self.whole
        if self._twin:
            self._twin.set_weights(self.whole.get_weights())
        frozen, best_file = self._find_frozen(), self._workdir.best_file
        if frozen and self._has_model:
            changed = {
                f"weight_{index}": weight.numpy()
                for index, (weight, own) in enumerate(
                    zip(model.weights, self.whole.weights, strict=True)
                )
                if id(own) not in frozen
            }
            with write_atomically(best_file) as temporary:
                write_npz(temporary, changed)
        else:
            # The file may be of an earlier run in this folder.
            best_file.unlink(missing_ok=True)
            with write_atomically(self._workdir.model_file) as temporary:
                model.save(temporary)
                flush_to_disk(temporary)
            self._has_model = True
        swap_averages(self.model)

    def _find_frozen(self) -> set[int]:
        """Return the identities of the frozen weights.

        The few weights of the front-end do not count, so that a model without a frozen
        backbone is always written as a whole.
        """
        return {
            id(weight)
            for layer in list_layers(self.whole)
            if not layer.trainable and not isinstance(layer, FrontendLayer)
            for weight in layer.weights
        }

    def _variables(self, model: keras.Model) -> list[Any]:
        return [*self.whole.variables, *model.optimizer.variables]

    def _save(self) -> None:
        """Write the checkpoint, and the frozen weights if they are not written yet."""
        frozen = self._find_frozen()
        variables = {
            f"variable_{index}": variable
            for index, variable in enumerate(self._variables(self.model))
        }
        if frozen and not self._frozen_digest:
            fixed = {k: v.numpy() for k, v in variables.items() if id(v) in frozen}
            with write_atomically(self._workdir.frozen_file) as temporary:
                write_npz(temporary, fixed)
            self._frozen_digest = hash_path(self._workdir.frozen_file)
        arrays = {k: v.numpy() for k, v in variables.items() if id(v) not in frozen}
        for index, (_, average) in enumerate(self.model.statistics.pairs):
            arrays[f"average_{index}"] = average.numpy()
        arrays["history"] = np.array(json.dumps(self.history))
        if frozen:
            arrays["frozen"] = np.array(self._frozen_digest)
        with write_atomically(self._workdir.checkpoint_file) as temporary:
            write_npz(temporary, arrays)

    def _read(self) -> tuple[dict[str, np.ndarray], str]:
        """Read the arrays of the checkpoint, frozen ones included, and their hash.

        Raises:
            ValueError: If the frozen weights do not belong to the checkpoint.
        """
        with np.load(self._workdir.checkpoint_file, allow_pickle=False) as latest:
            arrays = dict(latest)
        digest = str(arrays.pop("frozen", ""))
        if digest:
            path = self._workdir.frozen_file
            if hash_path(path) != digest:
                raise ValueError(f"{path.name} does not belong to it")
            with np.load(path, allow_pickle=False) as frozen:
                arrays |= dict(frozen)
        return arrays, digest

    def _write_history(self) -> None:
        columns = list(self.history[0])
        write_csv(self._workdir.history_file, columns, self.history)
