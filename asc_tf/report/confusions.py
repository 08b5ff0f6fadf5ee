"""Confusion matrix of a page: cells that list their clips."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_LABELS = 50
"""Largest number of labels of a matrix on the page; a larger one is a picture."""

MAX_PAIRS = 40
"""Number of confusions that are listed where the matrix is a picture."""

LIMITS = (500, 200, 100, 50, 20, 10, 5, 2, 1, 0)
"""Numbers of clips that a cell may list."""

MAX_BYTES = 900_000
"""Size of all lists together, so that the page stays below 5 MB."""

ITEM_BYTES = 90
"""Size of an entry of a list besides the name of its file."""


@dataclass(frozen=True)
class Cell:
    """Cell of the matrix, with its clips.

    Attributes:
        anchor: Id of its list; empty where nothing is listed.
        true: True label.
        predicted: Predicted label.
        count: Number of clips.
        share: Share of the clips of the true label, 0 to 1; None if it has no clips.
        clips: Rows of predictions that are listed, the most confident first.
    """

    anchor: str
    true: str
    predicted: str
    count: int
    share: float | None
    clips: tuple[Mapping[str, Any], ...]

    @property
    def is_right(self) -> bool:
        """Whether the cell is on the diagonal."""
        return self.true == self.predicted


@dataclass(frozen=True)
class Confusions:
    """Cells of a confusion matrix.

    Attributes:
        rows: Cells by true and predicted label; empty for more than `MAX_LABELS`.
        lists: Cells that list clips, in the order of the page.
        limit: Number of clips that a cell lists at most.
    """

    rows: tuple[tuple[Cell, ...], ...]
    lists: tuple[Cell, ...]
    limit: int


def list_confusions(
    report: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]]
) -> Confusions:
    """Give each cell of the confusion matrix the clips that it counts.

    Report and predictions are as in `asc_tf.report.write_report`, with labels.
    """
    labels = [str(label) for label in report["labels"]]
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in sorted(predictions, key=lambda row: -float(row["probability"])):
        groups[str(row["label"]), str(row["predicted"])].append(row)
    is_whole = len(labels) <= MAX_LABELS
    counts = report["confusion_matrix"]["counts"]
    listed = {
        (true, predicted): groups[labels[true], labels[predicted]]
        for true, row in enumerate(counts)
        for predicted, count in enumerate(row)
        if count and (is_whole or true != predicted)
    }
    if not is_whole:
        most = sorted(listed, key=lambda place: -counts[place[0]][place[1]])
        listed = {place: listed[place] for place in most[:MAX_PAIRS]}
    limit = _choose_limit(list(listed.values()))
    shares = report["confusion_matrix"]["row_normalized"]

    def make(true: int, predicted: int) -> Cell:
        clips = tuple(listed.get((true, predicted), [])[:limit])
        anchor = f"cell-{true}-{predicted}" if clips else ""
        share = shares[true][predicted]
        names = labels[true], labels[predicted]
        return Cell(anchor, *names, counts[true][predicted], share, clips)

    n = range(len(labels))
    cells = {place: make(*place) for place in listed}
    rows = (
        tuple(tuple(cells.get((i, j)) or make(i, j) for j in n) for i in n)
        if is_whole
        else ()
    )
    return Confusions(rows, tuple(c for c in cells.values() if c.anchor), limit)


def find_usual_mistakes(report: Mapping[str, Any]) -> dict[str, tuple[str, int]]:
    """Find the wrong label that each label's clips get most often, if there is one.

    Returns:
        Wrong label and number of clips, by true label.
    """
    labels = [str(label) for label in report["labels"]]
    found = {}
    for true, row in enumerate(report["confusion_matrix"]["counts"]):
        wrong = [0 if i == true else count for i, count in enumerate(row)]
        if best := max(wrong):
            found[labels[true]] = (labels[wrong.index(best)], best)
    return found


def _choose_limit(groups: Sequence[Sequence[Mapping[str, Any]]]) -> int:
    """Choose how many clips a cell lists, so that the lists fit in `MAX_BYTES`."""
    for limit in LIMITS:
        size = sum(
            ITEM_BYTES + len(str(row["file"]).encode(errors="replace"))
            for group in groups
            for row in group[:limit]
        )
        if size <= MAX_BYTES:
            return limit
    return 0
