"""Transfer from ImageNet: a backbone of Keras Applications and a new last layer.

The features are images, `[frames, bands, 3]` with values 0 to 255, as the front-end's
image mode gives them. The model includes each backbone's own preprocessing of pixels.
"""

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from zipfile import BadZipFile

import keras

from asc_tf.config import Model, suggest
from asc_tf.core.errors import UsageError, UserError
from asc_tf.core.paths import expand_home
from asc_tf.models.blocks import Blocks

ADDRESS = "https://storage.googleapis.com/tensorflow/keras-applications"

POOLED = "mean"
"""Name of the layer that averages the backbone's maps."""


@dataclass(frozen=True)
class Backbone:
    """An application of Keras, and the address of its weights without top.

    Attributes:
        application: Name of its function in `keras.applications`.
        folder: Folder of the weights, below `ADDRESS`.
        file: File name of the weights.
        checksum: MD5 of the weights as in Keras; empty where Keras has none.
        scales: True if it scales pixels of 0 to 255 itself; others take -1 to 1.
    """

    application: str
    folder: str
    file: str
    checksum: str
    scales: bool = False

    @property
    def address(self) -> str:
        """Address of its weights."""
        return f"{ADDRESS}/{self.folder}/{self.file}"


BACKBONES = {
    "inception_v3": Backbone(
        "InceptionV3",
        "inception_v3",
        "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "bcbd6486424b2319ff4ef7d526e38f63",
    ),
    "mobilenet_v2": Backbone(
        "MobileNetV2",
        "mobilenet_v2",
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
        "",
    ),
    "efficientnet_v2_b0": Backbone(
        "EfficientNetV2B0",
        "efficientnet_v2",
        "efficientnetv2-b0_notop.h5",
        "893217f2bb855e2983157299931e43ff",
        scales=True,
    ),
}


def build(blocks: Blocks, settings: Model, shape: tuple[int, ...], labels: int) -> Any:
    """Build the network: the backbone, the average of its maps, a new last layer.

    Layers of the backbone before `train_from` are not trained and behave in training as
    in inference: nothing is dropped, and batch norms use the statistics of ImageNet.
    Batch norms behind it use them too, because the batches of fine-tuning are small;
    they are trained only where `weights` is none.

    Args:
        blocks: Layers of Keras or tf_keras.
        settings: Model settings: `backbone`, `weights`, `train_from`, `dropout`.
        shape: Shape of an image, `[frames, bands, 3]`.
        labels: Number of classes.

    Returns:
        A model from `[batch, *shape]` to probabilities `[batch, labels]`.

    Raises:
        UsageError: If the features are no images, or `train_from` names no layer.
        UserError: If the weights cannot be fetched or read.
    """
    if len(shape) != 3 or shape[2] != 3:
        raise UsageError(
            f"model.name = imagenet: takes images [frames, bands, 3], not {shape}; set "
            "frontend.image_frames and frontend.image_bands"
        )
    backbone, library = BACKBONES[settings.backbone], blocks.library
    application = getattr(library.applications, backbone.application)
    path = _find_weights(settings.weights, backbone)
    x = library.Input(shape, name="features")
    if not backbone.scales:
        x = library.layers.Rescaling(1 / 127.5, offset=-1.0, name="preprocess")(x)
    network = application(include_top=False, weights=None, input_tensor=x)
    if path:
        _load_weights(network, path, backbone)
    network = _rename_layers(network, library)
    _set_trainable(network, settings, blocks)
    features, maps = network.inputs[0], network.outputs[0]
    x = library.layers.GlobalAveragePooling2D(name=POOLED)(maps)
    return blocks.classifier(features, x, settings.dropout, labels, settings.name)


def split(body: Any) -> tuple[Any, Any]:
    """Split a model into the backbone with the average of its maps, and the rest.

    Returns:
        A model from images to embeddings `[batch, units]`, and one from these to
        probabilities. Both have the layers of `body` itself: to train one trains it.
    """
    embedding = body.get_layer(POOLED).output
    below = keras.Model(body.inputs[0], embedding, name="backbone")
    return below, keras.Model(embedding, body.outputs[0], name=body.name)


def _rename_layers(network: Any, library: ModuleType) -> Any:
    """Copy a network with layer names that do not depend on what was built before.

    Layers of Inception are named by their class and a number that counts all layers of
    the process.
    """
    numbered: dict[str, list[int]] = defaultdict(list)
    for layer in network.layers:
        if kind := _find_kind(layer):
            numbered[kind].append(_find_number(layer))
    names = {}

    def rename(layer: Any) -> Any:
        settings = layer.get_config()
        if kind := _find_kind(layer):
            rank = sorted(numbered[kind]).index(_find_number(layer))
            settings["name"] = f"{kind}_{rank + 1}"
        names[layer.name] = settings["name"]
        return type(layer).from_config(settings)

    twin = library.models.clone_model(network, clone_function=rename)
    for layer in network.layers:
        if layer.weights:
            twin.get_layer(names[layer.name]).set_weights(layer.get_weights())
    return twin


def _find_kind(layer: Any) -> str:
    """Find the class in a name like `conv2d_7` or `conv2d`; empty for other names."""
    kind = re.sub(r"_\d+$", "", layer.name)
    return kind if kind.replace("_", "") == type(layer).__name__.lower() else ""


def _find_number(layer: Any) -> int:
    """Find the number in a layer's name: 0 for `conv2d`, 7 for `conv2d_7`."""
    number = layer.name.removeprefix(_find_kind(layer))
    return int(number[1:] or 0)


def _find_weights(weights: str, backbone: Backbone) -> Path | None:
    """Find the file that `model.weights` names; fetch that of ImageNet if need be.

    Raises:
        UsageError: If there is no such file.
        UserError: If it cannot be fetched.
    """
    if weights == "none":
        return None
    if weights == "imagenet":
        return _fetch_weights(backbone)
    path = expand_home(weights)
    if not path.is_file():
        raise UsageError(
            f"model.weights = {weights}: no such file (imagenet, none, or the path of "
            "weights without top)"
        )
    return path


def _load_weights(network: Any, path: Path, backbone: Backbone) -> None:
    """Load weights into a network without top.

    Raises:
        UserError: If they are of another network, or the file is damaged.
    """
    try:
        network.load_weights(str(path))
    except (ValueError, OSError, KeyError, TypeError, BadZipFile) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"{path}: no weights of {backbone.application} without top: {reason}"
        ) from error


def _fetch_weights(backbone: Backbone) -> Path:
    """Fetch the file of ImageNet weights when it is not there yet."""
    try:
        return Path(
            keras.utils.get_file(
                backbone.file,
                backbone.address,
                cache_subdir="models",
                file_hash=backbone.checksum or None,
            )
        )
    # A failed download has no class of its own in Keras.
    except Exception as error:
        raise UserError(
            f"model.weights = imagenet: {backbone.file} cannot be fetched "
            f"({str(error).strip() or type(error).__name__}); fetch {backbone.address} "
            "where there is a network, and put it into ~/.keras/models or name it with "
            "model.weights=FILE"
        ) from error


def _set_trainable(network: Any, settings: Model, blocks: Blocks) -> None:
    """Freeze the layers before `train_from`, and batch norms with ImageNet statistics.

    Raises:
        UsageError: If there is no such layer.
    """
    names = [layer.name for layer in network.layers]
    start = settings.train_from
    if start and start not in names:
        raise UsageError(
            f"model.train_from = {start}: {settings.backbone} has no such layer"
            f"{suggest(start, names)} (asc-tf models info imagenet "
            f"--model.backbone={settings.backbone} --frontend.image_frames=224 "
            "--frontend.image_bands=224 lists them)"
        )
    first = names.index(start) if start else len(names)
    for place, layer in enumerate(network.layers):
        is_norm = isinstance(layer, blocks.layers.BatchNormalization)
        layer.trainable = place >= first
        # EfficientNet drops whole blocks in training; frozen ones must not change.
        if isinstance(layer, blocks.layers.Dropout) and place < first:
            layer.rate = 0.0
        if is_norm and settings.weights == "none" and not settings.init_from:
            layer.momentum = blocks.momentum
        elif is_norm:
            layer.trainable = False
