"""Stored features: training data that `asc-tf features` computed once.

They are the outputs of `FrontendLayer.extract`, before standardization and
augmentation. TensorFlow is imported when segments are first read, so that a folder that
is refused is refused at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from asc_tf.config import Config
from asc_tf.core.errors import UsageError, UserError
from asc_tf.manifest import Manifest
from asc_tf.pipeline.feature_store.folder import (
    RUN_AGAIN,
    Contents,
    FeaturesFolder,
    Shard,
    describe_differences,
)

if TYPE_CHECKING:
    import tensorflow as tf

    from asc_tf.pipeline.feature_store.streams import SegmentReader

__all__ = ["StoredFeatures"]


class StoredFeatures:
    """A finished features folder.

    Attributes:
        path: The folder.
        manifest: Every clip with its split.
        labels: Scene labels in class order.
        shape: Shape of a segment's features: `[frames, bands]` or `[frames, bands,
            channels]`.
        splits: Names of the stored splits.

    Args:
        path: The folder.
        contents: Content of its features.json.
        manifest: Its table.
    """

    def __init__(self, path: Path, contents: Contents, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest
        self.labels, self.shape = contents.labels, contents.shape
        self.splits = tuple(contents.splits)
        self._contents = contents
        self._readers: dict[str, SegmentReader] = {}

    @classmethod
    def open(cls, path: Path | str) -> "StoredFeatures":
        """Open a folder; its shards are read later.

        Raises:
            UsageError: If the folder holds no features.
            UserError: If the folder is not finished, or damaged.
        """
        folder = FeaturesFolder(Path(path))
        contents = folder.read() if folder.features_file.is_file() else None
        if contents is None:
            raise UsageError(
                f"dataset.features = {path}: no features here (no features.json); "
                "asc-tf features writes them"
            )
        if not contents.finished:
            raise UserError(
                f"dataset.features = {path}: not finished; run the same asc-tf "
                "features command again, which continues"
            )
        return cls(folder.path, contents, folder.read_manifest(contents))

    def check(self, config: Config) -> None:
        """Refuse a configuration under which the features would be others.

        Raises:
            UsageError: Naming the keys that differ.
        """
        if differences := describe_differences(self._contents.config, config):
            raise UsageError(
                f"dataset.features = {self.path}: made with other settings "
                f"({differences}); use those values, or write features anew with "
                "asc-tf features"
            )

    def n_clips(self, split: str) -> int:
        """Number of clips of a split."""
        return sum(shard.clips for shard in self._shards(split))

    def n_segments(self, split: str, which: str = "all", copies: int = 1) -> int:
        """Number of segments of an epoch of `shuffled`; by default, of the split."""
        if which == "random":
            return copies * self.n_clips(split)
        return copies * sum(shard.segments for shard in self._shards(split))

    def is_weighted(self, split: str) -> bool:
        """Whether some clips of a split have a weight below 1."""
        return min(self._weights(split)) < 1

    def dataset(self, split: str) -> "tf.data.Dataset":
        """Each segment of a split once, in the manifest's order.

        Returns:
            Dicts as described in `streams.SegmentReader`.

        Raises:
            UsageError: If the split is not stored.
            UserError: If a shard is missing or damaged; their checksums are verified
                when a split is first read.
        """
        return self._reader(split).in_order()

    def shuffled(
        self,
        split: str,
        seed: "tf.Tensor | int",
        copies: int = 1,
        which: str = "all",
    ) -> "tf.data.Dataset":
        """One epoch of a split; see `streams.SegmentReader.shuffled`.

        The seed may be a tensor of a graph, as in
        `tf.data.Dataset.range(epochs).flat_map`.

        Returns:
            `n_segments(split, which, copies)` dicts as in `dataset`.

        Raises:
            UsageError, UserError: As in `dataset`.
        """
        return self._reader(split).shuffled(seed, copies, which)

    def batches(self, split: str, batch_size: int) -> "tf.data.Dataset":
        """`dataset` in batches, for statistics and evaluation."""
        return self.dataset(split).batch(batch_size).prefetch(2)

    def verify(self, split: str) -> None:
        """Compare the checksums of a split's shards, once.

        Raises:
            UsageError, UserError: As in `dataset`.
        """
        self._reader(split)

    def _shards(self, split: str) -> tuple[Shard, ...]:
        if split not in self.splits:
            raise UsageError(
                f"dataset.features = {self.path}: holds {', '.join(self.splits)} and "
                f"no {split} split; asc-tf features --splits={split} adds it"
            )
        return self._contents.splits[split]

    def _weights(self, split: str) -> list[float]:
        unverified_weight = self._contents.config["dataset"]["unverified_weight"]
        clips = self.manifest.clips_in(split)
        return [unverified_weight if clip.verified == "0" else 1.0 for clip in clips]

    def _reader(self, split: str) -> "SegmentReader":
        if split not in self._readers:
            self._readers[split] = self._make_reader(split)
        return self._readers[split]

    def _make_reader(self, split: str) -> "SegmentReader":
        from asc_tf.pipeline.feature_store.streams import SegmentReader

        shards = self._shards(split)
        for shard in shards:
            if not FeaturesFolder(self.path).is_intact(shard):
                raise UserError(
                    f"{self.path / shard.file}: missing or damaged (its checksum is "
                    f"not that of features.json); {RUN_AGAIN}"
                )
        ids = {label: index for index, label in enumerate(self.labels)}
        return SegmentReader(
            self.path,
            shards,
            self.shape,
            # Test clips may have no label: no class has the index -1.
            [ids.get(clip.label, -1) for clip in self.manifest.clips_in(split)],
            self._weights(split),
            len(self.labels),
        )
