"""What an adapter returns."""

from dataclasses import dataclass, field
from typing import Any

from asc_tf.manifest import Clip

AUDIO_SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".mp3", ".oga", ".opus", ".m4a", ".aac"),
    *(".aif", ".aiff", ".w64", ".rf64", ".caf", ".au"),
)
"""What counts as a clip in a folder; the scan decides whether it can be decoded."""


@dataclass(frozen=True)
class Corpus:
    """The clips of a corpus, each with split `train`, or `test` where it is official.

    Attributes:
        clips: The rows, sorted.
        labels: Class order.
        layout: The folder layout that the adapter expects, for error messages.
        protocol: `corpus`, `fold` (None without folds) and `leaky`.
    """

    clips: tuple[Clip, ...]
    labels: tuple[str, ...]
    layout: str
    protocol: dict[str, Any] = field(default_factory=dict)
