"""The published experiments: each trains, evaluates and exports, on a corpus in small.

The corpora have their own layouts and file formats; clips are short and made here.
"""

import dataclasses
import re

import keras
import librosa
import numpy as np
import pytest
import soundfile
import tensorflow as tf
import tiny
from corpora import edit, make_dcase, make_fsd, make_mini, make_urban
from tiny import history

from asc_tf import cli, datasets, models
from asc_tf import config as configuration
from asc_tf.config import Dataset
from asc_tf.config.checks import find_unused_settings
from asc_tf.dsp import segments
from asc_tf.evaluation.evaluate import evaluate
from asc_tf.exporting.export import export
from asc_tf.frontend import FrontendLayer
from asc_tf.pipeline import embeddings
from asc_tf.training.checkpoint import RunState
from asc_tf.training.train import train
from asc_tf.workdir import Workdir

STRATEGIES = ("", "_masking", "_mixup", "_both")
ESA3 = [f"{net}{plan}" for net in ("esa3_cnn", "esa3_crnn") for plan in STRATEGIES]
INCEPTION = ("us8k_inception", "us8k_inception_hertz")
MASKS = {
    "time_masks": 2,
    "time_mask_frames": 10,
    "frequency_masks": 2,
    "frequency_mask_bands": 15,
}


def one_take(table):
    lines = table.splitlines()
    kept = [line for line in lines if not re.search(r"-[123]-a\.wav", line)]
    return "\n".join([*kept, ""])


def interleaved(table):
    """A table whose neighbouring rows have other labels."""
    head, *rows = table.splitlines()
    thirds = [rows[place::3] for place in range(3)]
    return "\n".join([head, *(row for third in thirds for row in third), ""])


def fill(name, folder, **format):
    """Write the clips of a corpus whose tables are there: a tone and noise."""
    found = datasets.load(Dataset(name=name, dir=str(folder)))
    for number, clip in enumerate(found.clips):
        generator = np.random.default_rng(number)
        rates = format["rates"]
        rate = rates[number % len(rates)]
        time = np.arange(round(format["seconds"] * rate)) / rate
        pitch = 300 * (1 + found.labels.index(clip.label))
        shape = (len(time), format["channels"])
        values = 0.05 * generator.standard_normal(shape)
        values += 0.2 * np.sin(2 * np.pi * pitch * time)[:, None]
        path = folder / clip.path
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, values, rate, format["subtype"], format="WAV")


@pytest.fixture(scope="session")
def asc_mini(tmp_path_factory):
    folder = make_mini(tmp_path_factory.mktemp("asc_mini"))
    fill(
        *("asc_mini", folder),
        **{"rates": [44100], "seconds": 0.5, "channels": 1, "subtype": "PCM_16"},
    )
    return folder


@pytest.fixture(scope="session")
def urbansound8k(tmp_path_factory):
    folder = make_urban(tmp_path_factory.mktemp("urban"), folds=(1, 2, 3, 10))
    # The corpus mixes rates and channels; some clips are shorter than a segment.
    fill(
        *("urbansound8k", folder),
        **{"rates": [44100, 48000, 96000], "seconds": 0.7},
        **{"channels": 2, "subtype": "PCM_24"},
    )
    return folder


@pytest.fixture(scope="session")
def tut2018(tmp_path_factory):
    folder = make_dcase(tmp_path_factory.mktemp("tut2018"), "tut2018")
    for table in (folder / "meta.csv", *folder.glob("evaluation_setup/*.txt")):
        edit(table, one_take)
    fill(
        *("tut2018", folder),
        **{"rates": [48000], "seconds": 1.0, "channels": 2, "subtype": "PCM_24"},
    )
    return folder


@pytest.fixture(scope="session")
def fsdkaggle2018(tmp_path_factory):
    folder = make_fsd(tmp_path_factory.mktemp("fsdkaggle2018"))
    # The folds are those of the table's order, which does not go by labels.
    edit(next(folder.rglob("train_post_competition.csv")), interleaved)
    fill(
        *("fsdkaggle2018", folder),
        **{"rates": [44100], "seconds": 0.5, "channels": 1, "subtype": "PCM_16"},
    )
    return folder


def shipped(name):
    return configuration.read(configuration.find(name))


def run(name, folder, tmp_path, formats=(), **changes):
    """Train two steps and evaluate; export, too, if formats are given.

    The doctor's tests write every format of each network, of random weights.

    Returns:
        The report of the test split, and the formats that were accepted.
    """
    clips = datasets.load(Dataset(name=shipped(name).dataset.name, dir=str(folder)))
    workdir = Workdir(tmp_path / "run")
    views = 3 if shipped(name).audio.channels == "split" else 1
    given = {
        "dataset.dir": str(folder),
        "train.epochs": 1,
        "train.steps": 0,
        "train.batch_size": -(-len(clips.clips_in("train")) * views // 2),
        "export.calibration_segments": 16,
        # A network that has learnt nothing agrees with nobody where it is close.
        "export.min_agreement": 0.0,
        "export.max_accuracy_drop": 1.0,
    }
    config = shipped(name).replace(given | changes)
    train(config, workdir)
    assert len(history(workdir)) == 1
    report, _ = evaluate(workdir)
    if not formats:
        return report, set()
    content = export(workdir, tmp_path / "export", {"export.formats": formats})
    return report, set(content["formats"])


def test_every_flag_in_the_head_of_an_experiment_is_one():
    for name in (*ESA3, "us8k_cnn", *INCEPTION, "dcase2018", "fsdkaggle2018"):
        text = configuration.find(name).read_text()
        head = text[: text.index("\n\n")]
        flags = re.findall(r"--([a-z]+\.[a-z0-9_]+)", head)
        assert set(flags) <= set(configuration.FIELDS), name


@pytest.mark.parametrize("name", ["us8k_cnn", *INCEPTION])
def test_urbansound8k_is_split_at_random_where_the_published_split_is_wanted(
    name, urbansound8k
):
    dataset = {"protocol": "random", "allow_leaky": True, "dir": str(urbansound8k)}
    changes = {f"dataset.{key}": value for key, value in dataset.items()}
    manifest = datasets.load(shipped(name).replace(changes).dataset)
    assert manifest.protocol["leaky"]


def test_each_of_the_experiments_says_what_it_reproduces_its_cost_and_its_command():
    for name in (*ESA3, "us8k_cnn", *INCEPTION, "dcase2018", "fsdkaggle2018"):
        text = configuration.find(name).read_text()
        head = text[: text.index("\n\n")]
        command = f"# Command: asc-tf train --config={name} "
        for word in ("Cost: ", "Deviations:", command):
            assert word in head, name
        assert f"--workdir=runs/{name}" in head, name


def test_every_shipped_configuration_leaves_the_precision_to_the_machine():
    folder = configuration.find("esa3_cnn").parent
    names = [path.stem for path in folder.glob("*.toml")]
    assert len(names) == 15
    assert {shipped(name).train.precision for name in names} == {"auto"}


def test_us8k_cnn_stops_at_the_first_epoch_without_gain(tmp_path):
    config = shipped("us8k_cnn")
    state = RunState(Workdir(tmp_path), None, None, config.train.patience)
    losses = [1.0, 0.9, 0.9]
    stops = []
    for epoch, loss in enumerate(losses, 1):
        state.history.append({"epoch": epoch, "val_loss": loss})
        stops.append(state.is_exhausted)
    assert stops == [False, False, True]


@pytest.mark.parametrize(("name", "count"), [("us8k_cnn", 7), (INCEPTION[0], 1)])
def test_a_clip_of_urbansound8k_has_the_published_number_of_segments(name, count):
    audio = shipped(name).audio
    sizes = audio.segment_samples, audio.hop_samples
    # Both for the longest clips and for those that resampling made a little longer.
    for samples in (88200, 88203):
        found = segments.find_starts(samples, *sizes, last_segment=audio.last_segment)
        assert len(found) == count


def test_the_published_split_of_us8k_inception_is_a_tenth_and_a_tenth(tmp_path):
    head = configuration.find("us8k_inception").read_text()
    flags = dict(re.findall(r"--(dataset\.\w+_share)=([\d.]+)", head))
    changes = {key: float(value) for key, value in flags.items()}
    changes |= {"dataset.protocol": "random", "dataset.allow_leaky": True}
    folder = make_urban(tmp_path)
    changes["dataset.dir"] = str(folder)
    manifest = datasets.load(shipped("us8k_inception").replace(changes).dataset)
    count = len(manifest.clips)
    for part in ("validation", "test"):
        assert len(manifest.clips_in(part)) == pytest.approx(count / 10, rel=0.05)


def test_the_nine_points_of_us8k_inception_are_in_its_head():
    head = configuration.find("us8k_inception").read_text()
    assert "for rate in 0.005 0.01 0.05; do for batch in 50 100 200; do" in head
    assert shipped("us8k_inception").train.steps == 30000
    assert "--train.steps=50000" in head


PUBLISHED = {
    "esa3_cnn": {
        **{"audio.sample_rate": 44100, "frontend.n_fft": 2048},
        **{"frontend.hop_length": 512, "frontend.n_mels": 128, "frontend.fmax": 0.0},
        **{"frontend.logarithm": "decibel", "frontend.db_reference": "clip_max"},
        **{"frontend.standardize": "scalar", "frontend.pad_mode": "reflect"},
        **{"model.dropout": 0.5},
        **{"train.optimizer": "adam", "train.batch_size": 8, "train.epochs": 50},
        **{"dataset.validation": "none", "train.keep": "last", "train.patience": 0},
        **{"train.schedule": "constant", "train.warmup_epochs": 0.0},
    },
    "us8k_cnn": {
        **{"audio.sample_rate": 22050, "frontend.n_fft": 2048},
        **{"frontend.hop_length": 512, "frontend.center": True},
        **{"frontend.n_mels": 60, "frontend.deltas": 1, "model.dropout": 0.5},
        **{"frontend.db_reference": "fixed", "audio.short_clips": "pad"},
        **{"frontend.pad_mode": "reflect", "audio.last_segment": "drop"},
        **{"train.segments": "all", "train.optimizer": "adam"},
        **{"train.learning_rate": 1e-3, "train.batch_size": 64, "train.patience": 1},
        **{"train.schedule": "constant", "train.warmup_epochs": 0.0},
    },
    "us8k_inception": {
        **{"audio.channels": "split", "train.segments": "all"},
        **{"frontend.n_mels": 128, "model.backbone": "inception_v3"},
        **{"frontend.pad_mode": "reflect", "frontend.top_db": 40.0},
        **{"frontend.image_frames": 299, "frontend.image_bands": 299},
        **{"model.weights": "imagenet", "model.train_from": ""},
        **{"train.optimizer": "sgd", "train.momentum": 0.0, "train.batch_size": 200},
        **{"train.learning_rate": 0.05, "train.schedule": "constant"},
        **{"train.warmup_epochs": 0.0},
    },
    "dcase2018": {
        **{"audio.sample_rate": 48000, "frontend.n_fft": 2048},
        **{"frontend.win_length": 1920, "frontend.hop_length": 960},
        **{"frontend.window": "hamming", "frontend.power": 1.0},
        **{"frontend.n_mels": 40, "frontend.mel_scale": "slaney"},
        **{"frontend.mel_norm": "slaney", "frontend.logarithm": "natural"},
        **{"frontend.pad_mode": "reflect"},
        **{"frontend.max_frames": 500, "model.dropout": 0.2, "train.energy": True},
        **{"train.optimizer": "adam", "train.learning_rate": 1e-3},
        **{"train.schedule": "inverse_time", "train.decay_rate": 1e-3},
        **{"train.warmup_epochs": 0.0, "train.epochs": 100, "train.batch_size": 16},
    },
    "fsdkaggle2018": {
        **{"audio.sample_rate": 44100, "audio.segment_seconds": 2.0},
        **{"audio.short_clips": "pad", "train.segments": "random"},
        **{"frontend.kind": "mfcc", "frontend.n_mfcc": 40, "frontend.n_mels": 128},
        **{"frontend.db_reference": "fixed", "model.dropout": 0.0},
        **{"frontend.waveform_range": "as_is", "frontend.pad_mode": "reflect"},
        **{"frontend.standardize": "per_position", "dataset.folds": 2},
        **{"train.batch_size": 64, "train.epochs": 30, "train.patience": 5},
        **{"train.schedule": "constant", "train.warmup_epochs": 0.0},
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_experiment_has_the_published_settings(name):
    found = shipped(name).flat()
    assert {key: found[key] for key in PUBLISHED[name]} == PUBLISHED[name]


@pytest.mark.parametrize("name", ESA3)
def test_esa3_differ_in_their_strategy_alone(name):
    config, plain = shipped(name), shipped("esa3_cnn")
    plan = name.removeprefix(config.model.name)
    masks = MASKS if plan in ("_masking", "_both") else {}
    wanted = {f"augment.{key}": value for key, value in masks.items()}
    wanted["augment.mixup_alpha"] = 0.3 if plan in ("_mixup", "_both") else 0.0
    wanted["model.name"] = "esa3_crnn" if "crnn" in name else "esa3_cnn"
    assert config == plain.replace(wanted)
    assert (config.train.batch_size, config.train.epochs) == (8, 50)
    assert config.frontend.frames(config.audio.segment_samples) == 216
    assert config.frontend.n_mels == 128


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["esa3_cnn", "esa3_cnn_masking", "esa3_crnn_mixup", "esa3_crnn_both"]
)
def test_esa3_train_evaluate_and_export(name, asc_mini, tmp_path):
    """Each network twice and each strategy once; these change nothing of an export."""
    formats = ("int8",) if name in ("esa3_cnn", "esa3_crnn_both") else ()
    report, accepted = run(name, asc_mini, tmp_path, formats)
    assert report["n_clips"] == 30
    assert accepted == set(formats)


@pytest.mark.slow
def test_us8k_cnn_trains_evaluates_and_exports(urbansound8k, tmp_path):
    config = shipped("us8k_cnn")
    assert config.audio.segment_samples == 20480
    assert config.audio.hop_samples == 10240
    assert config.frontend.frames(20480) == 41
    report, accepted = run("us8k_cnn", urbansound8k, tmp_path, ("int8",))
    # Two slices of ten classes in the test fold; shorter than a segment, and heard.
    assert report["n_clips"] == 20
    assert report["excluded"] == []
    assert accepted == {"int8"}


@pytest.fixture(scope="session")
def inception(tmp_path_factory):
    """A file of random weights of Inception v3 without top."""
    keras.utils.set_random_seed(0)
    network = keras.applications.InceptionV3(
        include_top=False, weights=None, input_shape=(75, 75, 3)
    )
    path = tmp_path_factory.mktemp("inception") / "notop.weights.h5"
    network.save_weights(path)
    return path


def test_the_pictures_of_us8k_inception_are_those_of_amplitude_to_db():
    """Of the power spectrogram, taken for an amplitude: 80 of its dB are 40."""
    config = shipped("us8k_inception")
    layer = FrontendLayer(22050, config.frontend)
    generator = np.random.default_rng(0)
    clip = 0.1 * generator.standard_normal(88200)
    clip *= np.geomspace(1e-3, 1, 88200)
    clip = clip.astype(np.float32)
    padded = np.pad(clip.astype(np.float64), 1024, mode="reflect")
    power = librosa.feature.melspectrogram(
        y=padded, sr=22050, n_fft=2048, hop_length=512, n_mels=128, center=False
    )
    pictured = librosa.amplitude_to_db(power, ref=np.max, top_db=80.0).T
    assert (pictured == pictured.min()).mean() > 0.1
    resized = tf.image.resize(pictured[..., np.newaxis], [299, 299]).numpy()[..., 0]
    wanted = 255 * (resized - resized.min()) / np.ptp(resized)
    found = layer(clip[np.newaxis])[0, ..., 0]
    np.testing.assert_allclose(found, wanted, atol=0.05)


@pytest.mark.parametrize("name", tiny.cases(INCEPTION, "us8k_inception"))
def test_us8k_inception_is_built_with_the_published_shapes(name):
    config = shipped(name)
    hertz = {"frontend.kind": "linear", "frontend.n_mels": 64}
    hertz |= {"frontend.frequency_axis": "logarithmic"}
    changes = hertz if name.endswith("hertz") else {}
    assert config == shipped("us8k_inception").replace(changes)
    assert not find_unused_settings(config)
    assert (config.train.learning_rate, config.train.batch_size) == (0.05, 200)
    assert embeddings.explain_missing_cache(config) == ""
    layer = FrontendLayer(config.audio.sample_rate, config.frontend)
    shape = layer.compute_output_shape((None, config.audio.segment_samples))
    assert shape == (None, 299, 299, 3)
    settings = dataclasses.replace(config.model, weights="none")
    body = models.build(settings, shape[1:], 10)
    assert body.get_layer("mean").output.shape == (None, 2048)
    trained = [weight.path for weight in body.trainable_weights]
    assert trained == ["logits/kernel", "logits/bias"]


@pytest.mark.slow
@pytest.mark.parametrize("name", INCEPTION)
def test_us8k_inception_trains_evaluates_and_exports(
    name, urbansound8k, inception, tmp_path, capsys
):
    # Their front-ends differ: the second one needs no backbone of so many layers.
    formats, backbone = ("int8",), {"model.weights": str(inception)}
    if name == INCEPTION[1]:
        formats = ()
        backbone = {"model.backbone": "mobilenet_v2", "model.weights": "none"}
    report, accepted = run(
        *(name, urbansound8k, tmp_path, formats),
        **{"frontend.image_frames": 75, "frontend.image_bands": 75},
        **backbone,
    )
    # Left, right and mean of each of 40 stereo clips that train and 20 that validate.
    printed = capsys.readouterr().out
    assert "embeddings: 180 computed, 0 taken" in printed
    assert "2 steps an epoch" in printed
    assert report["n_clips"] == 20
    assert accepted == set(formats)


@pytest.mark.slow
def test_dcase2018_trains_evaluates_and_exports(tut2018, tmp_path):
    config = shipped("dcase2018")
    assert config.frontend.frames(config.audio.segment_samples) == 500
    report, accepted = run("dcase2018", tut2018, tmp_path, ("int8",))
    assert report["n_clips"] == 20
    for row in report["split_table"]:
        assert row["test_clips"] == 2
        assert 0 < row["validation_location_share"] < 1
    energy = report["energy"]
    assert energy["co2_kg"] == energy["kwh"] * energy["co2_kg_per_kwh"] > 0
    assert 0 <= report["macro_accuracy"] <= 1
    assert len(report["per_class"]) == len(report["labels"]) == 10
    assert accepted == {"int8"}


@pytest.mark.slow
def test_fsdkaggle2018_trains_both_folds_and_submits_their_mean(
    fsdkaggle2018, tmp_path, capsys
):
    config = shipped("fsdkaggle2018")
    assert config.frontend.frames(config.audio.segment_samples) == 173
    assert (config.frontend.n_mfcc, config.dataset.folds) == (40, 2)
    for fold in (1, 2):
        formats = ("int8",) if fold == 1 else ()
        report, accepted = run(
            *("fsdkaggle2018", fsdkaggle2018, tmp_path / str(fold), formats),
            **{"dataset.fold": fold},
        )
        assert report["n_clips"] == 6
        assert accepted == set(formats)
    runs = [str(tmp_path / fold / "run") for fold in "12"]
    table = tmp_path / "submission.csv"
    assert cli.main(["submission", *runs, f"--output={table}"]) == 0
    head, *rows = table.read_text().splitlines()
    assert head == "fname,label"
    assert [row.split(",")[0] for row in rows] == sorted(
        f"{number}{part}.wav" for number in range(3) for part in "ab"
    )
    for row in rows:
        assert sorted(row.split(",")[1].split()) == ["Bark", "Cello", "Knock"]
    assert "2 runs, 6 clips: mAP@3" in capsys.readouterr().out
