"""Clips of each label, counted, and drawn as stacked bars of HTML."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from asc_tf.manifest import SPLITS, Clip, Manifest
from asc_tf.report.html import breakable, name_cell, number_cell, table

MAX_GROUPS = 9
"""Colours that are told apart; more groups share the last one."""

FEW_LABELS = 20
"""The rows of more are set closer."""

VERIFIED = {"1": "verified", "0": "not verified", "": "unknown"}


@dataclass(frozen=True)
class Counts:
    """Numbers of each label, in groups.

    Attributes:
        title: What is counted.
        note: What else is to be said.
        groups: Names of the groups.
        rows: Of each label its name and its numbers, one per group.
    """

    title: str
    note: str
    groups: tuple[str, ...]
    rows: tuple[tuple[str, tuple[int, ...]], ...]


def by_split(manifest: Manifest) -> Counts:
    """All clips of the corpus's table, by the part that they are in."""
    note = "As its table has them; only the training part is opened."
    if without := sum(not clip.label for clip in manifest.clips):
        note += f" {without} test clips have no label."
    return _counted(
        "All clips by split",
        note,
        manifest.labels,
        manifest.clips,
        lambda clip: clip.split,
        SPLITS,
    )


def by_device(manifest: Manifest) -> Counts | None:
    """The training clips by recording device; None where the corpus has none."""
    clips = _training(manifest)
    devices = sorted({clip.device for clip in clips})
    if not any(devices):
        return None
    if len(devices) > MAX_GROUPS:
        common = Counter(clip.device for clip in clips).most_common(MAX_GROUPS - 1)
        devices = [*sorted(device for device, _ in common), "others"]
    return _counted(
        "Training clips by device",
        "Of the training part, before augmentation.",
        manifest.labels,
        clips,
        lambda clip: clip.device if clip.device in devices else "others",
        devices,
    )


def by_verification(manifest: Manifest) -> Counts | None:
    """The clips of training and validation by whether a person has checked the label.

    They are those of all folds, so that the chart is the same for each of them; None
    where the corpus does not say.
    """
    clips = [clip for clip in manifest.clips if clip.split != "test"]
    if not any(clip.verified for clip in clips):
        return None
    groups = [name for name in VERIFIED if any(c.verified == name for c in clips)]
    return _counted(
        "Training and validation clips by verification",
        "Whether a person has checked the label.",
        manifest.labels,
        clips,
        lambda clip: clip.verified,
        groups,
        VERIFIED,
    )


def in_an_epoch(
    manifest: Manifest, examples: Callable[[Clip], int], copies: int, note: str
) -> Counts:
    """Training examples of an epoch, before and after augmentation makes copies.

    Args:
        manifest: The manifest.
        examples: How many examples a clip is before augmentation, 0 for one that
            cannot be used.
        copies: `augment.copies`.
        note: What an example is.
    """
    before = Counter[str]()
    for clip in _training(manifest):
        before[clip.label] += examples(clip)
    return Counts(
        "Training examples in an epoch",
        note,
        ("before augmentation", "added by copies"),
        tuple(
            (label, (before[label], (copies - 1) * before[label]))
            for label in manifest.labels
        ),
    )


def _training(manifest: Manifest) -> list[Clip]:
    return [c for c in manifest.clips if c.split == "train" and not c.is_dropped]


def _counted(
    title: str,
    note: str,
    labels: Sequence[str],
    clips: Sequence[Clip],
    group_of: Callable[[Clip], str],
    groups: Sequence[str],
    names: dict[str, str] | None = None,
) -> Counts:
    found = Counter((clip.label, group_of(clip)) for clip in clips)
    shown = tuple((names or {}).get(group, group) or "unknown" for group in groups)
    rows = tuple(
        (label, tuple(found[label, group] for group in groups)) for label in labels
    )
    return Counts(title, note, shown, rows)


def stacked_bars(counts: Counts) -> str:
    """A legend, a bar for each label, and a table of the numbers to unfold."""
    sums = [sum(numbers) for _, numbers in counts.rows]
    largest = max([*sums, 1])
    used = [
        place
        for place, _ in enumerate(counts.groups)
        if any(numbers[place] for _, numbers in counts.rows)
    ]
    legend = "".join(
        f'<li><i class="g{place}"></i>{breakable(counts.groups[place])} '
        f"<b>{sum(numbers[place] for _, numbers in counts.rows)}</b></li>"
        for place in used
    )
    bars = "\n".join(
        f'<tr>{name_cell(label)}<td><div class="stack">'
        + "".join(
            f'<i class="g{place}" style="width: {100 * numbers[place] / largest:.2f}%" '
            f'title="{escape(counts.groups[place])}: {numbers[place]}"></i>'
            for place in used
            if numbers[place]
        )
        + f"</div></td>{number_cell(total)}</tr>"
        for (label, numbers), total in zip(counts.rows, sums, strict=True)
    )
    many = " many" if len(sums) > FEW_LABELS else ""
    return (
        f'<ul class="legend">{legend}</ul>\n<table class="counts{many}">\n'
        f"<tbody>\n{bars}\n</tbody>\n</table>\n{_numbers(counts, used, sums)}"
    )


def _numbers(counts: Counts, used: Sequence[int], sums: Sequence[int]) -> str:
    rows = [
        [
            name_cell(label),
            *(number_cell(numbers[place]) for place in used),
            number_cell(total),
        ]
        for (label, numbers), total in zip(counts.rows, sums, strict=True)
    ]
    columns = zip(*(numbers for _, numbers in counts.rows), strict=True)
    whole = [sum(column) for column in columns]
    rows.append(
        [
            name_cell("all labels"),
            *(number_cell(whole[place]) for place in used),
            number_cell(sum(sums)),
        ]
    )
    heads = ["label", *(counts.groups[place] for place in used), "sum"]
    return f"<details><summary>Numbers</summary>\n{table(heads, rows)}</details>"
