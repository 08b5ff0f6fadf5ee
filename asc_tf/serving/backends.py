"""A loaded model, as the server sees it: named signatures of named tensors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from asc_tf.serving.settings import RequestError

Arrays = Mapping[str, np.ndarray]

IsCancelled = Callable[[], bool]
"""Function that returns True if the client has gone."""


def never() -> bool:
    """Return False: the results are wanted."""
    return False


UNKNOWN = -1
"""Size of an axis that a request chooses."""


def check_cancelled(is_cancelled: IsCancelled) -> None:
    """Stop the work on a request that nobody waits for.

    Raises:
        RequestError: If it was cancelled.
    """
    if is_cancelled():
        raise RequestError(499, "the request was given up")


@dataclass(frozen=True)
class TensorSpec:
    """Type and shape of a tensor; strings are arrays of bytes objects.

    Attributes:
        dtype: `DT_FLOAT`, `DT_INT64` or `DT_STRING`.
        shape: Sizes of the axes, `UNKNOWN` where a request chooses; None if even the
            number of axes is not known.
    """

    dtype: str
    shape: tuple[int, ...] | None


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a signature by name."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]


class Backend(Protocol):
    """A loaded model.

    Attributes:
        version: Version of the model, a positive number.
        labels: Class order.
        description: Fields of the model's `model.json`.
        signatures: Signatures by name.
    """

    version: int
    labels: tuple[str, ...]
    description: dict[str, Any]
    signatures: dict[str, Signature]

    def run(
        self, signature: str, inputs: Arrays, is_cancelled: IsCancelled = never
    ) -> dict[str, np.ndarray]:
        """Run a signature on checked inputs; for several threads at once.

        Raises:
            RequestError: If the model refuses the inputs, or it was cancelled.
            QueueFullError: If too many requests wait.
        """
        ...
