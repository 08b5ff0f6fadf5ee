"""asc-tf train: clips in, a run folder with the best model out."""

import contextlib
import dataclasses
import importlib.util
import math
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from asc_tf import channels, command
from asc_tf import config as configuration
from asc_tf.config import Audio, Config
from asc_tf.config.checks import without_effect
from asc_tf.errors import UserError
from asc_tf.manifest import Manifest, count_by_split
from asc_tf.preparation import corpus_notes, oddities, prepare, prepare_stored, resolve
from asc_tf.stored import StoredFeatures
from asc_tf.workdir import Workdir

if TYPE_CHECKING:
    from asc_tf.batches import Examples
    from asc_tf.checkpoint import RunState
    from asc_tf.frontend import FrontendLayer
    from asc_tf.learner import Learner
    from asc_tf.pipeline import Waveforms

USAGE = """
Train a classifier.

  asc-tf train --config=esc10_small --dataset.dir=ESC-50 --workdir=runs/esc10

The same command resumes a run that was stopped. Every key of the configuration is also
a flag; a flag goes before the file of --config, and that before the defaults.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return command.run(COMMAND, argv)


def _define(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "config", None, "a TOML file, or the name of a shipped one", flag_values=values
    )
    flags.DEFINE_string("workdir", None, "the run folder", flag_values=values)


def _main(values: flags.FlagValues) -> int:
    command.no_positional(values)
    workdir = Workdir(command.new_path(values, "workdir"))
    config = resolve(values, COMMAND.configuration_keys())
    train(config, workdir, interactive=sys.stdout.isatty())
    print(f"\nNext: asc-tf evaluate --workdir={workdir.path}")
    return 0


def train(config: Config, workdir: Workdir, *, interactive: bool = False) -> Path:
    """Train, or resume, the run of a configuration.

    Args:
        config: The configuration.
        workdir: The run folder; a new or empty one, or that of the same configuration.
        interactive: Whether to draw a progress bar instead of a line per epoch.

    Returns:
        The best model's file.

    Raises:
        UserError: If the corpus, the folder or the training is refused.
    """
    stored = None
    if config.dataset.features:
        stored = StoredFeatures.open(config.dataset.features)
        manifest = prepare_stored(config, workdir, stored)
    else:
        manifest = prepare(config, workdir)
    print(f"{config.dataset.name}: {count_by_split(manifest)}")
    if manifest.protocol.get("leaky"):
        print("LEAKY: clips of one recording are on both sides of this split")
    print_notes(config, workdir, manifest)
    check_model(config, workdir, manifest)
    workdir.begin(config, manifest)
    with workdir.locked():
        return fit(config, workdir, manifest, stored, interactive)


def print_notes(config: Config, workdir: Workdir, manifest: Manifest) -> None:
    """Say what is odd about the clips and settings; of a new run, compare the files."""
    used = (*manifest.part("train"), *manifest.part("validation"))
    parts = () if workdir.checkpoint_file.is_file() else ("train", "validation")
    for note in (
        *corpus_notes(manifest, Path(config.dataset.dir), parts, parts),
        *oddities(used, config.audio),
        *without_effect(config),
    ):
        print(note)


def check_model(config: Config, workdir: Workdir, manifest: Manifest) -> None:
    """Refuse, before the run begins, a model that cannot be made as configured.

    Raises:
        UserError: As `assembly.body` does, or if codecarbon is missing.
    """
    if config.train.energy and importlib.util.find_spec("codecarbon") is None:
        raise UserError(
            "train.energy = true: needs codecarbon: pip install 'asc-tf[energy]', or "
            "--train.energy=false"
        )
    if not workdir.checkpoint_file.is_file():
        from asc_tf import assembly
        from asc_tf.frontend import FrontendLayer

        frontend = FrontendLayer(config.audio.sample_rate, config.frontend)
        assembly.body(config, workdir, frontend, manifest.labels, steps=1)


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

    from asc_tf import assembly, batches, devices, pipeline
    from asc_tf.frontend import FrontendLayer, statistics

    # Not 0: beside a global seed of 0, tf.data refuses seeds that are tensors.
    keras.utils.set_random_seed(config.train.seed + 1)
    tf.config.experimental.enable_op_determinism()
    is_placed = config.frontend.placement == "model"
    # Features must have all their digits on a GPU too.
    tf.config.experimental.enable_tensor_float_32_execution(not is_placed)
    frontend = FrontendLayer(config.audio.sample_rate, config.frontend)
    examples = examples_of(config, workdir, manifest, stored, frontend)
    steps = batches.steps_per_epoch(examples.count(), config.train.batch_size)
    strategy = devices.strategy(config, examples.count())
    with strategy.scope():
        learner, state = assembly.assembled(config, workdir, manifest, frontend, steps)
        is_resumed = state.resume(learner)
    if is_resumed:
        print(f"resuming after epoch {state.epochs_done} of {config.train.epochs}")
    elif config.frontend.standardize not in ("none", "per_clip"):
        with pipeline.reading():
            frontend.set_statistics(*statistics(frontend, examples.extracted()))
    if state.epochs_done < config.train.epochs and not state.is_exhausted:
        with pipeline.reading(), interruptible(config, workdir, state):
            learn(config, workdir, examples, learner, state, interactive)
    return conclude(state, workdir)


def learn(
    config: Config,
    workdir: Workdir,
    examples: "Examples",
    learner: "Learner",
    state: "RunState",
    interactive: bool,
) -> None:
    """The epochs that are left, after the embeddings where these are learned from."""
    import keras

    from asc_tf import batches, embeddings, models
    from asc_tf.board import Pictures
    from asc_tf.energy import EnergyReport
    from asc_tf.learner import WaitReport
    from asc_tf.optimization import ValidatedAverages

    folder = workdir.path / "tensorboard"
    energy = [EnergyReport(workdir)] if config.train.energy else []
    if isinstance(examples, embeddings.EmbeddedExamples):
        with energy[0].counted("embed") if energy else contextlib.nullcontext():
            examples.embed(state.whole)
    steps = batches.steps_per_epoch(examples.count(), config.train.batch_size)
    parameters = models.body_of(state.whole).count_params()
    trained = sum(math.prod(each.shape) for each in learner.trainable_variables)
    print(
        f"{learner.name}: {parameters} parameters, {trained} of them trained, "
        f"{steps} steps an epoch"
    )
    first, frontend = state.epochs_done, learner.frontend
    learner.fit(
        batches.training_batches(examples, frontend, config, first),
        validation_data=examples.validation(),
        initial_epoch=first,
        epochs=config.train.epochs,
        steps_per_epoch=steps,
        shuffle=False,
        callbacks=[
            ValidatedAverages(),
            state,
            WaitReport(),
            keras.callbacks.TensorBoard(folder),
            Pictures(folder),
            *energy,
        ],
        verbose=1 if interactive else 2,
    )


@contextlib.contextmanager
def interruptible(
    config: Config, workdir: Workdir, state: "RunState"
) -> Iterator[None]:
    """Say how to go on where Ctrl-C, or SIGTERM, stops what is within.

    Raises:
        UserError: Where it does.
    """

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    # Only the main thread may set handlers.
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop) if is_main else None
    try:
        yield
    except KeyboardInterrupt:
        folder, file = (
            shlex.quote(str(path)) for path in (workdir.path, workdir.config_file)
        )
        raise UserError(
            f"interrupted; {state.epochs_kept} of {config.train.epochs} epochs are "
            "kept. To go on from there:\n"
            f"  asc-tf train --config={file} --workdir={folder}"
        ) from None
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def examples_of(
    config: Config,
    workdir: Workdir,
    manifest: Manifest,
    stored: StoredFeatures | None,
    frontend: "FrontendLayer",
) -> "Examples":
    """Where training and validation come from: clips, or stored features.

    Of what is the same for a frozen backbone in every epoch, it is the embeddings.
    """
    from asc_tf import banks, batches, embeddings

    found: Examples
    if stored:
        found = batches.StoredExamples(stored, frontend, config)
        return embeddings.embedded(found, workdir, manifest, config)
    training, validation = decoded_parts(config, workdir, manifest)
    sounds = banks.load(
        config.augment,
        config.audio.sample_rate,
        config.audio.segment_samples,
        config.train.seed,
        config.audio,
    )
    found = batches.ClipExamples(training, validation, frontend, config, sounds)
    return embeddings.embedded(found, workdir, manifest, config)


def decoded_parts(
    config: Config, workdir: Workdir, manifest: Manifest
) -> tuple["Waveforms", "Waveforms"]:
    """The clips of training and validation.

    Training clips are kept decoded as configured, unless they would fill more than half
    of the machine's memory. Of validation clips the features are kept instead, where
    they are not made in the model.
    """
    from tqdm import tqdm

    from asc_tf.batches import fits_memory
    from asc_tf.pipeline import Waveforms

    audio, training = config.audio, manifest.part("train")
    if config.augment.random_channel:
        audio = dataclasses.replace(audio, channels="stereo")
    is_placed = config.frontend.placement == "model"
    kept = [*training, *(manifest.part("validation") if is_placed else ())]
    wanted = 4 * audio.sample_rate * sum(clip.seconds for clip in kept)
    wanted *= channels.count(audio.channels)
    wanted *= len(channels.views(audio.channels, 2))
    if audio.cache == "memory" and not fits_memory(wanted):
        print(
            f"the clips take {wanted / 1e9:.1f} GB decoded, more than half of "
            "this machine's memory: they are decoded anew each epoch (audio.cache = "
            "disk keeps them in files)"
        )
        audio = dataclasses.replace(audio, cache="none")
    once = audio.cache if audio.cache == "disk" or is_placed else "none"

    def decoded(split: str, audio: Audio) -> "Waveforms":
        return Waveforms(
            manifest.part(split),
            Path(config.dataset.dir),
            manifest.labels,
            audio,
            workdir.audio_cache(config.audio),
            unverified_weight=config.dataset.unverified_weight,
            progress=lambda done: tqdm(
                done, "decode", unit=" clips", leave=False, disable=None
            ),
        )

    validation = dataclasses.replace(audio, cache=once, channels=config.audio.channels)
    return decoded("train", audio), decoded("validation", validation)


def conclude(state: "RunState", workdir: Workdir) -> Path:
    """Say which epoch was best.

    Raises:
        UserError: If no epoch had a finite validation loss.
    """
    if not state.best:
        raise UserError(
            "the validation loss was never finite: no model was saved; lower "
            "train.learning_rate, or look at the input with asc-tf inspect"
        )
    print(
        f"best epoch {state.best['epoch']:.0f} of {state.epochs_done}: validation loss "
        f"{state.best['val_loss']:.3f}, accuracy {state.best['val_accuracy']:.1%}"
    )
    return workdir.model_file


COMMAND = command.Command(
    name="train",
    usage=USAGE,
    main=_main,
    define=_define,
    sections=tuple({key.split(".")[0]: None for key in configuration.FIELDS}),
)

if __name__ == "__main__":
    sys.exit(main())
