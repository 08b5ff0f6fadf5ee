"""A configuration to what `fit` trains: body, front-end, optimizer and loss."""

from pathlib import Path

import keras
import tensorflow as tf

from asc_tf import checkpoint, devices, embeddings, models, optimization
from asc_tf.config import Config
from asc_tf.errors import UsageError
from asc_tf.frontend import FrontendLayer
from asc_tf.learner import Learner
from asc_tf.listening import Listening
from asc_tf.manifest import Manifest
from asc_tf.models import budget, imagenet
from asc_tf.workdir import Workdir


def body(
    config: Config, workdir: Workdir, frontend: FrontendLayer, labels: int, steps: int
) -> keras.Model:
    """The model from features to probabilities, as a run begins or goes on with it.

    A run that begins takes the weights of `model.init_from`; layers are frozen either
    way.

    Args:
        config: The configuration.
        workdir: The run folder.
        frontend: What makes its features.
        labels: Number of classes.
        steps: Of an epoch.

    Raises:
        UsageError: If there is no earlier run, or no layer of a name to be frozen.
        UserError: If it is over a budget, or the earlier weights do not fit.
    """
    shape = Listening.of(config.audio, config.evaluate).segment_shape
    made = models.build(
        config.model,
        frontend.compute_output_shape((None, *shape))[1:],
        labels,
        models.momentum_for(steps),
    )
    budget.check_budget(made, config.model, config.frontend)
    if config.model.init_from and not workdir.checkpoint_file.is_file():
        earlier = checkpoint.load_whole(_earlier_model(config.model.init_from))
        models.initialize(made, models.body_of(earlier), config.model.freeze)
    else:
        models.freeze_layers(made, config.model.freeze)
    return made


def _earlier_model(folder: str) -> Path:
    path = Workdir(Path(folder)).model_file
    if not path.is_file():
        raise UsageError(
            f"model.init_from = {folder}: no model.keras there; name the folder of a "
            "run that asc-tf train has finished"
        )
    return path


def assembled(
    config: Config,
    workdir: Workdir,
    manifest: Manifest,
    frontend: FrontendLayer,
    steps: int,
) -> tuple[Learner, checkpoint.RunState]:
    """What is trained, compiled, and what keeps it; to be called in the strategy.

    Where embeddings stand in for the examples, only what is behind them is trained.
    """
    train = config.train
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    precision = devices.precision(train.precision)
    if train.precision == "auto" or replicas > 1:
        print(f"training in {precision} on {replicas} device{'s'[: replicas - 1]}")
    shape = Listening.of(config.audio, config.evaluate).segment_shape
    with devices.policy(precision):
        network = body(config, workdir, frontend, len(manifest.labels), steps)
    whole, twin = models.with_frontend(frontend, network, shape), None
    if precision != "float32" or replicas > 1:
        twin = models.with_frontend(frontend, devices.plain(network), shape)
    if replicas > 1:
        devices.synchronize(network)
    weights = optimization.class_weights(
        train, manifest.labels, [clip.label for clip in manifest.part("train")]
    )
    trained = network
    if not embeddings.hindrance(config):
        _, trained = imagenet.split(network)
    learner = Learner(frontend, trained, config.augment, weights)
    schedule = optimization.learning_rate_schedule(train, steps)
    optimizer = optimization.optimizer(train, schedule, replicas)
    if precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    # At once, so that its variables can be restored.
    optimizer.build(learner.trainable_variables)
    learner.compile(optimizer, loss=optimization.loss(train), metrics=["accuracy"])
    return learner, checkpoint.RunState(workdir, whole, schedule, train.patience, twin)
