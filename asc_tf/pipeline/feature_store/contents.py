"""What features.json says of a features folder; without TensorFlow."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asc_tf.core.version import __version__
from asc_tf.manifest import SPLITS

FORMATS = ("npz", "tfrecord")
FORMAT_VERSION = 1
SECTIONS = ("dataset", "audio", "frontend")
"""The sections of a configuration that features depend on."""

SHARD_NAME = re.compile(rf"({'|'.join(SPLITS)})-\d{{5,}}\.({'|'.join(FORMATS)})")


@dataclass(frozen=True)
class Shard:
    """One file of segments.

    Attributes:
        file: Its name in the folder.
        sha256: Of its bytes.
        bytes: Its size.
        source: A hash of the manifest's rows that it was made from.
        segments_per_clip: Segments of each of its clips, in order.
    """

    file: str
    sha256: str
    bytes: int
    source: str
    segments_per_clip: tuple[int, ...]

    @property
    def segments(self) -> int:
        """Segments in the file."""
        return sum(self.segments_per_clip)

    @property
    def clips(self) -> int:
        """Clips in the file."""
        return len(self.segments_per_clip)

    @classmethod
    def from_json(cls, item: Mapping[str, Any]) -> "Shard":
        """Read what `to_json` wrote."""
        values = {field.name: item[field.name] for field in dataclasses.fields(cls)}
        shard = cls(**values | {"segments_per_clip": tuple(item["segments_per_clip"])})
        if not SHARD_NAME.fullmatch(shard.file):
            raise ValueError(f"{shard.file!r} is no name of a shard")
        return shard

    def to_json(self) -> dict[str, Any]:
        """What features.json says of the shard."""
        counts = {"segments": self.segments, "clips": self.clips}
        return dataclasses.asdict(self) | counts


@dataclass(frozen=True)
class Contents:
    """What features.json says.

    Attributes:
        format: One of `FORMATS`.
        config: The sections `SECTIONS` of the configuration, by name.
        labels: Class order.
        protocol: How the corpus was split.
        shape: Of the features of a segment: frames, bands and, where there are several,
            channels.
        manifest_sha256: Of manifest.csv.
        splits: The shards of each split.
        finished: The splits whose shards are all there; in features.json all of them.
    """

    format: str
    config: dict[str, dict[str, Any]]
    labels: tuple[str, ...]
    protocol: dict[str, Any]
    shape: tuple[int, ...]
    manifest_sha256: str
    splits: dict[str, tuple[Shard, ...]]
    finished: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The content of features.json."""
        return {
            "format_version": FORMAT_VERSION,
            "asc_tf": __version__,
            **dataclasses.asdict(self),
            "dtype": "float32",
            "frames": self.shape[0],
            "bands": self.shape[1],
            "splits": {
                split: {
                    "n_clips": sum(shard.clips for shard in shards),
                    "n_segments": sum(shard.segments for shard in shards),
                    "shards": [shard.to_json() for shard in shards],
                }
                for split, shards in self.splits.items()
            },
        }

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> "Contents":
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: If it is something else.
        """
        if table["format_version"] != FORMAT_VERSION:
            raise ValueError(
                f"format_version {table['format_version']!r} is not {FORMAT_VERSION}"
            )
        if table["format"] not in FORMATS or not set(table["splits"]) <= set(SPLITS):
            raise ValueError("its format or splits are unknown")
        return cls(
            format=table["format"],
            config={name: dict(table["config"][name]) for name in SECTIONS},
            labels=tuple(table["labels"]),
            protocol=dict(table["protocol"]),
            shape=tuple(int(size) for size in table["shape"]),
            manifest_sha256=table["manifest_sha256"],
            splits={
                split: tuple(Shard.from_json(item) for item in part["shards"])
                for split, part in table["splits"].items()
            },
            finished=tuple(table["finished"]),
        )
