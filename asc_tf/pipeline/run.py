"""A run: configuration, folder, clips and stored features."""

import dataclasses
from typing import Any

from asc_tf.config import Config, Evaluate
from asc_tf.dsp import channels
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.manifest import Manifest
from asc_tf.pipeline.feature_size import count_segments
from asc_tf.pipeline.feature_store import StoredFeatures
from asc_tf.workdir import Workdir


@dataclasses.dataclass(frozen=True)
class Run:
    """A run, as training, evaluation and export use it.

    Attributes:
        config: Resolved configuration.
        workdir: Run folder.
        manifest: Clips with their splits, as far as they have been scanned.
        features: Stored features to use instead of audio, if the configuration names
            some.
    """

    config: Config
    workdir: Workdir
    manifest: Manifest
    features: StoredFeatures | None = None

    @classmethod
    def open(cls, workdir: Workdir, changes: dict[str, Any] | None = None) -> "Run":
        """Read the run in a folder.

        Args:
            workdir: Run folder.
            changes: Configuration keys to use instead of the run's.

        Raises:
            UserError: If a file of the folder is missing or damaged.
        """
        config = workdir.config().replace(changes or {})
        return cls(config, workdir, workdir.manifest())

    def count_examples(self) -> int:
        """Count the training examples of an epoch; no file is read."""
        config, which = self.config, self.config.train.segments
        copies = config.augment.copies
        if self.features:
            return self.features.n_segments("train", which, copies)
        clips, audio = self.manifest.clips_in("train"), config.audio
        if which == "all":
            all_of_clip = Preprocessing.from_config(audio, Evaluate())
            return copies * sum(count_segments(clip, all_of_clip) for clip in clips)
        views = (channels.list_views(audio.channels, clip.channels) for clip in clips)
        return copies * sum(map(len, views))

    def with_manifest(self, manifest: Manifest) -> "Run":
        """Return the same run with another table of clips."""
        return dataclasses.replace(self, manifest=manifest)
