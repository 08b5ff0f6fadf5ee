"""Fine-tuning of a trained network for int8_qat and int8_pruned.

The network is trained further on the examples, with the augmentation, the loss and the
kind of learning-rate schedule of its run. What is finished is kept in the run folder,
and used again by the next export of the same model with the same settings.
"""

import dataclasses
import importlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from asc_tf import models
from asc_tf.config import Config
from asc_tf.core.errors import UsageError, UserError
from asc_tf.core.files import lock_file, write_atomically, write_npz
from asc_tf.core.interrupts import explain_interrupt
from asc_tf.core.packages import require_package
from asc_tf.exporting.calibration import draw_calibration_segments
from asc_tf.exporting.fine_tuning.identity import PACKAGES, RATE_SHARES, identify
from asc_tf.exporting.formats import TRAINED
from asc_tf.exporting.temperature import fold_temperature
from asc_tf.frontend import FrontendLayer
from asc_tf.models.blocks import HEAD
from asc_tf.models.precision import allow_tensor_float_32, make_float32_twin
from asc_tf.pipeline.batches import count_steps
from asc_tf.pipeline.evaluation_data import scan_splits
from asc_tf.pipeline.feature_store import StoredFeatures
from asc_tf.pipeline.prepare import check_sounds
from asc_tf.pipeline.run import Run
from asc_tf.pipeline.training_data import make_examples
from asc_tf.pipeline.waveforms import explain_read_errors
from asc_tf.training.device_memory import explain_full_memory
from asc_tf.training.optimization import compute_class_weights

if TYPE_CHECKING:
    from asc_tf.exporting.fine_tuning.loop import FineTuner, Result

FINE_TUNING = "finetuning"
"""Folder in a run folder, with a folder for each format."""

LESS_MEMORY = (
    "leave int8_qat and int8_pruned out of the formats, or set CUDA_VISIBLE_DEVICES=-1 "
    "to fine-tune without the GPU"
)
"""Advice where the memory is full: the batch size is that of the run."""

WARM_UP = 0.1
"""Share of the epochs in which the learning rate rises from zero, at most."""


@dataclasses.dataclass(frozen=True)
class FineTuned:
    """A network that was trained further.

    Attributes:
        model: Keras model from waveforms to probabilities.
        ranges: Smallest and largest value of the output of each layer, and of the
            `features`, measured during training; empty if the ranges of the file have
            to be measured.
    """

    model: keras.Model
    ranges: dict[str, tuple[float, float]]

    def fold(self, temperature: float) -> "FineTuned":
        """Return the network, and its ranges, with the logits divided by a temperature.

        Args:
            temperature: Divisor of the logits, above 0.
        """
        ranges = dict(self.ranges)
        if HEAD in ranges:
            low, high = ranges[HEAD]
            ranges[HEAD] = (low / temperature, high / temperature)
        return FineTuned(fold_temperature(self.model, temperature), ranges)


def check_fine_tuning(config: Config, formats: Collection[str]) -> None:
    """Refuse formats that cannot be trained, before any work.

    Raises:
        ModuleNotFoundError: If a package is missing.
        UsageError: If the network of the run cannot be trained like this.
        UserError: If a package is installed but cannot be imported.
    """
    if not (wanted := [name for name in formats if name in TRAINED]):
        return
    if config.model.name == "imagenet":
        raise UsageError(
            f"--formats: {', '.join(wanted)} cannot be made of model.name = imagenet: "
            "its backbones have layers (swish, squeeze and excitation) whose int8 "
            "arithmetic this training does not simulate, and a frozen backbone cannot "
            "recover from pruning; use int8"
        )
    for package in PACKAGES:
        require_package(package)
        try:
            importlib.import_module(package)
        # On another TensorFlow its errors are of many types.
        except Exception as error:
            raise UserError(
                f"--formats: {', '.join(wanted)}: the package {package} cannot be "
                f"imported beside TensorFlow {tf.__version__} ({type(error).__name__}: "
                f"{error}); install one that fits (pip install '.[train]'), or leave "
                "these formats out"
            ) from error


def fine_tune(run: Run, model: keras.Model, name: str, folder: Path) -> FineTuned:
    """Train the network of a run further, or take what an earlier export has trained.

    A training that was stopped continues, and has the weights of one that was not.

    Args:
        run: The run; `export.qat_epochs` and `export.sparsity` are used.
        model: Its model, waveform in.
        name: `int8_qat` or `int8_pruned`.
        folder: Folder of the checkpoint and of the result.

    Raises:
        UserError: If the clips or the training are refused, or the training is stopped.
    """
    from asc_tf.exporting.fine_tuning.loop import RESULT, read_npz, read_result

    check_fine_tuning(run.config, [name])
    frontend = next(each for each in model.layers if isinstance(each, FrontendLayer))
    body, shape = models.get_body(model), model.input_shape[1:]
    identity = identify(run.config, body, frontend, name)
    refusal = f"{folder}: another asc-tf export is training here; wait until it ends"
    with lock_file(folder / ".lock", refusal):
        saved = read_npz(folder / RESULT, identity)
        result = read_result(saved) if saved is not None else None
        if result is not None and _fits(result, body):
            print(f"{name}: using the network trained earlier, in {folder}")
        else:
            result = _train(run, body, frontend, name, folder, identity)
    print(_describe_kept(name, result))
    tuned = make_float32_twin(body)
    tuned.set_weights(result.weights)
    return FineTuned(models.attach_frontend(frontend, tuned, shape), result.ranges)


def _fits(result: "Result", body: keras.Model) -> bool:
    """Tell whether a result has weights of the shapes of a network."""
    shapes = [tuple(weight.shape) for weight in body.weights]
    return [weight.shape for weight in result.weights] == shapes


def _train(
    run: Run,
    body: keras.Model,
    frontend: FrontendLayer,
    name: str,
    folder: Path,
    identity: str,
) -> "Result":
    """Train, or resume, and write the result."""
    from asc_tf.exporting.fine_tuning.loop import CHECKPOINT, RESULT, describe_result

    run, train = _open_corpus(run), run.config.train
    # Not 0: beside a global seed of 0, tf.data refuses seeds that are tensors.
    keras.utils.set_random_seed(train.seed + 1)
    if train.deterministic:
        tf.config.experimental.enable_op_determinism()
    # The features on which ranges are measured are those of the exported file.
    allow_tensor_float_32(False)
    memory = explain_full_memory(run.config, remark=LESS_MEMORY)
    epochs = run.config.export.qat_epochs
    try:
        with explain_read_errors(), memory:
            tuner = _make_tuner(run, body, frontend, name, folder, identity)
            allow_tensor_float_32(run.config.frontend.placement != "model")
            with explain_interrupt(lambda: _describe_interrupt(tuner, name, epochs)):
                result = tuner.run()
    finally:
        allow_tensor_float_32(False)
    arrays = describe_result(result) | {"identity": np.array(identity)}
    arrays["history"] = np.array(json.dumps(result.history))
    with write_atomically(folder / RESULT) as temporary:
        write_npz(temporary, arrays)
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return result


def _open_corpus(run: Run) -> Run:
    """Open the clips, or the stored features, that the run was trained on."""
    config = run.config
    if config.dataset.features:
        stored = StoredFeatures.open(config.dataset.features)
        stored.check(config)
        return dataclasses.replace(run, manifest=stored.manifest, features=stored)
    check_sounds(config)
    return scan_splits(run, *config.dataset.training_splits)


def _make_tuner(
    run: Run,
    body: keras.Model,
    frontend: FrontendLayer,
    name: str,
    folder: Path,
    identity: str,
) -> "FineTuner":
    """Build the twin, and the training of it, at the last saved epoch."""
    from asc_tf.exporting.fine_tuning.loop import FineTuner

    config, path = run.config, run.workdir.model_file
    examples = make_examples(run, frontend)
    steps = count_steps(run.count_examples(), config.train.batch_size)
    epochs = config.export.qat_epochs
    momentum, seed = models.choose_momentum(steps), config.train.seed
    rate = RATE_SHARES[name] * config.train.learning_rate
    if name == "int8_qat":
        from asc_tf.exporting.fine_tuning.quantized_twin import QuantizedTwin

        twin: Any = QuantizedTwin(body, config.model, seed, path)
    else:
        from asc_tf.exporting.fine_tuning.pruned_twin import PrunedTwin

        share, total = config.export.sparsity, steps * epochs
        twin = PrunedTwin(body, config.model, share, total, momentum, seed, path)
    changes = {
        "train.steps": 0,
        "train.epochs": epochs,
        "train.learning_rate": rate,
        "train.warmup_epochs": min(config.train.warmup_epochs, WARM_UP * epochs),
    }
    labels = [clip.label for clip in run.manifest.clips_in("train")]
    tuner = FineTuner(
        twin,
        config.replace(changes),
        steps,
        config.train.count_epochs(steps),
        examples,
        frontend,
        compute_class_weights(config.train, run.manifest.labels, labels),
        _draw_features(run, frontend) if twin.has_ranges else [],
        folder,
        identity,
    )
    print(
        f"{name}: training {body.name} further, {epochs} epochs of {steps} steps, at a "
        f"learning rate of up to {rate:.3g}"
    )
    notes = list(twin.notes)
    if config.train.ema:
        notes.append(f"{name}: train.ema is not used, no weights are averaged")
    for note in notes:
        print(note)
    if tuner.resume():
        print(f"resuming after epoch {len(tuner.history)} of {epochs}")
    return tuner


def _draw_features(run: Run, frontend: FrontendLayer) -> list[tf.Tensor]:
    """Batch the features of calibration segments: float32 `[batch, frames, ...]`."""
    config = run.config
    segments = draw_calibration_segments(run, config.export.calibration_segments)
    size = config.train.batch_size
    return [
        frontend(segments[first : first + size])
        for first in range(0, len(segments), size)
    ]


def _describe_interrupt(tuner: "FineTuner", name: str, epochs: int) -> str:
    """Say how to resume an interrupted training."""
    return (
        f"interrupted; {len(tuner.history)} of {epochs} epochs of {name} are saved. To "
        "resume from there, give the same asc-tf export again"
    )


def _describe_kept(name: str, result: "Result") -> str:
    """Describe the epoch whose weights are exported."""
    if not result.epoch:
        return (
            f"{name}: no epoch has a lower validation loss than the network before "
            "the first one, which is exported"
        )
    row = next(each for each in result.history if each["epoch"] == result.epoch)
    split, key = ("validation", "val_") if "val_loss" in row else ("training", "")
    kernels = [each for each in result.weights if each.ndim > 1]
    share = sum(int((each == 0).sum()) for each in kernels) / sum(
        each.size for each in kernels
    )
    pruned = f"; {share:.0%} of its weights are zero" if name == "int8_pruned" else ""
    return (
        f"{name}: epoch {result.epoch} of {len(result.history)} is exported, {split} "
        f"loss {row[key + 'loss']:.3f}, segment accuracy {row[key + 'accuracy']:.1%}"
        f"{pruned}"
    )
