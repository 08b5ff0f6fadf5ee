"""Labels of the versions of a served model."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from asc_tf.client.results import read_string
from asc_tf.client.retries import ServerError

LABELS_PER_REQUEST = (8, 1)
"""Numbers of labels to ask for at once; a server may refuse a larger number of rows."""

MAX_LABELS = 10_000
"""Most labels of a model."""

LABELS_SECONDS = 10.0
"""Time after which labels are read again, because an export may be written again under
its version."""


@dataclass(frozen=True)
class Answer:
    """Answer to a request.

    Attributes:
        outputs: Outputs by name.
        version: Version of the model that has answered; 0: unknown.
    """

    outputs: Any
    version: int


class LabelCache:
    """Labels of each version of a model, read once; for several threads."""

    def __init__(self, run: Callable[[str, dict[str, Any], int], Answer]) -> None:
        self._run = run
        self._labels: dict[int, tuple[str, ...]] = {}
        self._begin = time.monotonic()

    def forget(self) -> None:
        """Forget the labels of all versions."""
        self._labels.clear()
        self._begin = time.monotonic()

    def forget_old(self) -> None:
        """Forget all labels if some were read too long ago."""
        if time.monotonic() - self._begin >= LABELS_SECONDS:
            self.forget()

    def read(self, version: int) -> tuple[str, ...]:
        """Read the labels of a version; 0: the newest.

        Raises:
            ServerError: If the server does not give them.
        """
        largest, smallest = LABELS_PER_REQUEST
        try:
            return self._read_blocks(version, largest)
        except ServerError as error:
            if error.status not in ("400", "INVALID_ARGUMENT"):
                raise
        return self._read_blocks(version, smallest)

    def _read_blocks(self, version: int, size: int) -> tuple[str, ...]:
        """Read labels until an id has none, which has an empty name."""
        labels: list[str] = []
        while len(labels) < MAX_LABELS:
            if known := self._labels.get(version):
                return known
            ids = np.arange(len(labels), len(labels) + size, dtype=np.int64)
            answer = self._run("labels", {"label_id": ids}, version)
            try:
                found = [read_string(name) for name in answer.outputs["label"]]
            except (LookupError, TypeError):
                found = []
            if len(found) != size:
                break
            version = version or answer.version
            if "" in found:
                labels += found[: found.index("")]
                self._labels[version] = tuple(labels)
                return tuple(labels)
            labels += found
        raise ServerError("the server gives no labels; is it a model of asc-tf export?")
