"""Build body, front-end, optimizer, loss and state of a run."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from asc_tf import models
from asc_tf.config import Model
from asc_tf.core.errors import UsageError
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.frontend import FrontendLayer
from asc_tf.models import budget, imagenet
from asc_tf.models.precision import (
    allow_tensor_float_32,
    choose_precision,
    dtype_policy,
    list_layers,
    make_float32_twin,
)
from asc_tf.pipeline import embeddings
from asc_tf.pipeline.batches import count_steps
from asc_tf.pipeline.run import Run
from asc_tf.training import checkpoint, distribution, optimization
from asc_tf.training.model_file import load_whole
from asc_tf.training.trainer import Trainer
from asc_tf.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Training:
    """Training of a run, built but not begun: its folder is not written to.

    Attributes:
        run: The run; its `train.epochs` is the number of epochs, also where
            `train.steps` is configured.
        trainer: Compiled model in training; the statistics of its front-end are not
            set yet.
        state: Callback that saves the run; it has restored nothing yet.
        steps: Number of steps of an epoch.
    """

    run: Run
    trainer: Trainer
    state: checkpoint.RunState
    steps: int


def build_training(run: Run) -> Training:
    """Set the seeds, and build the training of a prepared run; nothing is written.

    Raises:
        UserError: As `build_body` does, and if batches cannot be shared by the devices
            as configured.
    """
    config = run.config
    # Not 0: beside a global seed of 0, tf.data refuses seeds that are tensors.
    keras.utils.set_random_seed(config.train.seed + 1)
    if config.train.deterministic:
        tf.config.experimental.enable_op_determinism()
    allow_tensor_float_32(config.frontend.placement != "model")
    frontend = FrontendLayer(config.audio.sample_rate, config.frontend)
    count = run.count_examples()
    steps = count_steps(count, config.train.batch_size)
    epochs = config.train.count_epochs(steps)
    if config.train.steps:
        unit = "epoch" if epochs == 1 else "epochs"
        print(f"train.steps = {config.train.steps}: {epochs} {unit} of {steps} steps")
    run = dataclasses.replace(run, config=config.replace({"train.epochs": epochs}))
    with distribution.choose_strategy(config, count).scope():
        trainer, state = build_trainer(run, frontend, steps)
    return Training(run, trainer, state, steps)


def build_body(run: Run, frontend: FrontendLayer, steps: int) -> keras.Model:
    """Build the model from features to probabilities.

    A new run takes the weights of `model.init_from`. The configured layers are frozen
    in new and resumed runs.

    Raises:
        UsageError: If the run of `model.init_from` is missing, if `model.keep_head` is
            true and the labels differ, if no layer has a name of `model.freeze`, or if
            XLA cannot compile a layer.
        UserError: If the model exceeds a budget, the earlier weights do not fit, or
            the run has begun with other layers.
    """
    config, labels = run.config, run.manifest.labels
    shape = Preprocessing.from_config(config.audio, config.evaluate).segment_shape
    body = models.build(
        config.model,
        frontend.compute_output_shape((None, *shape))[1:],
        len(labels),
        models.choose_momentum(steps),
    )
    budget.check_budget(body, config.model, config.frontend)
    if config.train.jit_compile:
        _check_compilable(body)
    settings = config.model
    is_begun = run.workdir.checkpoint_file.is_file()
    if is_begun:
        models.check_resumable(body, run.workdir.model_file)
    if settings.init_from and not is_begun:
        earlier = models.get_body(load_whole(_find_earlier_model(settings, labels)))
        models.initialize(body, earlier, settings.freeze, keep_head=settings.keep_head)
    else:
        models.freeze_layers(body, settings.freeze)
    return body


def _check_compilable(body: keras.Model) -> None:
    """Refuse a network with a layer that XLA does not compile, a GRU on a GPU for one.

    Raises:
        UsageError: Naming the layer.
    """
    for layer in list_layers(body):
        # The layer in a Bidirectional.
        if not getattr(layer, "forward_layer", layer).supports_jit:
            raise UsageError(
                f"train.jit_compile = true: XLA cannot compile the layer {layer.name} "
                f"of {body.name}; give --train.jit_compile=false"
            )


def _find_earlier_model(settings: Model, labels: Sequence[str]) -> Path:
    """Return the file of the model that gives the first weights."""
    earlier = Workdir(Path(settings.init_from))
    if not earlier.model_file.is_file():
        raise UsageError(
            f"model.init_from = {settings.init_from}: no model.keras there; name the "
            "folder of a run that asc-tf train has finished"
        )
    if settings.keep_head and earlier.labels() != tuple(labels):
        raise UsageError(
            f"model.keep_head = true: the labels of {settings.init_from} "
            f"({', '.join(earlier.labels())}) are not those of this run "
            f"({', '.join(labels)}); leave it out for a new last layer"
        )
    return earlier.model_file


def build_trainer(
    run: Run, frontend: FrontendLayer, steps: int
) -> tuple[Trainer, checkpoint.RunState]:
    """Build and compile the trainer, and the callback that saves the run.

    Call it in the scope of the distribution strategy. If the examples are embeddings,
    only the layers behind the backbone are trained.
    """
    config, train = run.config, run.config.train
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    precision = choose_precision(train.precision)
    if train.precision == "auto" or replicas > 1:
        print(f"training in {precision} on {replicas} device{'s'[: replicas - 1]}")
    shape = Preprocessing.from_config(config.audio, config.evaluate).segment_shape
    with dtype_policy(precision):
        body = build_body(run, frontend, steps)
    whole, twin = models.attach_frontend(frontend, body, shape), None
    if precision != "float32" or replicas > 1:
        twin = models.attach_frontend(frontend, make_float32_twin(body), shape)
    if replicas > 1:
        distribution.synchronize(body)
    trained = body
    if not embeddings.explain_missing_cache(config):
        _, trained = imagenet.split(body)
    clip_labels = [clip.label for clip in run.manifest.clips_in("train")]
    weights = optimization.compute_class_weights(
        train, run.manifest.labels, clip_labels
    )
    trainer = Trainer(frontend, trained, config.augment, weights, train.ema)
    schedule = optimization.make_learning_rate_schedule(train, steps)
    optimizer = optimization.make_optimizer(train, schedule, replicas)
    if precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    # Built at once, so that its variables can be restored.
    optimizer.build(trainer.trainable_variables)
    trainer.compile(optimizer, loss=optimization.make_loss(train), metrics=["accuracy"])
    trainer.is_jit_compiled = train.jit_compile
    if replicas == 1:
        trainer.build_metrics()
    state = checkpoint.RunState(
        run.workdir, whole, schedule, train.patience, twin, train.keep
    )
    return trainer, state
