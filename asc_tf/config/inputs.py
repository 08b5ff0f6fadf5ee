"""The sections of a configuration that say what goes in: clips and their audio."""

from dataclasses import dataclass

from asc_tf.config.options import MAX_SEED, Section, option


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
        "how the corpus is split: its own way; urbansound8k also two_folds (train on "
        "two, validate on the third, test on the fourth); fsdkaggle2018 also kfold and "
        "stratified_kfold (fold dataset.fold of dataset.folds validates; in the order "
        "of the table, not shuffled); random: by clip, which is leaky and needs "
        "dataset.allow_leaky",
        choices=("official", "two_folds", "kfold", "stratified_kfold", "random"),
    )
    fold: int = option(
        -1,
        "the fold that is the test part, where a corpus has folds; -1: the last",
        minimum=-1,
    )
    folds: int = option(
        5, "kfold, stratified_kfold: number of folds made", minimum=2, maximum=100
    )
    allow_leaky: bool = option(
        False, "allow dataset.protocol = random, whose report says LEAKY"
    )
    drop_shared_recordings: bool = option(
        False,
        "where a published split has clips of one recording on both sides: leave out "
        "its training clips if it is in validation or test too, and its validation "
        "clips if it is in the test part too",
    )
    subset: int = option(
        100,
        "tau2022_mobile: per cent of the training clips, by the official list: 5, 10, "
        "25, 50 or 100",
        minimum=5,
        maximum=100,
    )
    max_missing: float = option(
        0.1,
        "share of the corpus's files that may be missing; with more the run stops; "
        "evaluation also counts files that cannot be used, and holds each label to it",
        minimum=0.0,
        maximum=1.0,
    )
    test_table: str = option(
        "",
        "fsdkaggle2018: table of the test clips, below dataset.dir; those of "
        "sample_submission.csv have no labels; empty: the first known one in the "
        "folder",
    )
    unverified_weight: float = option(
        1.0,
        "fsdkaggle2018: weight in training of clips that nobody verified, beside 1",
        minimum=0.0,
        maximum=1.0,
    )
    validation: str = option(
        "split",
        "split: the validation part is the corpus's own, or drawn from the training "
        "part; none: there is none, and all training clips train (needs train.keep = "
        "last)",
        choices=("split", "none"),
    )
    validation_share: float = option(
        0.0,
        "share of the training part (by whole recordings, of each label) that becomes "
        "the validation part, where the corpus has none of its own; 0: 0.3 in tut2018 "
        "and tau..., else 0.15",
        minimum=0.0,
        maximum=0.9,
    )
    test_share: float = option(
        0.2,
        "share of recordings that become the test part, where the corpus has neither "
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
        "folder: regular expression searched in a clip's path below the corpus "
        "folder; its first group (or named groups identifier, city, device) says "
        "which clips belong to one recording; empty: each clip is a recording",
    )
    csv_file: str = option("", "csv: the table, relative to dataset.dir or absolute")
    path_column: str = option("filename", "csv: column of the clip's path")
    label_column: str = option("label", "csv: column of the label")
    identifier_column: str = option("", "csv: column of the recording or location")
    city_column: str = option("", "csv: column of the city")
    device_column: str = option("", "csv: column of the recording device")
    fold_column: str = option("", "csv: column of the fold, a whole number")
    split_column: str = option("", "csv: column with train, validation or test")
    start_column: str = option("", "csv: column of the clip's start in its file, s")
    duration_column: str = option("", "csv: column of the clip's duration, s")
    locations: int = option(
        24, "synthetic: recording locations per scene", minimum=2, maximum=1000
    )
    takes: int = option(
        1, "synthetic: takes per location and device", minimum=1, maximum=1000
    )
    seconds: float = option(
        4.0, "synthetic: duration of a clip, s", minimum=1.0, maximum=60.0
    )

    @property
    def training_splits(self) -> tuple[str, ...]:
        """The splits that training reads."""
        return ("train",) if self.validation == "none" else ("train", "validation")


@dataclass(frozen=True)
class Audio(Section):
    """Audio files to segments of fixed length."""

    sample_rate: int = option(
        32000, "rate that every clip is resampled to, Hz", minimum=1000, maximum=384000
    )
    segment_seconds: float = option(
        4.0,
        "length of a segment, s; shorter clips are padded or looped",
        minimum=0.05,
        maximum=600.0,
    )
    hop_seconds: float = option(
        0.0,
        "step between the segments of a clip in evaluation, s; 0: segment_seconds",
        minimum=0.0,
        maximum=600.0,
    )
    max_seconds: float = option(
        600.0, "a longer file is refused, s", minimum=0.1, maximum=86400.0
    )
    decoder: str = option(
        "auto",
        "what decodes: WAV, FLAC, Ogg Vorbis and MP3 in the graph and the rest by "
        "libsndfile; the graph alone; or libsndfile for all",
        choices=("auto", "graph", "libsndfile"),
    )
    channels: str = option(
        "mono",
        "the mean of the channels; one of them; both (as left and right, or as their "
        "mean and half difference); split: left, right and mean as three examples",
        choices=("mono", "left", "right", "stereo", "mid_side", "split"),
    )
    short_clips: str = option(
        "pad",
        "a clip shorter than a segment: padded with zeros, or looped",
        choices=("pad", "loop"),
    )
    last_segment: str = option(
        "align",
        "where all segments are taken, the rest of a clip that does not fill one: "
        "align takes one more segment, which ends where the clip ends; drop leaves "
        "the rest out",
        choices=("align", "drop"),
    )
    cache: str = option(
        "memory",
        "decoded waveforms: kept in memory, kept in files, or decoded anew each epoch "
        "(those that libsndfile decodes are kept in files even then)",
        choices=("memory", "disk", "none"),
    )
    cache_dir: str = option(
        "", "folder of the kept files; empty: audio_cache beside the run folder"
    )
    cache_dtype: str = option(
        "int16",
        "samples in the kept files; int16 is scaled to each clip's peak",
        choices=("int16", "float16", "float32"),
    )

    @property
    def segment_samples(self) -> int:
        """Samples in a segment."""
        return round(self.segment_seconds * self.sample_rate)

    @property
    def hop_samples(self) -> int:
        """Samples between the starts of neighbouring segments."""
        return round((self.hop_seconds or self.segment_seconds) * self.sample_rate)
