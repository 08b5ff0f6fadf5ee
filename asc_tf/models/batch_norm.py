"""Batch normalization that is trained by the fused kernel of TensorFlow."""

from typing import Any

import keras
import tensorflow as tf

MIN_EPSILON = 1.001e-5
"""Smallest epsilon of the kernel (cuDNN's limit); it raises smaller ones."""


@keras.saving.register_keras_serializable(package="asc_tf")
class BatchNormalization(keras.layers.BatchNormalization):
    """Batch norm of Keras; a training step takes one kernel, not a dozen operations.

    It has the weights, the configuration and the class name of the layer of Keras, so
    that either reads the weights of the other. Values differ in the last bits.

    The implementation of Keras is used on several devices, with a mask, on inputs that
    are not `[batch, frames, bands, channels]`, and wherever the moving statistics are
    used, so that validation has the values of the exported model.
    """

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> keras.layers.BatchNormalization:
        """Return the plain layer of Keras.

        Loaded and copied models then do not need this class, which is for training.
        """
        return keras.layers.BatchNormalization.from_config(config)

    def call(
        self, inputs: tf.Tensor, training: bool | None = None, mask: Any = None
    ) -> tf.Tensor:
        """Normalize a batch, by its own statistics in training."""
        if not training or not self._is_fusable(inputs, mask):
            return super().call(inputs, training=training, mask=mask)
        channels = [inputs.shape[-1]]
        scale = tf.ones(channels) if self.gamma is None else self.gamma
        offset = tf.zeros(channels) if self.beta is None else self.beta
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            tf.convert_to_tensor(scale),
            tf.convert_to_tensor(offset),
            epsilon=self.epsilon,
        )
        count = tf.cast(tf.size(inputs) / channels[0], tf.float32)
        # The kernel gives the unbiased variance, and Keras keeps the biased one.
        variance *= (count - 1) / count
        for average, value in (
            (self.moving_mean, mean),
            (self.moving_variance, variance),
        ):
            old_share = tf.convert_to_tensor(average) * self.momentum
            average.assign(old_share + value * (1 - self.momentum))
        return outputs

    def _is_fusable(self, inputs: tf.Tensor, mask: Any) -> bool:
        return (
            self.trainable
            and not self.synchronized
            and mask is None
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and self.epsilon >= MIN_EPSILON
            and self.compute_dtype != "float64"
            # An option of newer versions of Keras.
            and not getattr(self, "renorm", False)
        )
