"""Checks of a corpus before use, and notes on missing, unusual or equal files."""

import math
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from asc_tf import datasets
from asc_tf.config import Config
from asc_tf.core.errors import UserError
from asc_tf.core.wording import count
from asc_tf.datasets import corpus_hints
from asc_tf.datasets.duplicates import describe_duplicates, find_duplicates
from asc_tf.datasets.shared_recordings import format_shared
from asc_tf.manifest import SPLITS, Clip, Manifest
from asc_tf.workdir import Workdir

MAX_NAMED = 100
"""Largest number of excluded clips that are named on the screen."""

VERY_SHORT = 0.1
"""Duration in s; shorter clips are used but named, because they are rarely intended."""


def check_missing_files(
    manifest: Manifest, config: Config, needed: Collection[str] = ()
) -> None:
    """Refuse a corpus that lacks too many files; print the number of missing ones.

    Args:
        manifest: Clips of the corpus.
        config: Configuration of the run.
        needed: Splits that must have files.

    Raises:
        UserError: If more than `dataset.max_missing` of the files are missing, or all
            files of a needed split.
    """
    root, dataset = config.dataset.folder, config.dataset
    absent = [clip for clip in manifest.clips if not (root / clip.path).exists()]
    if not absent:
        return
    whole = Counter(clip.split for clip in manifest.clips)
    lacking = Counter(clip.split for clip in absent)
    counts = [
        f"{lacking[split]} of {whole[split]} in {split}"
        for split in SPLITS
        if lacking[split]
    ]
    missing = f"files are missing: {', '.join(counts)}"
    is_too_much = len(absent) > dataset.max_missing * len(manifest.clips)
    empty = [split for split in needed if 0 < lacking[split] == whole[split]]
    if not is_too_much and not empty:
        print(f"{missing}; the rest is used", file=sys.stderr)
        return
    raise UserError(f"{missing}. {_suggest_remedy(manifest, config, absent, empty)}")


def _suggest_remedy(
    manifest: Manifest, config: Config, absent: Sequence[Clip], empty: Sequence[str]
) -> str:
    """Suggest what to do about missing files of all clips, of whole splits, or of some.

    Args:
        manifest: Clips of the corpus.
        config: Configuration of the run.
        absent: Clips whose files are missing.
        empty: Splits without any file.
    """
    root, dataset = config.dataset.folder, config.dataset
    own_table = dataset.csv_file if dataset.name == "csv" else ""
    where = corpus_hints.explain_missing_file(root, absent[0].path, own_table)
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
    if empty:
        usable = datasets.usable_folds(manifest, dataset)
        remedy = "complete the corpus"
        if usable:
            folds = " or ".join(f"--dataset.fold={fold}" for fold in usable)
            remedy += f", or use {folds}, with which each split has files"
        advice.append(
            f"The {' and the '.join(empty)} split has no file at all: {remedy}"
        )
    return ". ".join(advice)


def check_left_out(
    manifest: Manifest, splits: Sequence[str], max_left_out: float
) -> None:
    """Refuse scanned splits that lack too many clips, or too many of one label.

    Missing clips count, and clips that cannot be used. A single clip of a label may be
    left out, whatever its share, if the label has others.

    Args:
        manifest: Scanned manifest.
        splits: Splits, which are checked together.
        max_left_out: Largest share of clips that may be left out, of all clips and of
            each label, 0 to 1.

    Raises:
        UserError: If too many clips are left out; the message gives the numbers.
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
        f"more than dataset.max_missing = {max_left_out:g} of the split or of a label, "
        "so nothing is evaluated: complete the corpus, or give a larger "
        "--dataset.max_missing, and the report says what it lacks"
    )


def check_weights(manifest: Manifest, config: Config) -> None:
    """Refuse to train on a label whose clips all have the weight 0.

    Raises:
        UserError: If there is such a label; the message names it.
    """
    if config.dataset.unverified_weight:
        return
    clips = manifest.clips_in("train")
    verified = {clip.label for clip in clips if clip.verified != "0"}
    if unverified := [label for label in manifest.labels if label not in verified]:
        raise UserError(
            f"no training clip of {', '.join(unverified)} is verified, and "
            "dataset.unverified_weight = 0 gives the others no weight; raise it"
        )


def check_same_clips(
    before: Sequence[Clip], now: Sequence[Clip], workdir: Workdir
) -> None:
    """Refuse to resume a run whose corpus has changed.

    Args:
        before: Clips of the run when it began.
        now: Clips of the corpus.
        workdir: Run folder.

    Raises:
        UserError: If training or validation clips were added, removed or moved to
            another split; the message names some.
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


def describe_unusual_clips(clips: Sequence[Clip], config: Config) -> list[str]:
    """Describe unusual clips that are used nevertheless, one sentence for each kind."""
    notes = []
    audio = config.audio
    seconds = audio.segment_seconds
    if short := sum(clip.seconds < seconds for clip in clips):
        done = {"pad": "padded", "loop": "looped"}[audio.short_clips]
        notes.append(
            f"{count(short, 'clip is', 'clips are')} shorter than a segment of "
            f"{seconds:g} s: {done}"
        )
    if tiny := [clip for clip in clips if clip.seconds < VERY_SHORT]:
        shown = ", ".join(f"{c.path} ({1000 * c.seconds:.0f} ms)" for c in tiny[:3])
        notes.append(
            f"{count(len(tiny), 'clip is', 'clips are')} shorter than "
            f"{VERY_SHORT:g} s, and so mostly "
            f"{'padding' if audio.short_clips == 'pad' else 'repetition'}: "
            f"{shown}{' ...' * (len(tiny) > 3)}; listen to them, and remove those "
            "without a sound of their label"
        )
    wide = [clip for clip in clips if clip.channels > 2]
    if wide and config.augment.random_channel:
        notes.append(
            f"{count(len(wide), 'clip has', 'clips have')} more than two channels, "
            f"{wide[0].path} for one: "
            "training draws from the first two (augment.random_channel), validation "
            "and prediction take the mean of all; convert them to stereo, or use "
            "--augment.random_channel=false"
        )
    if odd := [clip for clip in clips if clip.note]:
        notes.append(
            f"{count(len(odd), 'file has', 'files have')} defects, and training uses "
            f"them, {odd[0].path} for one "
            f"({odd[0].note}); manifest.csv notes them all"
        )
    return notes


def describe_missing_recordings(clips: Sequence[Clip]) -> list[str]:
    """Say that a corpus does not name its recordings; an empty list if it does."""
    if any(clip.identifier != clip.path for clip in clips):
        return []
    return [
        "Each file counts as a recording of its own: if some are of one recording, the "
        "split may be leaky."
    ]


def describe_corpus_problems(
    manifest: Manifest, root: Path, scanned: Sequence[str], named: Sequence[str]
) -> list[str]:
    """Describe what makes a result of a corpus less reliable, and what to do about it.

    Args:
        manifest: Scanned manifest.
        root: Folder of the corpus.
        scanned: Splits whose files are compared with each other.
        named: Splits among them whose equal files are reported.

    Returns:
        One sentence for each problem.
    """
    shared = format_shared(manifest.protocol)
    clips = [clip for split in scanned for clip in manifest.clips_in(split)]
    return [
        *([shared] if shared else []),
        *describe_missing_labels(manifest),
        *describe_duplicates(find_duplicates(clips, root), named),
    ]


def describe_missing_labels(manifest: Manifest) -> list[str]:
    """Describe which labels lack validation or test clips, and what to do about it."""
    consequences = {
        "validation": "the best epoch is chosen without it; add recordings of it, or, "
        "where the split is drawn, raise dataset.validation_share",
        "test": "the result says nothing about it; add its files, or choose another "
        "dataset.fold or, where the split is drawn, dataset.test_share",
    }
    notes = []
    for split, remedy in consequences.items():
        # A test split may have no labels at all.
        present = {clip.label for clip in manifest.clips_in(split) if clip.label}
        missing = [label for label in manifest.labels if label not in present]
        if present and missing:
            notes.append(
                f"the {split} split has no clip of {', '.join(missing)}: {remedy}"
            )
    return notes


def print_excluded(manifest: Manifest, splits: Sequence[str]) -> None:
    """Name the excluded clips of some splits on stderr; manifest.csv names them all."""
    # Shared recordings are counted in a note instead.
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
