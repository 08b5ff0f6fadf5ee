"""Clips of a finished run: scanned again, and decoded once for evaluation."""

import dataclasses
from typing import TYPE_CHECKING

from asc_tf.core.errors import UserError
from asc_tf.manifest import Clip, Manifest
from asc_tf.pipeline.corpus_checks import check_left_out, print_excluded
from asc_tf.pipeline.run import Run

if TYPE_CHECKING:
    from asc_tf.pipeline.waveforms import Waveforms


def scan_splits(run: Run, *splits: str, max_left_out: float = 1.0) -> Run:
    """Scan some splits of a finished run.

    The result for the test split is written to the run folder. The rows of the other
    splits stay there as training wrote them.

    Args:
        run: The run.
        splits: Splits to scan.
        max_left_out: Share of clips that may be left out, 0 to 1; see
            `check_left_out`.

    Returns:
        The run with the scanned manifest.

    Raises:
        UserError: If a split has no usable clip, or too few.
    """
    from asc_tf.audio.scan import scan

    config, workdir = run.config, run.workdir
    earlier = workdir.manifest()
    root = config.dataset.folder
    manifest = scan(earlier, root, splits, config.audio, known=earlier.clips)
    for split in splits:
        if not manifest.clips_in(split):
            raise UserError(
                f"the {split} split has no usable clip below {config.dataset.dir}; "
                "when the corpus has moved, give --dataset.dir"
            )
    print_excluded(manifest, splits)
    check_left_out(manifest, splits, max_left_out)
    if "test" in splits:
        updated = dataclasses.replace(manifest, clips=_merge_test(earlier, manifest))
        if updated != earlier:
            workdir.write_manifest(updated)
    return run.with_manifest(manifest)


def _merge_test(earlier: Manifest, scanned: Manifest) -> tuple[Clip, ...]:
    """Return the earlier rows, with the scanned rows of the test split."""
    pairs = zip(earlier.clips, scanned.clips, strict=True)
    return tuple(new if new.split == "test" else old for old, new in pairs)


def load_waveforms(run: Run, split: str) -> "Waveforms":
    """Load the clips of a scanned split for one pass; nothing is cached in memory."""
    from asc_tf.pipeline.waveforms import Waveforms

    audio = run.config.audio
    if audio.cache == "memory":
        audio = dataclasses.replace(audio, cache="none")
    return Waveforms(
        run.manifest.clips_in(split),
        run.config.dataset.folder,
        run.manifest.labels,
        audio,
        run.workdir.audio_cache(run.config.audio),
    )
