"""Layers that the families share: convolutions with batch norm, input, classifier.

Everything is built from the layers of a `library`, `keras` or `tf_keras`, and named, so
that a model's twin in the other library and a later model have the same names.
"""

from types import ModuleType
from typing import Any

from asc_tf.models.batch_norm import BatchNormalization

Tensor = Any
"""A symbolic tensor of either library."""


class Blocks:
    """Layers of one library, with one momentum of batch norms."""

    def __init__(self, library: ModuleType, momentum: float) -> None:
        self.library, self.layers, self.momentum = library, library.layers, momentum
        is_keras = library.__name__ == "keras"
        self._norm = BatchNormalization if is_keras else self.layers.BatchNormalization

    def features(self, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Add the input `[batch, *shape]`, and reshape it to have a channel axis."""
        features = self.library.Input(shape, name="features")
        if len(shape) == 3:
            return features, features
        return features, self.layers.Reshape((*shape, 1), name="channel")(features)

    def norm(self, x: Tensor, name: str) -> Tensor:
        """Add a batch norm."""
        return self._norm(momentum=self.momentum, name=name)(x)

    def norm_relu(self, x: Tensor, name: str) -> Tensor:
        """Add a batch norm and a ReLU."""
        return self.layers.ReLU(name=f"{name}_relu")(self.norm(x, f"{name}_norm"))

    def linear(
        self, x: Tensor, filters: int, kernel: int | tuple, name: str, strides: Any = 1
    ) -> Tensor:
        """Add a convolution with padding `same` and no bias, and a batch norm."""
        conv = self.layers.Conv2D(
            *(filters, kernel, strides, "same"), use_bias=False, name=name
        )
        return self.norm(conv(x), f"{name}_norm")

    def conv(
        self, x: Tensor, filters: int, kernel: int | tuple, name: str, strides: Any = 1
    ) -> Tensor:
        """Add a convolution as `linear` does, and a ReLU."""
        x = self.linear(x, filters, kernel, name, strides)
        return self.layers.ReLU(name=f"{name}_relu")(x)

    def depthwise(self, x: Tensor, name: str, strides: int = 1) -> Tensor:
        """Add a depthwise 3x3 convolution and a batch norm."""
        conv = self.layers.DepthwiseConv2D(
            3, strides, "same", use_bias=False, name=name
        )
        return self.norm(conv(x), f"{name}_norm")

    def pool(self, x: Tensor, size: Any, name: str, padding: str = "valid") -> Tensor:
        """Add a maximum pooling of neighbouring frames and bands."""
        return self.layers.MaxPooling2D(size, padding=padding, name=name)(x)

    def classifier(
        self, features: Tensor, x: Tensor, dropout: float, labels: int, name: str
    ) -> Any:
        """Add dropout and the last layer, and make the model to probabilities."""
        x = self.layers.Dropout(dropout, name="dropout")(x)
        x = self.layers.Dense(labels, name=HEAD)(x)
        softmax = self.layers.Softmax(dtype="float32", name="probabilities")
        return self.library.Model(features, softmax(x), name=name)


HEAD = "logits"
"""Name of the last layer with weights, which has a unit for each label."""
