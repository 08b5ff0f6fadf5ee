"""Segments that files under examination classify."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np


class SegmentFile:
    """A temporary file of segments, raw float32, which files under examination read.

    Attributes:
        path: The file.
        count: Number of segments in it.
    """

    def __init__(self, path: Path, segment_shape: Sequence[int]) -> None:
        self.path, self.count = path, 0
        self._segment_shape = tuple(segment_shape)
        path.write_bytes(b"")

    @property
    def shape(self) -> list[int]:
        """Shape of the segments, `[n, segment_samples, ...]`."""
        return [self.count, *self._segment_shape]

    @property
    def bytes(self) -> int:
        """Size in bytes."""
        return 4 * int(np.prod(self.shape))

    def append(self, segments: np.ndarray) -> None:
        """Append segments `[n, segment_samples, ...]`."""
        with self.path.open("ab") as stream:
            stream.write(np.ascontiguousarray(segments, np.float32).data)
        self.count += len(segments)

    def clear(self) -> None:
        """Remove all segments."""
        self.path.write_bytes(b"")
        self.count = 0

    def read(self) -> np.ndarray:
        """Map the segments, float32 `[n, segment_samples, ...]`."""
        return np.memmap(self.path, np.float32, "r", shape=tuple(self.shape))
