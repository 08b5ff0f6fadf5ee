"""Checks and notes of a corpus before it is used: what is missing, odd or copied."""

import math
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from asc_tf import datasets
from asc_tf.config import Audio, Config
from asc_tf.core.errors import UserError
from asc_tf.datasets import remedies
from asc_tf.datasets.duplicates import describe_duplicates, find_duplicates
from asc_tf.datasets.shared import shared_note
from asc_tf.manifest import SPLITS, Clip, Manifest
from asc_tf.workdir import Workdir

MAX_NAMED = 100
"""Clips that are named on the screen when they are left out."""

VERY_SHORT = 0.1
"""Seconds; shorter clips are used, and named: most corpora have none on purpose."""


def check_found(
    manifest: Manifest, config: Config, needed: Collection[str] = ()
) -> None:
    """Count the files that are missing, before any is read; say of which split.

    Args:
        manifest: The corpus.
        config: The configuration.
        needed: Splits that must have files.

    Raises:
        UserError: If they are more than `dataset.max_missing` of the corpus, or all of
            a needed split.
    """
    root, dataset = Path(config.dataset.dir), config.dataset
    absent = [clip for clip in manifest.clips if not (root / clip.path).exists()]
    if not absent:
        return
    whole = Counter(clip.split for clip in manifest.clips)
    lacking = Counter(clip.split for clip in absent)
    parts = [
        f"{lacking[split]} of {whole[split]} in {split}"
        for split in SPLITS
        if lacking[split]
    ]
    missing = f"files are missing: {', '.join(parts)}"
    is_too_much = len(absent) > dataset.max_missing * len(manifest.clips)
    gone = [split for split in needed if 0 < lacking[split] == whole[split]]
    if not is_too_much and not gone:
        print(f"{missing}; the rest is used", file=sys.stderr)
        return
    raise UserError(f"{missing}. {_missing_remedy(manifest, config, absent, gone)}")


def _missing_remedy(
    manifest: Manifest, config: Config, absent: Sequence[Clip], gone: Sequence[str]
) -> str:
    """Say what to do about missing files: of all clips, of whole splits, or of some."""
    root, dataset = Path(config.dataset.dir), config.dataset
    own_table = dataset.csv_file if dataset.name == "csv" else ""
    where = remedies.explain_missing_file(root, absent[0].path, own_table)
    if len(absent) == len(manifest.clips):
        return f"No file of the corpus is where it should be: {where}"
    advice = []
    share = len(absent) / len(manifest.clips)
    if share > dataset.max_missing:
        enough = math.ceil(100 * share) / 100
        advice.append(
            f"That is more than dataset.max_missing = {dataset.max_missing:g} of the "
            f"corpus ({where}): complete it, or use the files that are there with "
            f"--dataset.max_missing={enough:g}"
        )
    if gone:
        usable = datasets.usable_folds(manifest, dataset)
        remedy = "complete the corpus"
        if usable:
            folds = " or ".join(f"--dataset.fold={fold}" for fold in usable)
            remedy += f", or use {folds}, with which each part has files"
        advice.append(f"The {' and the '.join(gone)} part has no file at all: {remedy}")
    return ". ".join(advice)


def check_left_out(
    manifest: Manifest, splits: Sequence[str], max_left_out: float
) -> None:
    """Refuse scanned splits that lack too many clips, or too many of one label.

    Clips count that are missing and that cannot be used. A single clip of a label may
    be left out, whatever its share, if the label has others.

    Args:
        manifest: The manifest.
        splits: The splits, as one.
        max_left_out: Largest share of clips left out, of all and of each label.

    Raises:
        UserError: With the numbers.
    """
    listed = [c for c in manifest.clips if c.split in splits and not c.is_dropped]
    lost = [clip for clip in listed if clip.reason]
    whole = Counter(clip.label for clip in listed)
    lacking = Counter(clip.label for clip in lost)
    bad = [
        f"{lacking[label]} of {whole[label]} of {label or 'no label'}"
        for label in sorted(lacking)
        if lacking[label] > max_left_out * whole[label]
        and (lacking[label] > 1 or whole[label] == 1)
    ]
    if not bad and len(lost) <= max_left_out * len(listed):
        return
    labels = f" ({', '.join(bad[:10])}{', ...' * (len(bad) > 10)})" if bad else ""
    raise UserError(
        f"{len(lost)} of {len(listed)} {' and '.join(splits)} clips are missing or "
        f"cannot be used{labels}, {lost[0].path} for one ({lost[0].reason}). That is "
        f"more than dataset.max_missing = {max_left_out:g} of the part or of a label, "
        "so nothing is evaluated: complete the corpus, or give a larger "
        "--dataset.max_missing, and the report says what it lacks"
    )


def check_weights(manifest: Manifest, config: Config) -> None:
    """Refuse to train on a label whose clips all weigh nothing.

    Raises:
        UserError: Naming such labels.
    """
    if config.dataset.unverified_weight:
        return
    heard = {clip.label for clip in manifest.clips_in("train") if clip.verified != "0"}
    if mute := [label for label in manifest.labels if label not in heard]:
        raise UserError(
            f"no training clip of {', '.join(mute)} is verified, and "
            "dataset.unverified_weight = 0 gives the others no weight; raise it"
        )


def check_same_clips(
    before: Sequence[Clip], now: Sequence[Clip], workdir: Workdir
) -> None:
    """Refuse to resume on other clips than those that the run began with.

    Raises:
        UserError: Naming some that came, went or moved to another split.
    """
    rows = [
        {
            (clip.path, clip.start, clip.duration, clip.label, clip.split, clip.size)
            for clip in clips
            if clip.split != "test" and not clip.reason
        }
        for clips in (before, now)
    ]
    if differing := sorted(rows[0] ^ rows[1]):
        shown = ", ".join(dict.fromkeys(row[0] for row in differing[:6]))
        raise UserError(
            f"--workdir={workdir.path}: the corpus is not what it was when this run "
            f"began (among others: {shown}); restore it, or name a new folder"
        )


def oddities(clips: Sequence[Clip], audio: Audio) -> list[str]:
    """What is to be said of clips that are used all the same, a sentence each."""
    said = []
    seconds = audio.segment_seconds
    if short := sum(clip.seconds < seconds for clip in clips):
        filled = {"pad": "padded", "loop": "looped"}[audio.short_clips]
        said.append(
            f"{short} clips are shorter than a segment of {seconds:g} s: {filled}"
        )
    if tiny := [clip for clip in clips if clip.seconds < VERY_SHORT]:
        shown = ", ".join(f"{c.path} ({1000 * c.seconds:.0f} ms)" for c in tiny[:3])
        said.append(
            f"{len(tiny)} clips are shorter than {VERY_SHORT:g} s, and so mostly "
            f"{'padding' if audio.short_clips == 'pad' else 'repetition'}: "
            f"{shown}{' ...' * (len(tiny) > 3)}; listen to them, and remove what is no "
            "sound of its label"
        )
    if odd := [clip for clip in clips if clip.note]:
        said.append(
            f"{len(odd)} files are odd but used, {odd[0].path} for one "
            f"({odd[0].note}); manifest.csv notes them all"
        )
    return said


def corpus_notes(
    manifest: Manifest, root: Path, scanned: Sequence[str], named: Sequence[str]
) -> list[str]:
    """What makes a result of a corpus less than it seems, and what to do.

    Args:
        manifest: The scanned corpus.
        root: The corpus folder.
        scanned: Splits whose files are compared with each other.
        named: The splits among them of which copies are told.

    Returns:
        A sentence each.
    """
    shared = shared_note(manifest.protocol)
    clips = [clip for split in scanned for clip in manifest.clips_in(split)]
    return [
        *([shared] if shared else []),
        *missing_labels(manifest),
        *describe_duplicates(find_duplicates(clips, root), named),
    ]


def missing_labels(manifest: Manifest) -> list[str]:
    """Name the labels that validation or test cannot judge, and what to do."""
    consequences = {
        "validation": "the best epoch is chosen without it; add recordings of it, or, "
        "where the part is drawn, raise dataset.validation_share",
        "test": "the result says nothing about it; add its files, or choose another "
        "dataset.fold or, where the part is drawn, dataset.test_share",
    }
    notes = []
    for split, remedy in consequences.items():
        # A test part may have no labels at all.
        present = {clip.label for clip in manifest.clips_in(split) if clip.label}
        missing = [label for label in manifest.labels if label not in present]
        if present and missing:
            notes.append(
                f"the {split} part has no clip of {', '.join(missing)}: {remedy}"
            )
    return notes


def print_excluded(manifest: Manifest, splits: Sequence[str]) -> None:
    """Name what is left out of some splits, on stderr; the manifest names them all."""
    # A sentence says how many shared recordings are left out.
    excluded = [
        clip
        for clip in manifest.excluded
        if clip.split in splits and not clip.is_dropped
    ]
    for clip in excluded[:MAX_NAMED]:
        print(f"left out: {clip.path}: {clip.reason}", file=sys.stderr)
    more = len(excluded) - MAX_NAMED
    if more > 0:
        print(f"left out: {more} more, see manifest.csv", file=sys.stderr)
