"""Features that asc-tf features wrote into a folder, to train from instead of audio.

They are those of `FrontendLayer.extract`: in its units, not standardized and not
augmented. TensorFlow is imported when the first are read, so that a folder that is
refused is refused at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from asc_tf.config import Config
from asc_tf.core.errors import UsageError, UserError
from asc_tf.manifest import Manifest
from asc_tf.pipeline.feature_store.contents import Contents, Shard
from asc_tf.pipeline.feature_store.layout import AGAIN, FeaturesFolder, differing

if TYPE_CHECKING:
    import tensorflow as tf

    from asc_tf.pipeline.feature_store.shards import Reader

__all__ = ["StoredFeatures"]


class StoredFeatures:
    """A whole features folder.

    Attributes:
        path: The folder.
        labels: Class order.
        protocol: How the corpus was split.
        config_sections: The sections `dataset`, `audio` and `frontend` that the
            features were made with, by name.
        shape: Of the features of a segment: frames, bands and, where there are several,
            channels.
        manifest: Every clip with its split.

    Args:
        folder: The folder.
        contents: What its features.json says.
        manifest: Its table.
    """

    def __init__(
        self, folder: FeaturesFolder, contents: Contents, manifest: Manifest
    ) -> None:
        self._folder, self._contents, self.manifest = folder, contents, manifest
        self._readers: dict[str, Reader] = {}
        self.path = folder.path

    @classmethod
    def open(cls, path: Path | str) -> "StoredFeatures":
        """Open a folder; its shards are read later.

        Raises:
            UsageError: If there is no features folder.
            UserError: If it is not finished, or damaged.
        """
        folder = FeaturesFolder(Path(path))
        if not folder.features_file.is_file() and not folder.partial_file.is_file():
            raise UsageError(
                f"dataset.features = {path}: no features here (no features.json); "
                "asc-tf features writes them"
            )
        contents = folder.contents()
        assert contents is not None
        if not folder.features_file.is_file():
            raise UserError(
                f"dataset.features = {path}: was not finished; run the same asc-tf "
                "features command again, which goes on"
            )
        return cls(folder, contents, folder.manifest(contents))

    @property
    def labels(self) -> tuple[str, ...]:
        """Class order."""
        return self._contents.labels

    @property
    def protocol(self) -> dict[str, Any]:
        """How the corpus was split."""
        return self._contents.protocol

    @property
    def config_sections(self) -> dict[str, dict[str, Any]]:
        """The configuration that the features were made with."""
        return self._contents.config

    @property
    def shape(self) -> tuple[int, ...]:
        """Frames, bands and, where there are several, channels."""
        return self._contents.shape

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that are stored."""
        return tuple(self._contents.splits)

    def check(self, config: Config) -> None:
        """Refuse a configuration under which the features would be others.

        Raises:
            UsageError: Naming the keys that differ.
        """
        if found := differing(self.config_sections, config):
            raise UsageError(
                f"dataset.features = {self.path}: made with other settings ("
                f"{'; '.join(found[:4])}{'; ...' * (len(found) > 4)}); use those "
                "values, or write features anew with asc-tf features"
            )

    def n_clips(self, split: str) -> int:
        """Clips of a split."""
        return sum(shard.clips for shard in self._shards(split))

    def n_segments(self, split: str, which: str = "all", copies: int = 1) -> int:
        """Segments of an epoch of `shuffled`; by default, of the split."""
        if which == "random":
            return copies * self.n_clips(split)
        return copies * sum(shard.segments for shard in self._shards(split))

    def is_weighted(self, split: str) -> bool:
        """Whether some clips of a split weigh less than 1."""
        weight = self.config_sections["dataset"]["unverified_weight"]
        clips = self.manifest.clips_in(split)
        return weight < 1 and any(clip.verified == "0" for clip in clips)

    def dataset(self, split: str) -> "tf.data.Dataset":
        """Each segment of a split once, in the manifest's order.

        Returns:
            Dicts of `features` float32 `[frames, bands]` or `[frames, bands,
            channels]`, `clip` int32 `[]` (index into `manifest.clips_in(split)`),
            `target` float32 `[labels]` and `weight` float32 `[]`.

        Raises:
            UsageError: If the split is not stored.
            UserError: If a shard is missing or has not its checksum; they are verified
                when a split is first read.
        """
        import tensorflow as tf

        from asc_tf.pipeline.feature_store import streams

        reader, shards = self._reader(split), self._shards(split)
        rows = streams.in_order(reader, len(shards), len(self.labels))
        count = self.n_segments(split)
        return rows.apply(tf.data.experimental.assert_cardinality(count))

    def shuffled(
        self,
        split: str,
        seed: "tf.Tensor | int",
        copies: int = 1,
        which: str = "all",
    ) -> "tf.data.Dataset":
        """One epoch of a split, a pure function of the seed; see `streams.shuffled`.

        It may be called where the seed is a tensor of a graph, as in
        `tf.data.Dataset.range(epochs).flat_map`; call `verify` before that.

        Args:
            split: The split.
            seed: int64 `[]`.
            copies: Times that each clip is in the epoch.
            which: `all` segments of each clip, or one at `random`, drawn for each copy.

        Returns:
            `n_segments(split, which, copies)` dicts as of `dataset`.

        Raises:
            UsageError, UserError: As `dataset` does.
        """
        from asc_tf.pipeline.feature_store import streams

        reader, shards = self._reader(split), self._shards(split)
        return streams.shuffled(
            reader,
            len(shards),
            len(self.labels),
            [count for shard in shards for count in shard.segments_per_clip],
            self.shape,
            seed,
            copies,
            which,
        )

    def batches(self, split: str, batch_size: int) -> "tf.data.Dataset":
        """`dataset` in batches, for statistics and evaluation."""
        return self.dataset(split).batch(batch_size).prefetch(2)

    def verify(self, split: str) -> None:
        """Compare the checksums of a split's shards, once.

        Raises:
            UsageError, UserError: As `dataset` does.
        """
        self._reader(split)

    def _shards(self, split: str) -> tuple[Shard, ...]:
        if split not in self._contents.splits:
            raise UsageError(
                f"dataset.features = {self.path}: holds {', '.join(self.splits)} and "
                f"no {split} part; asc-tf features --splits={split} adds it"
            )
        return self._contents.splits[split]

    def _reader(self, split: str) -> "Reader":
        import tensorflow as tf

        if split not in self._readers:
            # Whatever graph is being traced: others will use the same tables.
            with tf.init_scope():
                opened = tf.autograph.experimental.do_not_convert(self._opened)(split)
            self._readers[split] = opened
        return self._readers[split]

    def _opened(self, split: str) -> "Reader":
        from asc_tf.pipeline.feature_store.shards import reader

        shards = self._shards(split)
        for shard in shards:
            if not self._folder.is_sound(shard):
                raise UserError(
                    f"{self.path / shard.file}: missing or damaged (its checksum is "
                    f"not that of features.json); {AGAIN}"
                )
        return reader(
            self._contents.format,
            [self.path / shard.file for shard in shards],
            [shard.segments for shard in shards],
            self.shape,
        )
