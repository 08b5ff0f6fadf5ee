"""Counts of clips and training examples by label, in groups."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from asc_tf.manifest import SPLITS, Clip, Manifest

MAX_GROUPS = 9
"""Number of colours that can be told apart; more devices share the last one."""

VERIFIED = {"1": "verified", "0": "not verified", "": "unknown"}


@dataclass(frozen=True)
class Counts:
    """Chart of `rows`: each label with its numbers, one for each of `groups`."""

    title: str
    note: str
    groups: tuple[str, ...]
    rows: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def totals(self) -> tuple[int, ...]:
        """Number of each group over all labels."""
        columns = zip(*(numbers for _, numbers in self.rows), strict=True)
        return tuple(map(sum, columns))


def list_training_clips(manifest: Manifest) -> list[Clip]:
    """List the clips of the training split, scanned or not."""
    return [c for c in manifest.clips if c.split == "train" and not c.is_dropped]


def count_by_split(manifest: Manifest) -> Counts:
    """Count all clips of the manifest by split."""
    note = "As the corpus's table has them; only the training split is opened."
    if without := sum(not clip.label for clip in manifest.clips):
        note += f" {without} test clips have no label."
    return _tabulate(
        ("All clips by split", note),
        manifest,
        Counter((clip.label, clip.split) for clip in manifest.clips),
        SPLITS,
    )


def count_by_device(manifest: Manifest) -> Counts | None:
    """Count training clips by recording device; None where the corpus has none."""
    clips = list_training_clips(manifest)
    devices = sorted({clip.device for clip in clips})
    if not any(devices):
        return None
    if len(devices) > MAX_GROUPS:
        common = Counter(clip.device for clip in clips).most_common(MAX_GROUPS - 1)
        devices = [*sorted(device for device, _ in common), "others"]
    return _tabulate(
        ("Training clips by device", "Before augmentation."),
        manifest,
        Counter(
            (clip.label, clip.device if clip.device in devices else "others")
            for clip in clips
        ),
        devices,
    )


def count_by_verification(manifest: Manifest) -> Counts | None:
    """Count training and validation clips by whether a person has checked the label.

    All folds have the same counts; None where the corpus does not say.
    """
    clips = [clip for clip in manifest.clips if clip.split != "test"]
    if not any(clip.verified for clip in clips):
        return None
    return _tabulate(
        (
            "Training and validation clips by verification",
            "Whether a person has checked the label.",
        ),
        manifest,
        Counter((clip.label, VERIFIED[clip.verified]) for clip in clips),
        tuple(VERIFIED.values()),
    )


def count_examples(
    manifest: Manifest, examples: Callable[[Clip], int], copies: int, note: str
) -> Counts:
    """Count training examples of an epoch, before and after augmentation makes copies.

    Args:
        manifest: The corpus.
        examples: Function from a clip to its number of examples (0: cannot be used).
        copies: `augment.copies`.
        note: Explanation of an example.
    """
    groups = ("before augmentation", "added by copies")
    numbers = Counter[tuple[str, str]]()
    for clip in list_training_clips(manifest):
        count = examples(clip)
        for group, times in zip(groups, (1, copies - 1), strict=True):
            numbers[clip.label, group] += times * count
    heading = ("Training examples in an epoch", note)
    return _tabulate(heading, manifest, numbers, groups)


def _tabulate(
    heading: tuple[str, str],
    manifest: Manifest,
    numbers: Counter[tuple[str, str]],
    groups: Sequence[str],
) -> Counts:
    """Make a table of the numbers of label and group; empty groups are left out."""
    used = [g for g in groups if any(numbers[label, g] for label in manifest.labels)]
    rows = tuple(
        (label, tuple(numbers[label, group] for group in used))
        for label in manifest.labels
    )
    return Counts(*heading, tuple(group or "unknown" for group in used), rows)
