"""The state of a run after an epoch: saved whole, resumed to the last bit.

Keras's own `BackupAndRestore` leaves out the seed generators of dropout, so that a
resumed run would differ from an uninterrupted one. Here every variable is saved:
weights, statistics, optimizer and seed generators, with the history beside them.

Frozen weights, of a backbone for example, are many and never change: an epoch writes
only the others. They are in a file of their own beside the checkpoint, and in the first
`model.keras`. A better model is written as its other weights (`best.npz`), which
`asc_tf.training.model_file` puts into the model.
"""

import json
import zipfile
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from asc_tf.core.errors import UserError
from asc_tf.core.files import hash_path, write_atomically, write_csv, write_npz
from asc_tf.frontend import FrontendLayer
from asc_tf.models.precision import list_layers
from asc_tf.training.model_file import kept_row
from asc_tf.training.optimization import PlateauSchedule, swap_averages
from asc_tf.workdir import Workdir


class RunState(keras.callbacks.Callback):
    """Keeps the model, the history and the checkpoint; stops early.

    At the end of an epoch `model.keras` is written first (if it is the best so far, or
    with `train.keep = last` in any case), then the history, then the checkpoint:
    whatever is cut off between them is done again, with the same result, when the run
    resumes.

    Args:
        workdir: The run folder.
        whole: The model with its front-end, which is saved; its body is in training.
        schedule: The learning rate by step.
        patience: Epochs without a lower validation loss before training stops.
        twin: Where `whole` is trained in mixed precision or on several devices, a plain
            model alike, which is saved in its place.
        keep: `train.keep`: the epoch whose model is saved, best or last.

    Attributes:
        whole: The model with its front-end.
        history: One row per epoch.
        epochs_kept: Epochs in the checkpoint, from which a stopped run goes on.
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
        self.epochs_kept = 0
        # Whether model.keras and frozen.npz are of this run.
        self._has_model = False
        self._frozen_digest = ""

    @property
    def epochs_done(self) -> int:
        """Epochs in the history."""
        return len(self.history)

    @property
    def best(self) -> dict[str, float] | None:
        """The row of the epoch with the lowest validation loss."""
        return kept_row(self.history, "best")

    @property
    def kept(self) -> dict[str, float] | None:
        """The row of the epoch whose model is saved."""
        return kept_row(self.history, self.keep)

    @property
    def is_exhausted(self) -> bool:
        """Whether patience has run out."""
        if not self._patience or not self.best:
            return False
        return self.epochs_done - self.best["epoch"] >= self._patience

    def resume(self, model: keras.Model) -> bool:
        """Restore the checkpoint into `model`, where there is one.

        Returns:
            Whether there was one.

        Raises:
            UserError: If it is damaged or of another model.
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
                    f"{count} variables there, {len(variables)} here: "
                    "train.precision = auto may choose otherwise on another machine"
                )
            for index, variable in enumerate(variables):
                variable.assign(saved[f"variable_{index}"])
            # Runs of the time before there were averages of statistics have none.
            for index, (statistic, average) in enumerate(model.statistics.pairs):
                average.assign(saved.get(f"average_{index}", statistic.numpy()))
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{path}: the checkpoint cannot be restored ({error}); remove the "
                "folder checkpoints to start the run again"
            ) from error
        self.history, self.epochs_kept = history, len(history)
        self._frozen_digest = digest
        self._has_model = self._workdir.model_file.is_file()
        self._follow_history()
        self._write_history()
        return True

    def rate_jump(self, model: keras.Model) -> tuple[float, float] | None:
        """Compare the schedule with the one that the epochs so far had.

        They differ where `train.epochs` has changed since and the schedule depends on
        it.

        Args:
            model: The compiled model, after `resume`.

        Returns:
            The learning rates of the last step and of the next one where the schedule
            would have given the last step another one; else None.
        """
        # The rate of a plateau follows from the history, not from the epochs.
        if not self.history or isinstance(self._schedule, PlateauSchedule):
            return None
        done = int(model.optimizer.iterations.numpy())
        last = self.history[-1]["learning_rate"]
        # float32 on another machine may round otherwise.
        if np.isclose(float(self._schedule(done - 1)), last, rtol=1e-3, atol=0):
            return None
        return last, float(self._schedule(done))

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Stop at once where the loss, its mean since the epoch began, is not finite.

        Raises:
            UserError: Naming step, epoch, rate and what is kept.
        """
        if logs is None or np.isfinite(logs["loss"]):
            return
        step = f"in step {batch + 1} of epoch {self.epochs_done + 1}"
        raise self._not_finite("the loss is", step)

    def _not_finite(self, what: str, where: str) -> UserError:
        kept = "no epoch has ended, so nothing is kept"
        if self.epochs_kept:
            kept = f"{self._workdir.checkpoint_file} keeps epoch {self.epochs_kept}"
        return UserError(
            f"{what} not finite {where}, at learning rate {self._rate():.3g} ({kept}); "
            "use a new folder and a lower train.learning_rate, or train.clip_norm = 1, "
            "or look at the input with asc-tf inspect"
        )

    def _rate(self) -> float:
        """That of the last step; the schedule already stands at the next."""
        done = int(self.model.optimizer.iterations.numpy())
        return float(self._schedule(max(done - 1, 0)))

    def _values(self) -> Iterator[np.ndarray]:
        """The floating-point variables, which training can spoil."""
        for variable in self._variables(self.model):
            value = variable.numpy()
            if np.issubdtype(value.dtype, np.floating):
                yield value

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write what the epoch has brought.

        Raises:
            UserError: If a weight is not finite, which pooling can hide from the loss;
                nothing is written then.
        """
        if not all(np.isfinite(value).all() for value in self._values()):
            raise self._not_finite("a weight is", f"at the end of epoch {epoch + 1}")
        previous, rate = self.kept, self._rate()
        # How long the machine took is no part of a result that can be repeated.
        known = {k: float(v) for k, v in (logs or {}).items() if k != "waiting"}
        row = {"epoch": epoch + 1} | known
        self.history.append(row | {"learning_rate": rate})
        if self.kept is not previous:
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
        frozen, best_file = self._frozen(), self._workdir.best_file
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
            # It may be of an earlier run in this folder.
            best_file.unlink(missing_ok=True)
            with write_atomically(self._workdir.model_file) as temporary:
                model.save(temporary)
            self._has_model = True
        swap_averages(self.model)

    def _frozen(self) -> set[int]:
        """Identities of the weights that are frozen, those of the front-end apart.

        The front-end has few weights and every model has one: without a frozen
        backbone `model.keras` is always written whole.
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
        frozen = self._frozen()
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
        self.epochs_kept = self.epochs_done

    def _read(self) -> tuple[dict[str, np.ndarray], str]:
        """Read the arrays of the checkpoint and its frozen weights, and their digest.

        Raises:
            ValueError: If the frozen weights are not those of the checkpoint.
        """
        with np.load(self._workdir.checkpoint_file, allow_pickle=False) as latest:
            arrays = dict(latest)
        digest = str(arrays.pop("frozen", ""))
        if digest:
            path = self._workdir.frozen_file
            if hash_path(path) != digest:
                raise ValueError(f"{path.name} is not the file that belongs to it")
            with np.load(path, allow_pickle=False) as frozen:
                arrays |= dict(frozen)
        return arrays, digest

    def _write_history(self) -> None:
        columns = list(self.history[0])
        write_csv(self._workdir.history_file, columns, self.history)
