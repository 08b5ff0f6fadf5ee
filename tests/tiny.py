"""A corpus, features and configurations that train in seconds."""

import csv
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import soundfile

from asc_tf.config import Config
from asc_tf.workdir import Workdir

RATE = 8000
LABELS = ("hiss", "hum", "whistle")
SLOW = (pytest.mark.slow,)


def cases(names: Iterable, *quick: object) -> list:
    """Parameters of which all but the quick ones are for slow tests."""
    return [
        pytest.param(name, id=str(name), marks=() if name in quick else SLOW)
        for name in names
    ]


def clip(label: str, seed: int, seconds: float = 0.6) -> np.ndarray:
    """A clip that its label describes: float32 `[samples]`."""
    generator = np.random.default_rng([LABELS.index(label), seed])
    time = np.arange(round(seconds * RATE)) / RATE
    noise = 0.01 * generator.standard_normal(len(time))
    pitch = generator.uniform(0.9, 1.1)
    values = {
        "hiss": 0.2 * generator.standard_normal(len(time)),
        "hum": 0.3 * np.sin(2 * np.pi * 200 * pitch * time),
        "whistle": 0.3 * np.sin(2 * np.pi * 2000 * pitch * time),
    }[label]
    return np.clip(values + noise, -1, 1).astype(np.float32)


def write_corpus(folder: Path, recordings: int = 10, suffix: str = ".wav") -> Path:
    """One folder per label, two clips per recording, the lengths uneven."""
    for label in LABELS:
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(recordings):
            for take in range(2):
                values = clip(label, 2 * number + take, 0.4 + 0.1 * (number % 5))
                name = f"{label}{number}-{take}{suffix}"
                soundfile.write(folder / label / name, values, RATE)
    return folder


def config(folder: Path, **changes) -> Config:
    """A configuration for the corpus; `train__epochs=3` changes `train.epochs`."""
    tiny = {
        "dataset.name": "folder",
        "dataset.dir": str(folder),
        "dataset.identifier_pattern": r"/(.+)-\d",
        "audio.sample_rate": RATE,
        "audio.segment_seconds": 0.5,
        "frontend.n_fft": 256,
        "frontend.hop_length": 128,
        "frontend.n_mels": 16,
        "augment.time_masks": 1,
        "augment.frequency_masks": 1,
        "augment.frequency_mask_bands": 3,
        "augment.mixup_alpha": 0.3,
        "model.filters": (8, 16),
        "train.epochs": 3,
        "train.batch_size": 8,
        "train.warmup_epochs": 1.0,
        "train.learning_rate": 0.01,
        "export.calibration_segments": 16,
        # Drawing examples would take a third of the time of a run.
        "tensorboard.examples": 0,
    }
    given = {key.replace("__", "."): value for key, value in changes.items()}
    return Config().replace(tiny | given)


CLIPS = {"train": (8, 3, 6), "validation": (2, 2, 2), "test": (2, 2, 2)}
"""Clips of each label in each split of the stored features."""


def write_features(folder: Path) -> Path:
    """Stored features that are learned at once; each clip has one segment.

    Training from them scans and decodes no file and computes no spectrum, and so takes
    a third of the time of one from audio.
    """
    from asc_tf.core.files import hash_path
    from asc_tf.manifest import Clip, Manifest
    from asc_tf.pipeline.feature_store.folder import (
        Contents,
        FeaturesFolder,
        Shard,
        feature_settings,
    )

    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    clips, splits = [], {}
    for split, counts in CLIPS.items():
        label_ids = np.repeat(np.arange(len(LABELS)), counts)
        features = generator.normal(-50, 10, (len(label_ids), 32, 16))
        for row, label_id in zip(features, label_ids, strict=True):
            row[:, 5 * label_id : 5 * label_id + 5] += 20
        file = folder / f"{split}-00000.npy"
        np.save(file, features.astype(np.float32))
        ones = (1,) * len(label_ids)
        shard = Shard(file.name, hash_path(file), file.stat().st_size, "", ones)
        splits[split] = (shard,)
        clips += [
            Clip(f"{split}{n}.wav", LABELS[label_id], f"{split}{n}", split=split)
            for n, label_id in enumerate(label_ids)
        ]
    store = FeaturesFolder(folder)
    Manifest(tuple(clips), LABELS).write(store.manifest_file)
    store.write(
        Contents(
            config=feature_settings(config(folder)),
            labels=LABELS,
            protocol={"corpus": "folder"},
            shape=(32, 16),
            splits=splits,
            manifest_sha256=hash_path(store.manifest_file),
            finished=True,
        )
    )
    return folder


def features_config(folder: Path, **changes) -> Config:
    """A configuration for stored features, with the smallest network that learns."""
    network = {"model__filters": (8,), "model__dropout": 0.5}
    return config(folder, **network, dataset__features=str(folder), **changes)


class _BegunError(Exception):
    pass


def begin(config: Config, workdir: Workdir) -> SimpleNamespace:
    """Begin or resume a run up to its first epoch, which is not trained.

    Returns:
        The `run`, its `trainer` and `state`, the `examples` and the `energy`.
    """
    from asc_tf.training import fit
    from asc_tf.training.train import train

    given: list = []

    def stop(*arguments: object) -> None:
        given.extend(arguments)
        raise _BegunError

    with mock.patch.object(fit, "fit_epochs", stop), pytest.raises(_BegunError):
        train(config, workdir)
    training, examples, energy, _ = given
    return SimpleNamespace(**vars(training), examples=examples, energy=energy)


def history(workdir: Workdir) -> list[dict[str, float]]:
    """The rows of history.csv; none before the first epoch has ended."""
    if not workdir.history_file.is_file():
        return []
    with workdir.history_file.open(newline="") as stream:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(stream)]
