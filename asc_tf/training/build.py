"""A configuration to what `fit` trains: body, front-end, optimizer and loss."""

from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from asc_tf import models
from asc_tf.config import Config, Model
from asc_tf.core.errors import UsageError
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.frontend import FrontendLayer
from asc_tf.manifest import Manifest
from asc_tf.models import budget, imagenet
from asc_tf.models.precision import choose_precision, dtype_policy, float32_twin
from asc_tf.pipeline import embeddings
from asc_tf.training import checkpoint, distribution, optimization
from asc_tf.training.model_file import load_whole
from asc_tf.training.trainer import Trainer
from asc_tf.workdir import Workdir


def body(
    config: Config,
    workdir: Workdir,
    frontend: FrontendLayer,
    labels: Sequence[str],
    steps: int,
) -> keras.Model:
    """The model from features to probabilities, as a run begins or goes on with it.

    A run that begins takes the weights of `model.init_from`; layers are frozen either
    way.

    Args:
        config: The configuration.
        workdir: The run folder.
        frontend: What makes its features.
        labels: Class order.
        steps: Of an epoch.

    Raises:
        UsageError: If there is no earlier run, it has other labels and its last layer
            is wanted, or no layer of a name to be frozen.
        UserError: If it is over a budget, the earlier weights do not fit, or the run
            has begun with other layers.
    """
    shape = Preprocessing.from_config(config.audio, config.evaluate).segment_shape
    made = models.build(
        config.model,
        frontend.compute_output_shape((None, *shape))[1:],
        len(labels),
        models.momentum_for(steps),
    )
    budget.check_budget(made, config.model, config.frontend)
    settings = config.model
    is_begun = workdir.checkpoint_file.is_file()
    if is_begun:
        models.check_resumable(made, workdir.model_file)
    if settings.init_from and not is_begun:
        earlier = models.body_of(load_whole(_earlier(settings, labels)))
        models.initialize(made, earlier, settings.freeze, keep_head=settings.keep_head)
    else:
        models.freeze_layers(made, settings.freeze)
    return made


def _earlier(settings: Model, labels: Sequence[str]) -> Path:
    """The file of the model that this one begins with."""
    run = Workdir(Path(settings.init_from))
    if not run.model_file.is_file():
        raise UsageError(
            f"model.init_from = {settings.init_from}: no model.keras there; name the "
            "folder of a run that asc-tf train has finished"
        )
    if settings.keep_head and run.labels() != tuple(labels):
        raise UsageError(
            f"model.keep_head = true: the labels of {settings.init_from} "
            f"({', '.join(run.labels())}) are not those of this run "
            f"({', '.join(labels)}); leave it out for a new last layer"
        )
    return run.model_file


def build_training(
    config: Config,
    workdir: Workdir,
    manifest: Manifest,
    frontend: FrontendLayer,
    steps: int,
) -> tuple[Trainer, checkpoint.RunState]:
    """What is trained, compiled, and what keeps it; to be called in the strategy.

    Where embeddings stand in for the examples, only what is behind them is trained.
    """
    train = config.train
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    precision = choose_precision(train.precision)
    if train.precision == "auto" or replicas > 1:
        print(f"training in {precision} on {replicas} device{'s'[: replicas - 1]}")
    shape = Preprocessing.from_config(config.audio, config.evaluate).segment_shape
    with dtype_policy(precision):
        network = body(config, workdir, frontend, manifest.labels, steps)
    whole, twin = models.with_frontend(frontend, network, shape), None
    if precision != "float32" or replicas > 1:
        twin = models.with_frontend(frontend, float32_twin(network), shape)
    if replicas > 1:
        distribution.synchronize(network)
    weights = optimization.class_weights(
        train, manifest.labels, [clip.label for clip in manifest.clips_in("train")]
    )
    trained = network
    if not embeddings.hindrance(config):
        _, trained = imagenet.split(network)
    trainer = Trainer(frontend, trained, config.augment, weights, train.ema)
    schedule = optimization.learning_rate_schedule(train, steps)
    optimizer = optimization.optimizer(train, schedule, replicas)
    if precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    # At once, so that its variables can be restored.
    optimizer.build(trainer.trainable_variables)
    trainer.compile(optimizer, loss=optimization.loss(train), metrics=["accuracy"])
    state = checkpoint.RunState(
        workdir, whole, schedule, train.patience, twin, train.keep
    )
    return trainer, state
