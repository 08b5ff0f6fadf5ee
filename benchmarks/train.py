"""Seconds per epoch with augmentation, compared with two plain Keras scripts.

    python benchmarks/train.py [--config=esa3_cnn_both] [--clips=96] [--epochs=4]

The same network and optimizer get their batches in several ways, each in a process of
its own. They take turns after each epoch, so that other work of the machine affects all
equally. The first epoch compiles and fills caches; of the others the fastest counts.

- asc_tf: as `asc-tf train` does, with the masks and the mixup of the configuration,
  computed from decoded waveforms in each epoch.
- asc_tf, usual set: with roll and gain of the waveforms besides.
- asc_tf, none: without augmentation. What the usual set costs is the difference.
- generator: a plain script with librosa features, masks and mixup in a Python
  generator, from waveforms in memory.
- in memory: a plain script whose features are in memory, without augmentation: input
  costs nothing there.

Plain scripts train the layers of Keras; asc_tf trains batch norms by the fused kernel.
"""

import functools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags, logging
from noise_clips import LABELS, describe_corpus, write_clips, write_table

from asc_tf.core.tensorflow_start import prepare_tensorflow

prepare_tensorflow()

_CONFIG = flags.DEFINE_string("config", "esa3_cnn_both", "name of the configuration")
_CLIPS = flags.DEFINE_integer("clips", 96, "number of training clips", lower_bound=20)
_EPOCHS = flags.DEFINE_integer("epochs", 4, "number of measured epochs")
_WAY = flags.DEFINE_string("way", "", "used by the processes that this script starts")
_FOLDER = flags.DEFINE_string("folder", "", "used by them: folder of the clips")

GOALS = {"generator": 0.65, "in memory": 0.75}
"""Goals of the seconds of asc_tf, as shares of those of the others."""

USUAL = {"augment.time_roll": True, "augment.gain_db": 6.0}
NONE = {"augment.time_masks": 0, "augment.frequency_masks": 0}
NONE |= {"augment.mixup_alpha": 0.0}
GOAL_OF_AUGMENTATION = 0.05
"""Goal of the share of an epoch that the usual augmentation takes."""


def configuration() -> Any:
    """Return the configuration with the clips of this benchmark."""
    from asc_tf import config

    settings = config.read(config.find(_CONFIG.value))
    corpus = describe_corpus(_FOLDER.value)
    return settings.replace({**corpus, "train.epochs": _EPOCHS.value + 1})


def turn_taker() -> Any:
    """Return a callback that waits for a line before each epoch and prints its time."""
    import keras

    answers = sys.stdout
    sys.stdout = sys.stderr

    class Turns(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            sys.stdin.readline()
            self._began = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            seconds = time.perf_counter() - self._began
            print(json.dumps({"seconds": seconds}), file=answers, flush=True)

    return Turns()


def fit_ours(turns: Any, changes: dict[str, Any] | None = None) -> None:
    """Train as `asc-tf train` does, without validation and checkpoints."""
    import keras
    import tensorflow as tf

    from asc_tf.frontend import FrontendLayer, compute_statistics
    from asc_tf.pipeline import training_data
    from asc_tf.pipeline.batches import count_steps, make_training_batches
    from asc_tf.pipeline.prepare import prepare
    from asc_tf.training import build
    from asc_tf.workdir import Workdir

    config = configuration().replace(changes or {})
    workdir = Workdir(Path(tempfile.mkdtemp(dir=_FOLDER.value)))
    keras.utils.set_random_seed(1)
    tf.config.experimental.enable_op_determinism()
    run = prepare(config, workdir)
    frontend = FrontendLayer(config.audio.sample_rate, config.frontend)
    examples = training_data.make_examples(run, frontend)
    steps = count_steps(run.count_examples(), config.train.batch_size)
    trainer, _ = build.build_trainer(run, frontend, steps)
    frontend.set_statistics(*compute_statistics(frontend, examples.training_features()))
    trainer.fit(
        make_training_batches(examples, frontend, config),
        epochs=config.train.epochs,
        steps_per_epoch=steps,
        shuffle=False,
        callbacks=[turns],
        verbose=0,
    )


def plain_model(config: Any, shape: tuple[int, ...]) -> Any:
    """Build the network of layers of Keras and compile it as a plain script does."""
    import keras

    from asc_tf import models

    # A clone has the batch norms of Keras, not the fused ones.
    model = keras.models.clone_model(models.build(config.model, shape, LABELS))
    model.compile(
        keras.optimizers.Adam(config.train.learning_rate),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
        # By default Keras chooses XLA on a GPU, which asc_tf does not.
        jit_compile=config.train.jit_compile,
    )
    return model


def waveforms() -> tuple[np.ndarray, np.ndarray]:
    """Read the training clips `[clips, samples]` and targets `[clips, labels]`."""
    import librosa

    rate = configuration().audio.sample_rate
    paths = [Path(_FOLDER.value) / f"{n}.wav" for n in range(_CLIPS.value)]
    clips = np.stack([librosa.load(path, sr=rate)[0] for path in paths])
    targets = np.eye(LABELS, dtype=np.float32)[np.arange(_CLIPS.value) % LABELS]
    return clips, targets


def librosa_features(config: Any, clip: np.ndarray) -> np.ndarray:
    """Compute log-mel `[frames, bands]` with librosa, roughly standardized."""
    import librosa

    front = config.frontend
    mel = librosa.feature.melspectrogram(
        y=clip,
        sr=config.audio.sample_rate,
        n_fft=front.n_fft,
        hop_length=front.hop_length,
        n_mels=front.n_mels,
    )
    return (librosa.power_to_db(mel, ref=np.max).T + 40) / 20


def fit_generator(turns: Any) -> None:
    """Train as a plain script with a Python generator does."""
    config = configuration()
    clips, targets = waveforms()
    augment, size = config.augment, config.train.batch_size
    generator = np.random.default_rng(0)

    def mask(clip: np.ndarray, axis: int, count: int, widest: int) -> None:
        for _ in range(count):
            width = generator.integers(widest + 1)
            start = generator.integers(clip.shape[axis] - width + 1)
            np.swapaxes(clip, 0, axis)[start : start + width] = 0

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        while True:
            order = generator.permutation(len(clips))
            for first in range(0, len(order), size):
                own = order[first : first + size]
                x = np.stack([librosa_features(config, clips[n]) for n in own])
                y = targets[own]
                if augment.mixup_alpha:
                    alpha, other = augment.mixup_alpha, generator.permutation(len(own))
                    share = generator.beta(alpha, alpha, (len(own), 1))
                    y = share * y + (1 - share) * y[other]
                    share = share[..., None]
                    x = (share * x + (1 - share) * x[other]).astype(np.float32)
                for clip in x:
                    mask(clip, 0, augment.time_masks, augment.time_mask_frames)
                    mask(clip, 1, augment.frequency_masks, augment.frequency_mask_bands)
                yield x, y

    model = plain_model(config, librosa_features(config, clips[0]).shape)
    model.fit(
        batches(),
        epochs=config.train.epochs,
        steps_per_epoch=-(-len(clips) // size),
        callbacks=[turns],
        verbose=0,
    )


def fit_in_memory(turns: Any) -> None:
    """Train on features in memory, without augmentation."""
    config = configuration()
    clips, targets = waveforms()
    x = np.stack([librosa_features(config, clip) for clip in clips])
    plain_model(config, x.shape[1:]).fit(
        x,
        targets,
        batch_size=config.train.batch_size,
        epochs=config.train.epochs,
        callbacks=[turns],
        verbose=0,
    )


WAYS: dict[str, Callable[[Any], None]] = {
    "asc_tf": fit_ours,
    "asc_tf, usual set": functools.partial(fit_ours, changes=USUAL),
    "asc_tf, none": functools.partial(fit_ours, changes=NONE),
    "generator": fit_generator,
    "in memory": fit_in_memory,
}


def start(way: str, folder: str) -> subprocess.Popen:
    """Start a process that waits for its turns."""
    flags_of = {"way": way, "folder": folder, "config": _CONFIG.value}
    flags_of |= {"clips": _CLIPS.value, "epochs": _EPOCHS.value}
    words = [f"--{name}={value}" for name, value in flags_of.items()]
    return subprocess.Popen(
        [sys.executable, __file__, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def take_turns(folder: str) -> dict[str, list[float]]:
    """Return the seconds of the measured epochs for each way of training."""
    processes = {way: start(way, folder) for way in WAYS}
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(_EPOCHS.value + 1):
        for way, process in processes.items():
            assert process.stdin and process.stdout
            process.stdin.write("\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            if not answer:
                sys.exit(f"{way} failed; try it with --way={way} --folder=...")
            seconds[way].append(json.loads(answer)["seconds"])
    for process in processes.values():
        process.communicate()
    return {way: epochs[1:] for way, epochs in seconds.items()}


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        sys.exit(f"unexpected argument {argv[1]}")
    logging.set_verbosity(logging.ERROR)
    if _WAY.value:
        return WAYS[_WAY.value](turn_taker())
    with tempfile.TemporaryDirectory() as folder:
        audio = configuration().audio
        count = _CLIPS.value + 2
        write_table(
            write_clips(Path(folder), count, audio.segment_seconds, audio.sample_rate)
        )
        best = {way: min(epochs) for way, epochs in take_turns(folder).items()}
    print(f"{_CONFIG.value}, {_CLIPS.value} clips; best of {_EPOCHS.value} epochs")
    print(f"{'':18} {'s an epoch':>10} {'asc_tf takes':>13} {'goal':>5}")
    for way, seconds in best.items():
        share, goal = best["asc_tf"] / seconds, GOALS.get(way, "")
        print(f"{way:18} {seconds:10.2f} {share:13.2f} {goal:>5}")
    share = 1 - best["asc_tf, none"] / best["asc_tf, usual set"]
    print(
        f"usual augmentation: {share:.1%} of an epoch (goal {GOAL_OF_AUGMENTATION:.0%})"
    )


if __name__ == "__main__":
    app.run(main)
