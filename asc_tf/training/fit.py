"""Fit the model of a run: restore it where it was, and train its epochs."""

import contextlib
import math
import shlex
from pathlib import Path

import keras

from asc_tf import models
from asc_tf.config import Config
from asc_tf.core.errors import UserError
from asc_tf.core.interrupts import explain_interrupt
from asc_tf.frontend import FrontendLayer, compute_statistics
from asc_tf.pipeline import embeddings
from asc_tf.pipeline.batches import make_training_batches
from asc_tf.pipeline.examples import Examples, SegmentExamples
from asc_tf.pipeline.run import Run
from asc_tf.pipeline.training_data import make_examples
from asc_tf.pipeline.waveforms import explain_read_errors
from asc_tf.training.build import Training
from asc_tf.training.checkpoint import RunState
from asc_tf.training.device_memory import explain_full_memory
from asc_tf.training.energy import EnergyReport
from asc_tf.training.hparams import HParamsSummary
from asc_tf.training.model_file import complete_model
from asc_tf.training.optimization import ValidatedAverages
from asc_tf.training.progress import EpochReport
from asc_tf.training.tensorboard import (
    ConfusionSummaries,
    ExampleSummaries,
    check_disk,
)
from asc_tf.training.trainer import Trainer, WaitReport
from asc_tf.workdir import Workdir


def fit(training: Training, interactive: bool) -> Path:
    """Restore a training, and train the epochs that are left.

    Args:
        training: Training whose run folder is locked and begun.
        interactive: Whether to draw a progress bar beside the line per epoch.

    Returns:
        File of the model.
    """
    run, trainer, state = training.run, training.trainer, training.state
    config = run.config
    remark = ", and a new --workdir: a run folder keeps its batch sizes"
    memory = explain_full_memory(config, "train", "evaluate", remark=remark)
    interrupt = explain_interrupt(lambda: describe_interrupt(run))
    with explain_read_errors(), memory, interrupt:
        source = make_examples(run, trainer.frontend)
        with trainer.distribute_strategy.scope():
            is_resumed = state.resume(trainer)
        if is_resumed:
            print_resumed(config, state, trainer)
        else:
            set_statistics(run, trainer.frontend, source)
        if state.epochs_done < config.train.epochs and not state.is_exhausted:
            energy = None
            if config.train.energy:
                energy = EnergyReport(run.workdir, config.train.energy_country)
            examples = embed_examples(run, source, state.whole, energy)
            # It may hold decoded clips, which fill half of the memory.
            del source
            fit_epochs(training, examples, energy, interactive)
    complete_model(run.workdir)
    return conclude(state, run.workdir, config.train.epochs)


def set_statistics(run: Run, frontend: FrontendLayer, source: SegmentExamples) -> None:
    """Set the front-end's mean and standard deviation from the training features."""
    if run.config.frontend.standardize in ("none", "per_clip"):
        return
    print(
        "computing the mean and the standard deviation of the features of "
        f"{len(run.manifest.clips_in('train'))} training clips ...",
        flush=True,
    )
    frontend.set_statistics(*compute_statistics(frontend, source.training_features()))


def print_resumed(config: Config, state: RunState, trainer: Trainer) -> None:
    """Print where a run resumes, and the learning rate of a changed schedule."""
    done, epochs = state.epochs_done, config.train.epochs
    print(f"resuming after epoch {done} of {epochs}")
    if done >= epochs:
        name = "train.steps" if config.train.steps else "train.epochs"
        print(f"all epochs are done; a larger --{name} trains longer")
    elif not state.is_exhausted and (jump := state.rate_jump(trainer)):
        before, after = (f"{rate:.3g}" for rate in jump)
        rates = f"was {before} in the last step and is {after} in the next one"
        if before == after:
            rates = "of the steps so far was different"
        print(
            f"the number of epochs has changed: the learning rate {rates}, because "
            f"train.schedule = {config.train.schedule} now has {epochs} epochs; a run "
            f"of {epochs} epochs from the start would have other weights"
        )


def embed_examples(
    run: Run,
    examples: SegmentExamples,
    whole: keras.Model,
    energy: EnergyReport | None,
) -> Examples:
    """Return the embeddings of examples, or the examples where no cache holds them."""
    if reason := embeddings.explain_missing_cache(run.config):
        if run.config.model.name == "imagenet":
            print(f"no embedding cache, the backbone runs in every step: {reason}")
        return examples
    with energy.measure("embed") if energy else contextlib.nullcontext():
        return embeddings.EmbeddingCache(run, examples).embed(whole)


def fit_epochs(
    training: Training,
    examples: Examples,
    energy: EnergyReport | None,
    interactive: bool,
) -> None:
    """Fit the trainer for the epochs that are left."""
    run, trainer, state = training.run, training.trainer, training.state
    config, workdir = run.config, run.workdir
    folder = workdir.path / "tensorboard"
    parameters = models.get_body(state.whole).count_params()
    trained = sum(math.prod(each.shape) for each in trainer.trainable_variables)
    print(
        f"{trainer.name}: {parameters} parameters, {trained} of them trained, "
        f"{training.steps} steps an epoch"
    )
    has_validation = "validation" in config.dataset.training_splits
    first = state.epochs_done
    with check_disk(folder):
        trainer.fit(
            make_training_batches(examples, trainer.frontend, config, first),
            validation_data=examples.validation() if has_validation else None,
            initial_epoch=first,
            epochs=config.train.epochs,
            steps_per_epoch=training.steps,
            shuffle=False,
            callbacks=[
                ValidatedAverages(),
                # Before the state, whose writing of files is not training time.
                WaitReport(),
                state,
                EpochReport(config.train.epochs, training.steps, has_bar=interactive),
                keras.callbacks.TensorBoard(folder),
                HParamsSummary(folder, config, lambda: state.saved_row),
                ExampleSummaries(folder, workdir.labels(), run),
                ConfusionSummaries(
                    folder, workdir.labels(), config.tensorboard.confusion_every
                ),
                *([energy] if energy else []),
            ],
            verbose=0,
        )


def describe_interrupt(run: Run) -> str:
    """Complete the model of an interrupted run, and say how to resume."""
    complete_model(run.workdir)
    done = run.workdir.epochs_done()
    return (
        f"interrupted; {done} of {run.config.train.epochs} epochs are saved. To resume "
        "from there:\n"
        f"  asc-tf train --workdir={shlex.quote(str(run.workdir.path))}"
    )


def conclude(state: RunState, workdir: Workdir, epochs: int) -> Path:
    """Print which epoch's model is saved, and why training stopped early.

    Raises:
        UserError: If no epoch had a finite validation loss, so that none was saved.
    """
    row = state.saved_row
    if not row:
        raise UserError(
            "the validation loss was never finite: no model was saved; lower "
            "train.learning_rate, or look at the input with asc-tf inspect"
        )
    done = state.epochs_done
    if state.is_exhausted and done < epochs:
        print(
            f"stopped after epoch {done}: the validation loss did not fall any more; a "
            "larger --train.patience (0: none) trains longer"
        )
    name, key = "training", ""
    if "val_loss" in row:
        name, key = "validation", "val_"
    print(
        f"model.keras: {state.keep} epoch, {row['epoch']:.0f} of {done}: {name} loss "
        f"{row[key + 'loss']:.3f}, segment accuracy {row[key + 'accuracy']:.1%}"
    )
    return workdir.model_file
