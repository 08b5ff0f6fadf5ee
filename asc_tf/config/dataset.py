"""The dataset section of a configuration: which clips, and how they are split."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from asc_tf.config.options import MAX_SEED, Section, option
from asc_tf.core.paths import expand_home

_csv_option = partial(option, only_with={"name": "csv"})
_synthetic_option = partial(option, only_with={"name": "synthetic"})
_fsdkaggle_option = partial(option, only_with={"name": "fsdkaggle2018"})


@dataclass(frozen=True)
class Dataset(Section):
    """Which clips, and how they are split."""

    name: str = option(
        "synthetic",
        "corpus layout",
        choices=(
            *("synthetic", "folder", "csv", "esc10", "esc50", "urbansound8k"),
            *("asc_mini", "tut2018", "tau2019", "tau2020_mobile", "tau2020_3class"),
            *("tau2022_mobile", "fsdkaggle2018"),
        ),
    )
    dir: str = option("", "folder of the corpus; synthetic scenes are written into it")
    features: str = option(
        "",
        "folder that asc-tf features wrote: train from its features instead of audio",
    )
    protocol: str = option(
        "official",
        "official: the corpus's own split; two_folds (urbansound8k): train on two "
        "folds, validate on the third, test on the fourth; kfold (folder, csv, "
        "fsdkaggle2018): fold dataset.fold of dataset.folds is the test split "
        "(fsdkaggle2018: the validation split, not shuffled), by whole recordings; "
        "stratified_kfold, grouped_kfold: like kfold, with each label's recordings "
        "spread evenly (fsdkaggle2018 has stratified_kfold only); random: by clip, "
        "which is leaky and needs dataset.allow_leaky",
        choices=(
            *("official", "two_folds", "kfold", "stratified_kfold", "grouped_kfold"),
            "random",
        ),
    )
    fold: int = option(
        -1,
        "the fold that is the test split, where a corpus has folds; -1: the last",
        minimum=-1,
    )
    folds: int = option(
        5,
        "number of folds made",
        minimum=2,
        maximum=100,
        only_with={"protocol": ("kfold", "stratified_kfold", "grouped_kfold")},
    )
    allow_leaky: bool = option(
        False, "allow dataset.protocol = random, whose report says LEAKY"
    )
    drop_shared_recordings: bool = option(
        False,
        "exclude training clips whose recording is also in the validation or the test "
        "split of a published split, and validation clips whose recording is also in "
        "the test split",
    )
    subset: int = option(
        100,
        "per cent of the training clips, by the official list: 5, 10, 25, 50 or 100",
        minimum=5,
        maximum=100,
        only_with={"name": "tau2022_mobile"},
    )
    max_missing: float = option(
        0.1,
        "share of the corpus's files that may be missing; with more the run stops; "
        "evaluation also counts files that cannot be used, and holds each label to it",
        minimum=0.0,
        maximum=1.0,
    )
    test_table: str = _fsdkaggle_option(
        "",
        "table of the test clips, below dataset.dir; those of sample_submission.csv "
        "have no labels; empty: the first known one in the folder",
    )
    unverified_weight: float = _fsdkaggle_option(
        1.0,
        "weight in training of clips that nobody verified, beside 1",
        minimum=0.0,
        maximum=1.0,
    )
    validation: str = option(
        "split",
        "split: the validation split is the corpus's own, or drawn from the training "
        "split; none: there is none, and all training clips train (needs train.keep = "
        "last)",
        choices=("split", "none"),
    )
    validation_share: float = option(
        0.0,
        "share of the training split (by whole recordings, of each label) that becomes "
        "the validation split, where the corpus has none of its own; 0: 0.3 in tut2018 "
        "and tau..., else 0.15",
        minimum=0.0,
        maximum=0.9,
    )
    test_share: float = option(
        0.2,
        "share of recordings that become the test split, where the corpus has neither "
        "folds nor a split",
        minimum=0.01,
        maximum=0.9,
    )
    seed: int = option(
        0,
        "seed of the splits and of the synthetic scenes",
        minimum=0,
        maximum=MAX_SEED,
    )
    identifier_pattern: str = option(
        "",
        "regular expression searched in a clip's path below the corpus folder; its "
        "first group without a name, or the group (?P<identifier>...), names the "
        "recording; (?P<city>...) and (?P<device>...) may be there too; empty: each "
        "clip is a recording",
        only_with={"name": "folder"},
    )
    csv_file: str = _csv_option("", "the table, relative to dataset.dir or absolute")
    path_column: str = _csv_option("filename", "column of the clip's path")
    label_column: str = _csv_option("label", "column of the label")
    identifier_column: str = _csv_option("", "column of the recording or location")
    city_column: str = _csv_option("", "column of the city")
    device_column: str = _csv_option("", "column of the recording device")
    fold_column: str = _csv_option("", "column of the fold, a whole number")
    split_column: str = _csv_option("", "column with train, validation or test")
    start_column: str = _csv_option("", "column of the clip's start in its file, s")
    duration_column: str = _csv_option("", "column of the clip's duration, s")
    locations: int = _synthetic_option(
        24, "recording locations per scene", minimum=2, maximum=1000
    )
    takes: int = _synthetic_option(
        1, "takes per location and device", minimum=1, maximum=1000
    )
    seconds: float = _synthetic_option(
        4.0, "duration of a clip, s", minimum=1.0, maximum=60.0
    )

    @property
    def folder(self) -> Path:
        """Folder of the corpus, with `~` expanded."""
        return expand_home(self.dir)

    @property
    def training_splits(self) -> tuple[str, ...]:
        """Names of the splits that training reads."""
        return ("train",) if self.validation == "none" else ("train", "validation")
