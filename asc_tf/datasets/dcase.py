"""Adapters for the TUT and TAU Urban Acoustic Scenes development sets.

One official list names the training clips and one the test clips; clips in neither are
left out. An identifier is a recording location: its clips, from all devices, share a
split. The lists have no validation split (`valid.csv` of some copies is the test list
again), so that one is drawn from the training split by whole locations.

Sources: A. Mesaros, T. Heittola and T. Virtanen, "A multi-device dataset for urban
acoustic scene classification", DCASE 2018; T. Heittola, A. Mesaros and T. Virtanen,
"Acoustic scene classification in DCASE 2020 Challenge: generalization across devices
and low complexity solutions", DCASE 2020.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from asc_tf.config import Dataset
from asc_tf.core.errors import UsageError, UserError
from asc_tf.datasets.corpus import (
    Corpus,
    MissingTableError,
    Row,
    choose_fold,
    find_file,
    parse_clip_path,
    read_rows,
    sort_clips,
)
from asc_tf.manifest import Clip

SCENES = (
    *("airport", "bus", "metro", "metro_station", "park", "public_square"),
    *("shopping_mall", "street_pedestrian", "street_traffic", "tram"),
)
GROUPS = {
    "indoor": ("airport", "metro_station", "shopping_mall"),
    "outdoor": ("park", "public_square", "street_pedestrian", "street_traffic"),
    "transportation": ("bus", "metro", "tram"),
}
DEVICE_GROUPS = {
    **dict.fromkeys(("a", "b", "c"), "real"),
    **dict.fromkeys(("s1", "s2", "s3"), "seen"),
    **dict.fromkeys(("s4", "s5", "s6"), "unseen"),
}
"""Real devices, simulated ones of the training split, and others of the test only."""

DEVICE_CORPORA = ("tau2020_mobile", "tau2022_mobile", "synthetic")
"""Corpora with these devices; the synthetic scenes imitate them."""

SUBSETS = (5, 10, 25, 50, 100)
"""Percentages of the training clips in the lists of DCASE 2024, task 1."""

_FOLDERS = ("evaluation_setup", "split_setup", ".")
_META = ("meta.csv", "total.csv")
_META_COLUMNS = ("filename", "scene_label", "identifier", "source_label")
_LIST_COLUMNS = ("filename", "scene_label")
_TRAIN = ("fold1_train.csv", "fold1_train.txt", "train.csv")
# fold1_test has the clips of fold1_evaluate without the labels, so it comes last.
_TEST = (
    *("fold1_evaluate.csv", "fold1_evaluate.txt", "test.csv", "valid.csv"),
    *("fold1_test.csv", "fold1_test.txt"),
)


@dataclass(frozen=True)
class _Corpus:
    """Differences between the corpora: labels of the scenes, and file names."""

    name: str
    labels: dict[str, str]
    segments: bool = False

    @property
    def form(self) -> str:
        segment = "-segment" if self.segments else ""
        return f"scene-city-location-recording{segment}-device.wav"

    @property
    def layout(self) -> str:
        return (
            "evaluation_setup/fold1_train and fold1_evaluate (.csv or .txt), meta.csv, "
            f"and audio/{self.form}"
        )

    @property
    def pattern(self) -> str:
        segment = r"-\w+" if self.segments else ""
        return (
            r"(?P<scene>\w+)-(?P<identifier>(?P<city>\w+)-\w+)-\w+"
            rf"{segment}-(?P<device>\w+)\.\w+"
        )


_TEN = {scene: scene for scene in SCENES}
_THREE = {scene: label for label, scenes in GROUPS.items() for scene in scenes}
_CORPORA = (
    # 8640 clips of 10 s, ten scenes in six cities, one device.
    _Corpus("tut2018", _TEN),
    # Ten cities, one device.
    _Corpus("tau2019", _TEN),
    # Nine devices, three of them only in the test split.
    _Corpus("tau2020_mobile", _TEN),
    # Indoor, outdoor, transportation.
    _Corpus("tau2020_3class", _THREE),
    # The clips of 2020 Mobile, cut to 1 s.
    _Corpus("tau2022_mobile", _TEN, segments=True),
)
CORPORA = {corpus.name: corpus for corpus in _CORPORA}


def read_dcase(dataset: Dataset, directory: Path) -> Corpus:
    """Read one of `CORPORA`, the one that `dataset.name` names.

    For tau2022_mobile, `dataset.subset` chooses a training list of DCASE 2024.
    """
    corpus = CORPORA[dataset.name]
    train: tuple[str, ...] = _TRAIN
    if corpus.segments:
        if dataset.subset not in SUBSETS:
            raise UsageError(
                f"dataset.subset = {dataset.subset}: the official lists have "
                f"{', '.join(map(str, SUBSETS))} per cent"
            )
        subset = f"split{dataset.subset}.csv"
        train = (*_TRAIN, subset) if dataset.subset == 100 else (subset,)
    fold = choose_fold(dataset, (1,), corpus.name)
    meta = _read_meta(directory)
    rows = []
    for split, names in (("train", train), ("test", _TEST)):
        table = _find_list(directory, names, corpus)
        for row in _read_list(table):
            path = parse_clip_path(row["filename"], row.where)
            rows.append(
                (row.where, _make_clip(row, path, meta.get(path), split, corpus))
            )
    clips = sort_clips(rows)
    protocol = {"fold": fold}
    if corpus.segments:
        protocol["subset"] = dataset.subset
    if unlisted := len(set(meta) - {clip.path for clip in clips}):
        protocol["unlisted"] = unlisted
    return Corpus(
        clips=clips,
        labels=tuple(sorted({clip.label for clip in clips})),
        layout=corpus.layout,
        protocol=protocol,
        published=("train", "test"),
        by_location=True,
    )


def _find_list(directory: Path, names: tuple[str, ...], corpus: _Corpus) -> Path:
    places = (f"{folder}/{name}" for name in names for folder in _FOLDERS)
    if table := find_file(directory, *places):
        return table
    subset = " (for this dataset.subset)" if corpus.segments else ""
    raise MissingTableError(
        f"dataset.dir = {directory}: has no {' or '.join(names)}{subset}, neither in "
        f"evaluation_setup or split_setup nor beside them; expected {corpus.layout}"
    )


def _read_list(table: Path) -> list[Row]:
    return read_rows(table, ("filename",), delimiter="\t", without_header=_LIST_COLUMNS)


def _read_meta(directory: Path) -> dict[str, Row]:
    """Read the table of all clips, by path; empty if there is none."""
    if not (table := find_file(directory, *_META)):
        return {}
    meta: dict[str, Row] = {}
    for row in read_rows(table, _META_COLUMNS, delimiter="\t"):
        path = parse_clip_path(row["filename"], row.where)
        if path in meta:
            raise UserError(f"{row.where}: {path} is there already, {meta[path].where}")
        meta[path] = row
    return meta


def _make_clip(
    row: Row, path: str, meta: Row | None, split: str, corpus: _Corpus
) -> Clip:
    """Make a clip from its row in a list, its row in the meta table, and its name."""
    label = row.get("scene_label") or (meta["scene_label"] if meta else "")
    known = sorted(set(corpus.labels.values()))
    if label not in known:
        raise UserError(
            f"{row.where}: scene_label {label!r} is none of {corpus.name}, which has "
            f"{', '.join(known)}"
        )
    if match := re.fullmatch(corpus.pattern, Path(path).name, re.ASCII):
        identifier, device = match["identifier"], match["device"]
        _check_facts(row, label, meta, match, corpus)
    elif meta:
        identifier, device = meta["identifier"], meta["source_label"]
    else:
        raise UserError(
            f"{row.where}: {path} does not say its location, as {corpus.form} does, "
            "and there is no meta.csv with a row for it"
        )
    city = identifier.split("-")[0]
    return Clip(path, label, identifier, city=city, device=device, split=split)


def _check_facts(
    row: Row, label: str, meta: Row | None, match: re.Match, corpus: _Corpus
) -> None:
    """Refuse a clip whose name, list and meta table contradict each other."""
    facts = [(row.where, "scene_label", label, corpus.labels.get(match["scene"]))]
    if meta:
        # Some tables name the recording too, as in lisbon-1000-40000.
        place = "-".join(meta["identifier"].split("-")[:2])
        facts += [
            (meta.where, "scene_label", meta["scene_label"], label),
            (meta.where, "identifier", place, match["identifier"]),
            (meta.where, "source_label", meta["source_label"], match["device"]),
        ]
    for where, column, said, named in facts:
        if said != named:
            raise UserError(
                f"{where}: column {column} says {said} of {match[0]}, but the file "
                f"name or the list says {named or 'no scene'}"
            )
