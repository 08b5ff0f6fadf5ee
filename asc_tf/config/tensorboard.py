"""The tensorboard section of a configuration: pictures and sounds of a training."""

from dataclasses import dataclass

from asc_tf.config.options import Section, option


@dataclass(frozen=True)
class TensorBoard(Section):
    """TensorBoard: pictures and sounds, which change no result."""

    examples: int = option(
        8,
        "number of augmented training examples to show with their labels; 0: none",
        minimum=0,
        maximum=64,
    )
    examples_every: int = option(
        0,
        "epochs between two pictures of examples; 0: only in the first epoch",
        minimum=0,
        only_with={"examples": True},
    )
    confusion_every: int = option(
        10,
        "epochs between two confusion matrices of the validation split; the last epoch "
        "always has one; 0: only in the last epoch",
        minimum=0,
    )
    audio: int = option(
        4,
        "training clips to listen to: the first segment of each, as the model gets it, "
        "without augmentation; 0: none",
        minimum=0,
        maximum=64,
    )
