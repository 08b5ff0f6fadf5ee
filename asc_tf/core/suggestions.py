"""Suggestions for an unknown name: the most similar one, or a known synonym."""

import difflib
import os
from collections.abc import Iterable
from pathlib import Path

ALIASES: dict[str, tuple[str, ...]] = {
    "arch": ("model.name",),
    "architecture": ("model.name",),
    "amp": ("train.precision",),
    "batch": ("train.batch_size", "evaluate.batch_size"),
    "bs": ("train.batch_size", "evaluate.batch_size"),
    "checkpoint": ("workdir", "model"),
    "checkpointdir": ("workdir",),
    "classify": ("predict",),
    "clipnorm": ("train.clip_norm",),
    "convert": ("export",),
    "corpus": ("dataset.name",),
    "csv": ("dataset.csv_file",),
    "data": ("dataset.dir",),
    "datadir": ("dataset.dir",),
    "datapath": ("dataset.dir",),
    "dataset": ("dataset.name", "dataset.dir"),
    "duration": ("audio.segment_seconds", "audio.max_seconds"),
    "earlystopping": ("train.patience",),
    "fft": ("frontend.n_fft",),
    "fftsize": ("frontend.n_fft",),
    "fit": ("train",),
    "fp16": ("train.precision",),
    "fs": ("audio.sample_rate",),
    "gpus": ("train.strategy",),
    "hopsize": ("frontend.hop_length",),
    "infer": ("predict",),
    "inference": ("predict",),
    "init": ("model.init_from",),
    "labelsmooth": ("train.label_smoothing",),
    "logdir": ("workdir",),
    "lr": ("train.learning_rate",),
    "mask": ("augment.time_masks", "augment.frequency_masks"),
    "masking": ("augment.time_masks", "augment.frequency_masks"),
    "maxepochs": ("train.epochs",),
    "mels": ("frontend.n_mels",),
    "mixedprecision": ("train.precision",),
    "mixstyle": ("augment.mixstyle_alpha",),
    "mixup": ("augment.mixup_alpha",),
    "model": ("model.name", "workdir"),
    "modeldir": ("workdir", "model"),
    "modelpath": ("workdir", "model"),
    "nepochs": ("train.epochs",),
    "network": ("model.name",),
    "numepochs": ("train.epochs",),
    "numfilters": ("model.filters",),
    "out": ("output", "workdir"),
    "outdir": ("output", "workdir"),
    "output": ("workdir",),
    "outputdir": ("output", "workdir"),
    "plot": ("explore",),
    "pretrained": ("model.weights", "model.init_from"),
    "rate": ("audio.sample_rate", "train.learning_rate"),
    "reverse": ("augment.time_reverse",),
    "roll": ("augment.time_roll",),
    "run": ("workdir", "train"),
    "rundir": ("workdir",),
    "samplerate": ("audio.sample_rate",),
    "savedir": ("workdir",),
    "scheduler": ("train.schedule",),
    "smoothing": ("train.label_smoothing",),
    "snr": ("augment.noise_min_snr_db", "augment.noise_max_snr_db"),
    "specaug": ("augment.time_masks", "augment.frequency_masks"),
    "specaugment": ("augment.time_masks", "augment.frequency_masks"),
    "sr": ("audio.sample_rate",),
    "test": ("evaluate",),
    "topk": ("top_k",),
    "wd": ("train.weight_decay",),
    "winsize": ("frontend.win_length",),
    "windowsize": ("frontend.win_length",),
    "workdir": ("model", "output"),
}
"""Names that other programs give a setting, without - and _, and its names here."""

MAX_SUGGESTED = 3

MAX_COMPARED = 1000
"""Entries of a folder that a missing name is compared with."""


def suggest(word: str, known: Iterable[str]) -> str:
    """Format the names that `find_nearest` finds as `; did you mean A or B?`."""
    return format_suggestions(find_nearest(word, known))


def format_suggestions(names: Iterable[str]) -> str:
    """Format names as `; did you mean A, B or C?`; empty without names."""
    *others, last = [*names][:MAX_SUGGESTED] or [""]
    if not last:
        return ""
    return f"; did you mean {', '.join(others)}{' or ' if others else ''}{last}?"


def suggest_path(path: Path) -> str:
    """Format the existing paths that a missing one may stand for.

    The first part of the path that is missing is compared with what is there, without
    regard to upper and lower case.
    """
    path = path.absolute()
    # Not Path.exists, which raises an error where a folder may not be read.
    missing = [each for each in (path, *path.parents) if not os.path.exists(each)]
    if not missing:
        return ""
    place = missing[-1]
    try:
        found = sorted(os.listdir(place.parent))[:MAX_COMPARED]
    except OSError:
        return ""
    names = {name.lower(): name for name in found}
    near = difflib.get_close_matches(place.name.lower(), names, n=MAX_SUGGESTED)
    rest = path.relative_to(place)
    paths = [place.parent / names[each] / rest for each in near]
    return format_suggestions(str(each) for each in paths if os.path.exists(each))


def find_nearest(word: str, known: Iterable[str]) -> list[str]:
    """Find the known names that an unknown one may stand for; none if all differ.

    `n_mels` and `model.n_mels` stand for `frontend.n_mels`: the text after the dot
    counts most. `seed` stands for every seed, `lr` for its synonym.
    """
    names = list(known)
    end = _end(word)
    same = [name for name in names if _end(name) == end]
    if same and "." not in word:
        return same[:MAX_SUGGESTED]
    meant = [name for name in ALIASES.get(_plain(end), ()) if name in names]
    if meant and not same:
        return meant
    near = same or difflib.get_close_matches(word, names, n=1)
    near = near or [
        name
        for match in difflib.get_close_matches(end, map(_end, names), n=1)
        for name in names
        if _end(name) == match
    ]
    return difflib.get_close_matches(word, near, n=1, cutoff=0)


def _end(key: str) -> str:
    return key.rpartition(".")[2]


def _plain(word: str) -> str:
    return word.lower().replace("-", "").replace("_", "")
