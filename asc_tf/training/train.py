"""Train, or resume, a run: the corpus, the model, the epochs, the kept model."""

import contextlib
import importlib.util
import math
import shlex
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from asc_tf.config import Config
from asc_tf.config.checks import check_training, without_effect
from asc_tf.core.errors import UserError, install_hint
from asc_tf.manifest import Manifest, count_by_split
from asc_tf.pipeline.corpus_checks import corpus_notes, oddities
from asc_tf.pipeline.feature_store import StoredFeatures
from asc_tf.pipeline.prepare import prepare, prepare_stored
from asc_tf.workdir import Workdir

if TYPE_CHECKING:
    from asc_tf.pipeline.examples import Examples
    from asc_tf.training.checkpoint import RunState
    from asc_tf.training.trainer import Trainer


def train(config: Config, workdir: Workdir, *, interactive: bool = False) -> Path:
    """Train, or resume, the run of a configuration.

    Args:
        config: The configuration.
        workdir: The run folder; a new or empty one, or that of the same configuration,
            where `train.epochs` and `train.patience` may be others.
        interactive: Whether to draw a progress bar beside the line per epoch.

    Returns:
        The model's file.

    Raises:
        UserError: If the corpus, the folder or the training is refused.
    """
    check_training(config)
    stored = None
    if config.dataset.features:
        stored = StoredFeatures.open(config.dataset.features)
        manifest = prepare_stored(config, workdir, stored)
    else:
        manifest = prepare(config, workdir)
    print(f"{config.dataset.name}: {count_by_split(manifest)}")
    if manifest.protocol.get("leaky"):
        print("LEAKY: clips of one recording are on both sides of this split")
    if "validation" not in manifest.splits:
        print("no validation part: the model of the last epoch is kept")
    print_notes(config, workdir, manifest)
    print("building the model ...", flush=True)
    check_model(config, workdir, manifest)
    with workdir.lock():
        # Another process may have trained here since the folder was checked.
        workdir.check_config(config)
        workdir.begin(config, manifest)
        return fit(config, workdir, manifest, stored, interactive)


def print_notes(config: Config, workdir: Workdir, manifest: Manifest) -> None:
    """Say what is odd about the clips and settings; of a new run, compare the files."""
    used = (*manifest.clips_in("train"), *manifest.clips_in("validation"))
    is_begun = workdir.checkpoint_file.is_file()
    parts = () if is_begun else config.dataset.training_splits
    for note in (
        *corpus_notes(manifest, Path(config.dataset.dir), parts, parts),
        *oddities(used, config.audio),
        *without_effect(config),
    ):
        print(note)


def check_model(config: Config, workdir: Workdir, manifest: Manifest) -> None:
    """Refuse, before the run begins, a model that cannot be made as configured.

    Raises:
        UserError: As `assembly.body` and `check_energy` do.
    """
    if config.train.energy:
        check_energy(config.train.energy_country)
    if not workdir.checkpoint_file.is_file():
        from asc_tf.frontend import FrontendLayer
        from asc_tf.training import build

        frontend = FrontendLayer(config.audio.sample_rate, config.frontend)
        build.body(config, workdir, frontend, manifest.labels, steps=1)


def check_energy(country: str) -> None:
    """Refuse to measure energy without codecarbon, or CO2 of an unknown country.

    Raises:
        UserError: Saying what to do.
    """
    if importlib.util.find_spec("codecarbon") is None:
        raise UserError(
            "train.energy = true: needs the package codecarbon, which is not "
            f"installed: {install_hint('energy')}, or give --train.energy=false"
        )
    from asc_tf.training.energy import emissions_per_kwh

    emissions_per_kwh(country)


def fit(
    config: Config,
    workdir: Workdir,
    manifest: Manifest,
    stored: StoredFeatures | None,
    interactive: bool,
) -> Path:
    """The training itself, once the corpus is ready; see `train`."""
    import keras
    import tensorflow as tf

    from asc_tf.frontend import FrontendLayer, statistics
    from asc_tf.models.precision import allow_tensor_float_32
    from asc_tf.pipeline.examples import steps_per_epoch
    from asc_tf.pipeline.training_data import make_examples
    from asc_tf.pipeline.waveforms import reading
    from asc_tf.training import build, distribution
    from asc_tf.training.model_file import complete_model

    # Not 0: beside a global seed of 0, tf.data refuses seeds that are tensors.
    keras.utils.set_random_seed(config.train.seed + 1)
    tf.config.experimental.enable_op_determinism()
    is_placed = config.frontend.placement == "model"
    allow_tensor_float_32(not is_placed)
    frontend = FrontendLayer(config.audio.sample_rate, config.frontend)
    examples = make_examples(config, workdir, manifest, stored, frontend)
    steps = steps_per_epoch(examples.count(), config.train.batch_size)
    config = config.replace({"train.epochs": config.train.count_epochs(steps)})
    if config.train.steps:
        epochs = config.train.epochs
        unit = "epoch" if epochs == 1 else "epochs"
        print(f"train.steps = {config.train.steps}: {epochs} {unit} of {steps} steps")
    strategy = distribution.strategy(config, examples.count())
    with strategy.scope():
        trainer, state = build.build_training(
            config, workdir, manifest, frontend, steps
        )
        is_resumed = state.resume(trainer)
    if is_resumed:
        say_resumed(config, state, trainer)
    elif config.frontend.standardize not in ("none", "per_clip"):
        print(
            "computing the mean and the standard deviation of the features of "
            f"{len(manifest.clips_in('train'))} training clips ...",
            flush=True,
        )
        with reading():
            frontend.set_statistics(*statistics(frontend, examples.extracted()))
    if state.epochs_done < config.train.epochs and not state.is_exhausted:
        with reading(), interruptible(config, workdir, state):
            learn(config, workdir, examples, trainer, state, interactive)
    complete_model(workdir)
    return conclude(state, workdir, config.train.epochs)


def say_resumed(config: Config, state: "RunState", trainer: "Trainer") -> None:
    """Say where a run goes on, and which learning rate a changed schedule gives it."""
    done, epochs = state.epochs_done, config.train.epochs
    print(f"resuming after epoch {done} of {epochs}")
    if done >= epochs:
        name = "train.steps" if config.train.steps else "train.epochs"
        print(f"all epochs are done; a larger --{name} trains longer")
    elif not state.is_exhausted and (jump := state.rate_jump(trainer)):
        before, after = (f"{rate:.3g}" for rate in jump)
        rates = f"was {before} in the last step and is {after} in the next one"
        if before == after:
            rates = "of the steps so far was another one"
        print(
            f"the number of epochs has changed: the learning rate {rates}, as "
            f"train.schedule = {config.train.schedule} over {epochs} epochs has it; a "
            f"run of {epochs} epochs from the start would have other weights"
        )


def learn(
    config: Config,
    workdir: Workdir,
    examples: "Examples",
    trainer: "Trainer",
    state: "RunState",
    interactive: bool,
) -> None:
    """The epochs that are left, after the embeddings where these are learned from."""
    import keras

    from asc_tf import models
    from asc_tf.pipeline import embeddings
    from asc_tf.pipeline.examples import steps_per_epoch, training_batches
    from asc_tf.training.energy import EnergyReport
    from asc_tf.training.optimization import ValidatedAverages
    from asc_tf.training.progress import EpochReport
    from asc_tf.training.tensorboard import Pictures, checked_disk
    from asc_tf.training.trainer import WaitReport

    folder = workdir.path / "tensorboard"
    country = config.train.energy_country
    energy = [EnergyReport(workdir, country)] if config.train.energy else []
    if isinstance(examples, embeddings.EmbeddedExamples):
        with energy[0].counted("embed") if energy else contextlib.nullcontext():
            examples.embed(state.whole)
    steps = steps_per_epoch(examples.count(), config.train.batch_size)
    parameters = models.body_of(state.whole).count_params()
    trained = sum(math.prod(each.shape) for each in trainer.trainable_variables)
    print(
        f"{trainer.name}: {parameters} parameters, {trained} of them trained, "
        f"{steps} steps an epoch"
    )
    has_validation = "validation" in config.dataset.training_splits
    first, frontend = state.epochs_done, trainer.frontend
    with checked_disk(folder):
        trainer.fit(
            training_batches(examples, frontend, config, first),
            validation_data=examples.validation() if has_validation else None,
            initial_epoch=first,
            epochs=config.train.epochs,
            steps_per_epoch=steps,
            shuffle=False,
            callbacks=[
                ValidatedAverages(),
                # Before the state, whose writing of files is not training time.
                WaitReport(),
                state,
                EpochReport(config.train.epochs, steps, has_bar=interactive),
                keras.callbacks.TensorBoard(folder),
                Pictures(folder, workdir.labels()),
                *energy,
            ],
            verbose=0,
        )


@contextlib.contextmanager
def interruptible(
    config: Config, workdir: Workdir, state: "RunState"
) -> Iterator[None]:
    """Say how to go on where Ctrl-C, or SIGTERM, stops what is within.

    Raises:
        UserError: Where it does.
    """
    from asc_tf.training.model_file import complete_model

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    # Only the main thread may set handlers.
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop) if is_main else None
    try:
        yield
    except KeyboardInterrupt:
        complete_model(workdir)
        raise UserError(
            f"interrupted; {state.epochs_kept} of {config.train.epochs} epochs are "
            "kept. To go on from there:\n"
            f"  asc-tf train --workdir={shlex.quote(str(workdir.path))}"
        ) from None
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def conclude(state: "RunState", workdir: Workdir, epochs: int) -> Path:
    """Say which epoch's model is kept, and why training stopped before the last one.

    Raises:
        UserError: If no epoch had a finite validation loss, by which one is chosen.
    """
    if not state.kept:
        raise UserError(
            "the validation loss was never finite: no model was saved; lower "
            "train.learning_rate, or look at the input with asc-tf inspect"
        )
    done, kept = state.epochs_done, state.kept
    if state.is_exhausted and done < epochs:
        print(
            f"stopped after epoch {done}: the validation loss did not fall any more; a "
            "larger --train.patience (0: none) trains longer"
        )
    name, key = "training", ""
    if "val_loss" in kept:
        name, key = "validation", "val_"
    print(
        f"model.keras: {state.keep} epoch, {kept['epoch']:.0f} of {done}: {name} loss "
        f"{kept[key + 'loss']:.3f}, segment accuracy {kept[key + 'accuracy']:.1%}"
    )
    return workdir.model_file
