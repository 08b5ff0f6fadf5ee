"""Files of a features folder; without TensorFlow.

- features.json: settings, labels, shape, and the checksum of each shard. Its `finished`
  is false while the folder is being written.
- manifest.csv: every clip with its split; excluded clips with the reason.
- train-00000.npy and so on: shards, float32 `[segments, frames, bands]`, with several
  channels `[segments, frames, bands, channels]`. A shard holds whole clips of a split,
  in the manifest's order.
"""

import dataclasses
import json
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asc_tf.config import Config
from asc_tf.core.errors import UsageError, UserError
from asc_tf.core.files import hash_path, lock_file, write_text
from asc_tf.core.replacing import PARTIAL
from asc_tf.core.version import __version__
from asc_tf.manifest import SPLITS, Manifest, read_clips

FORMAT_VERSION = 2
"""Version 1 had .npz and TFRecord shards."""

SECTIONS = ("dataset", "audio", "frontend")
"""Sections of the configuration that features depend on."""

SHARD_NAME = re.compile(rf"({'|'.join(SPLITS)})-\d{{5,}}\.npy")

PLACES = ("dataset.dir", "dataset.csv_file", "dataset.features", "audio.cache_dir")

WITHOUT_EFFECT = frozenset(
    (
        *(*PLACES, "dataset.max_missing", "audio.cache", "audio.cache_dtype"),
        *("frontend.placement", "frontend.standardize"),
        *("frontend.image_frames", "frontend.image_bands"),
    )
)
"""Keys that may differ between writing and using features, among them those of what
comes after `FrontendLayer.extract`."""

RUN_AGAIN = "run the same asc-tf features command again, which writes it anew"


@dataclass(frozen=True)
class Shard:
    """One file of segments.

    Attributes:
        file: Name in the folder.
        sha256: Checksum of the file.
        bytes: Size of the file.
        source: Hash of the manifest's rows that the shard was made from.
        segments_per_clip: Number of segments of each clip, in order.
    """

    file: str
    sha256: str
    bytes: int
    source: str
    segments_per_clip: tuple[int, ...]

    @property
    def segments(self) -> int:
        """Number of segments."""
        return sum(self.segments_per_clip)

    @property
    def clips(self) -> int:
        """Number of clips."""
        return len(self.segments_per_clip)

    @classmethod
    def from_json(cls, item: Mapping[str, Any]) -> "Shard":
        """Read the entry of a shard in features.json."""
        values = {field.name: item[field.name] for field in dataclasses.fields(cls)}
        shard = cls(**values | {"segments_per_clip": tuple(item["segments_per_clip"])})
        if not SHARD_NAME.fullmatch(shard.file):
            raise ValueError(f"{shard.file!r} is not the name of a shard")
        return shard

    def to_json(self) -> dict[str, Any]:
        """Return the entry of the shard in features.json."""
        counts = {"segments": self.segments, "clips": self.clips}
        return dataclasses.asdict(self) | counts


@dataclass(frozen=True)
class Contents:
    """Content of features.json.

    Attributes:
        config: Sections of the configuration, by name; see `feature_settings`.
        labels: Scene labels in class order.
        protocol: Protocol by which the corpus was split.
        shape: Shape of a segment's features: `[frames, bands]` or `[frames, bands,
            channels]`.
        splits: Shards of each split.
        manifest_sha256: Checksum of manifest.csv.
        finished: Whether all shards are there.
    """

    config: dict[str, dict[str, Any]]
    labels: tuple[str, ...]
    protocol: dict[str, Any]
    shape: tuple[int, ...]
    splits: dict[str, tuple[Shard, ...]]
    manifest_sha256: str = ""
    finished: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object of features.json."""
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
        """Read the JSON object of features.json.

        Raises:
            KeyError, TypeError, ValueError: If it is something else.
        """
        if not set(table["splits"]) <= set(SPLITS):
            raise ValueError("unknown splits")
        return cls(
            config={name: dict(table["config"][name]) for name in SECTIONS},
            labels=tuple(table["labels"]),
            protocol=dict(table["protocol"]),
            shape=tuple(int(size) for size in table["shape"]),
            splits={
                split: tuple(Shard.from_json(item) for item in entry["shards"])
                for split, entry in table["splits"].items()
            },
            manifest_sha256=table["manifest_sha256"],
            finished=bool(table["finished"]),
        )


@dataclass(frozen=True)
class FeaturesFolder:
    """A features folder and its files."""

    path: Path

    @property
    def features_file(self) -> Path:
        """Description of the stored features."""
        return self.path / "features.json"

    @property
    def manifest_file(self) -> Path:
        """Table of every clip with its split."""
        return self.path / "manifest.csv"

    def read(self) -> Contents | None:
        """Read features.json; None in a new or empty folder.

        Raises:
            UsageError: If the folder holds something else.
            UserError: If features.json is damaged or of another format version.
        """
        if self.features_file.is_file():
            return _read(self.features_file)
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path}: a file, not a folder")
        if self.path.is_dir() and any(
            not item.name.startswith(".") for item in self.path.iterdir()
        ):
            raise UsageError(
                f"{self.path}: not empty and not a features folder; name a new folder"
            )
        return None

    def write(self, contents: Contents) -> None:
        """Write features.json, whole or not at all."""
        text = json.dumps(contents.to_json(), indent=1) + "\n"
        write_text(self.features_file, text)

    def read_manifest(self, contents: Contents) -> Manifest:
        """Read manifest.csv.

        Raises:
            UserError: If it is not the table that the features were made from.
        """
        clips = read_clips(self.manifest_file)
        if hash_path(self.manifest_file) != contents.manifest_sha256:
            raise UserError(f"{self.manifest_file}: has changed; {RUN_AGAIN}")
        return Manifest(clips, contents.labels, contents.protocol)

    def is_intact(self, shard: Shard) -> bool:
        """Whether the file of a shard exists and has its checksum."""
        file = self.path / shard.file
        try:
            return (
                file.stat().st_size == shard.bytes and hash_path(file) == shard.sha256
            )
        except OSError:
            return False

    def remove_unlisted(self, contents: Contents) -> None:
        """Remove shards that belong to no split, and what a killed process left."""
        listed = {shard.file for shards in contents.splits.values() for shard in shards}
        for item in self.path.iterdir():
            name = PARTIAL.sub(r"\g<stem>\g<suffix>", item.name)
            if SHARD_NAME.fullmatch(name) and item.name not in listed:
                item.unlink()

    def lock(self) -> AbstractContextManager[None]:
        """Lock the folder against a second writer; released when the process ends.

        Raises:
            UserError: If another process is writing here.
        """
        return lock_file(
            self.path / ".lock",
            f"{self.path}: another process is writing features here; wait for it, or "
            "name a new folder",
        )


def feature_settings(config: Config) -> dict[str, dict[str, Any]]:
    """Return the sections that features depend on, in JSON types.

    Folders are left out: the features may be used where the audio is not.
    """
    sections = {name: dataclasses.asdict(getattr(config, name)) for name in SECTIONS}
    for place in PLACES:
        section, name = place.split(".")
        sections[section][name] = ""
    return json.loads(json.dumps(sections))


def describe_differences(
    stored: Mapping[str, Mapping[str, Any]], config: Config
) -> str:
    """Describe how a configuration differs from that of stored features.

    Args:
        stored: Sections that were written; a missing key has its default.
        config: Configuration to compare.

    Returns:
        A phrase for each of the first four keys, like `frontend.n_mels is 64 in the
        folder and 32 in the configuration`; empty where the features would be the same.
    """
    wanted = _flatten(feature_settings(config))
    found = _flatten(feature_settings(Config())) | _flatten(stored)
    phrases = [
        f"{key} is {value!r} in the folder and {wanted.get(key)!r} in the configuration"
        for key, value in found.items()
        if key not in WITHOUT_EFFECT and value != wanted.get(key)
    ]
    return "; ".join(phrases[:4]) + "; ..." * (len(phrases) > 4)


def _flatten(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {
        f"{name}.{key}": value
        for name, table in tables.items()
        for key, value in table.items()
    }


def _read(file: Path) -> Contents:
    try:
        table = json.loads(file.read_text(encoding="utf-8"))
        if table["format_version"] == FORMAT_VERSION:
            return Contents.from_json(table)
        problem = f"format version {table['format_version']!r} is not {FORMAT_VERSION}"
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        problem = f"damaged ({error!r})"
    raise UserError(
        f"{file}: {problem}; compute the features again: give the same asc-tf features "
        "command with a new folder as --output"
    )
