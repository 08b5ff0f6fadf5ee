"""A run: configuration, folder, clips and stored features."""

import dataclasses
from typing import Any

from asc_tf.config import Config
from asc_tf.manifest import Manifest
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

    def with_manifest(self, manifest: Manifest) -> "Run":
        """Return the same run with another table of clips."""
        return dataclasses.replace(self, manifest=manifest)
