"""TensorBoard: what is drawn, and that drawing it changes nothing."""

import io
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import tensorflow as tf
import tiny
from hparams_table import read_table
from matplotlib.figure import Figure

from asc_tf.config import Config
from asc_tf.core.errors import UserError
from asc_tf.pipeline.run import Run
from asc_tf.report.examples import describe_target, draw_examples
from asc_tf.training import tensorboard
from asc_tf.training.hparams import select_hparams
from asc_tf.training.train import train
from asc_tf.workdir import Workdir


def make_config(placement: str, folder: Path) -> Config:
    """A configuration of stored features, or of audio if the model computes them."""
    if placement == "dataset":
        return tiny.features_config(tiny.write_features(folder / "features"))
    corpus = tiny.write_corpus(folder / "corpus", recordings=4)
    return tiny.config(corpus, frontend__placement=placement)


@pytest.fixture(scope="module", params=tiny.cases(["dataset", "model"], "dataset"))
def resumed(request, tmp_path_factory) -> SimpleNamespace:
    """A run of four epochs, resumed after two, and the `matrices` it has drawn."""
    folder = tmp_path_factory.mktemp("board")
    changes = {"examples": 3, "examples_every": 2, "confusion_every": 2, "audio": 5}
    config = make_config(request.param, folder).replace(
        {"train.epochs": 4}
        | {f"tensorboard.{name}": value for name, value in changes.items()}
    )
    workdir, matrices = Workdir(folder / "run"), []
    draw, examples = tensorboard.draw_confusion_matrix, []

    def note_examples(features: np.ndarray, titles: list[str]) -> bytes:
        examples.append((features, titles))
        return draw_examples(features, titles)

    def note(counts: np.ndarray, labels: tuple[str, ...]) -> np.ndarray:
        assert labels == tiny.LABELS
        matrices.append(counts)
        return draw(counts, labels)

    def stop(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensorboard, "draw_confusion_matrix", note)
        patch.setattr(tensorboard, "draw_examples", note_examples)
        with patch.context() as stopping:
            stopping.setattr(tensorboard.ExampleSummaries, "on_epoch_begin", stop)
            with pytest.raises(UserError, match="2 of 4 epochs"):
                train(config, workdir)
        train(config, workdir)
    return SimpleNamespace(
        workdir=workdir, matrices=matrices, examples=examples, config=config
    )


def events(workdir: Workdir) -> dict[tuple[str, str], list]:
    """Steps and tensors of all event files, by subfolder and tag."""
    found: dict[tuple[str, str], list] = {}
    for path in sorted((workdir.path / "tensorboard").rglob("events*")):
        for record in tf.compat.v1.train.summary_iterator(str(path)):
            for value in record.summary.value:
                place = (path.parent.name, value.tag)
                found.setdefault(place, []).append((record.step, value.tensor))
    return found


def picture(tensor) -> np.ndarray:
    return tf.io.decode_png(tf.make_ndarray(tensor)[2]).numpy()


def test_curves_and_examples_are_there_and_a_resumed_run_adds_to_them(resumed):
    found = events(resumed.workdir)
    tags = {"epoch_loss", "epoch_accuracy", "epoch_learning_rate", "epoch_waiting"}
    for tag in tags:
        assert [step for step, _ in found["train", tag]] == [0, 1, 2, 3]
    for tag in ("epoch_loss", "epoch_accuracy"):
        assert [step for step, _ in found["validation", tag]] == [0, 1, 2, 3]
    assert [step for step, _ in found["train", "examples"]] == [0, 2]


def test_the_last_epoch_has_a_confusion_matrix_too(resumed):
    confusions = events(resumed.workdir)["validation", "confusion of segments"]
    assert [step for step, _ in confusions] == [0, 2, 3]


def test_the_confusion_is_that_of_validation_alone(resumed):
    rows = tiny.history(resumed.workdir)
    for epoch, counts in zip((0, 2, 3), resumed.matrices, strict=True):
        # Two clips of each label, each of one segment, or of two where it is audio.
        assert set(counts.sum(axis=1)) in ({2}, {4})
        accuracy = np.trace(counts) / counts.sum()
        assert accuracy == pytest.approx(rows[epoch]["val_accuracy"])


def test_examples_have_the_labels_of_their_mixtures_as_titles(resumed):
    assert len(resumed.examples) == 2
    for features, titles in resumed.examples:
        assert features.shape == (3, 32, 16)
        for title in titles:
            parts = [part.split() for part in title.split(", ")]
            assert {part[0] for part in parts} <= set(tiny.LABELS)
            assert len(parts) == 1 or sum(int(part[1]) for part in parts) in (99, 100)


def test_the_settings_and_the_scores_of_the_saved_model_are_in_the_table(resumed):
    run = read_table(resumed.workdir.path.parent)["run/tensorboard"]
    assert run.settings == select_hparams(resumed.config)
    assert run.settings["train.epochs"] == 4
    rows = tiny.history(resumed.workdir)
    best = min(rows, key=lambda row: row["val_loss"])
    for name in ("epoch", "loss", "val_loss", "val_accuracy"):
        assert run.scores["", f"model/{name}"] == pytest.approx(best[name])
    last = run.scores["validation", "epoch_loss"]
    assert last == pytest.approx(rows[-1]["val_loss"])


def test_clips_that_can_be_heard_have_their_labels_and_one_of_each_comes_first(
    tiny_run,
):
    found = events(tiny_run)
    clips = {tag: rows for (_, tag), rows in found.items() if tag.startswith("clips/")}
    assert [tag.split(":")[0] for tag in sorted(clips)] == [
        *("clips/1 hiss", "clips/2 hum", "clips/3 whistle", "clips/4 hiss")
    ]
    corpus = Path(tiny_run.config().dataset.dir)
    for tag, ((step, tensor),) in clips.items():
        label, name = tag.split(" ", 1)[1].split(": ")
        whole, rate = soundfile.read(corpus / label / name, dtype="float32")
        encoded = tf.make_ndarray(tensor)[0, 0]
        heard, own_rate = soundfile.read(io.BytesIO(encoded), dtype="float32")
        assert (step, rate, own_rate) == (0, tiny.RATE, tiny.RATE)
        assert len(heard) == 4000
        whole = np.pad(whole, (0, 4000))[:4000]
        np.testing.assert_allclose(heard, whole, atol=2 / 2**15)
    # The examples are those of the first epoch alone.
    assert [step for step, _ in found["train", "examples"]] == [0]


def test_a_clip_that_cannot_be_read_is_not_heard_and_another_one_is(tiny_run, tmp_path):
    run = Run.open(tiny_run)
    broken = run.manifest.clips_in("train")[0]
    corpus = shutil.copytree(run.config.dataset.dir, tmp_path / "corpus")
    (Path(corpus) / broken.path).write_bytes(b"broken")
    run = Run.open(tiny_run, {"dataset.dir": str(corpus)})
    found = [clip for clip, _ in tensorboard.read_first_segments(run, 3)]
    assert broken not in found
    assert [clip.label for clip in found] == ["hum", "whistle", "hiss"]
    assert list(tensorboard.read_first_segments(run, 0)) == []


def test_the_first_segment_is_heard_where_the_centre_one_is_evaluated(
    tiny_run, tmp_path
):
    run = Run.open(tiny_run)
    whole = np.random.default_rng(0).uniform(-0.5, 0.5, 5 * tiny.RATE).astype("f")
    for each in run.manifest.clips_in("train"):
        path = tmp_path / each.path
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, whole, tiny.RATE, subtype="FLOAT")
    config = run.config.replace(
        {"dataset.dir": str(tmp_path), "evaluate.segments": "centre"}
    )
    run = SimpleNamespace(config=config, manifest=run.manifest, features=None)
    ((_, heard),) = tensorboard.read_first_segments(run, 1)
    np.testing.assert_array_equal(heard, whole[: len(heard)])


@pytest.mark.slow
def test_pictures_change_nothing_in_a_run(tmp_path):
    config = make_config("dataset", tmp_path).replace({"tensorboard.examples": 8})
    with_pictures, without = Workdir(tmp_path / "with"), Workdir(tmp_path / "without")
    train(config, with_pictures)
    nothing = {"examples": 0, "audio": 0, "confusion_every": 0}
    changes = {f"tensorboard.{name}": value for name, value in nothing.items()}
    train(config.replace(changes), without)
    assert ("train", "examples") in events(with_pictures)
    assert ("train", "examples") not in events(without)
    texts = [run.history_file.read_text() for run in (with_pictures, without)]
    assert texts[0] == texts[1]


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are drawn."""
    figures, draw = [], Figure.draw
    monkeypatch.setattr(
        Figure, "draw", lambda self, *a: figures.append(self) or draw(self, *a)
    )
    return figures


def test_a_confusion_matrix_has_labels_and_the_numbers_of_segments(drawn):
    counts = np.array([[31, 0, 0], [1, 12, 0], [0, 0, 0]], "f")
    shown = tensorboard.draw_confusion_matrix(counts, ("bus", "metro station", "tram"))
    assert shown.dtype == np.uint8
    assert shown.shape[0] == 1 and shown.shape[3] == 3
    (axes,) = drawn[0].axes
    names = ["bus", "metro station", "tram"]
    assert [text.get_text() for text in axes.get_xticklabels()] == names
    assert [text.get_text() for text in axes.get_yticklabels()] == names
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted label", "true label")
    places = {text.get_text(): text.get_position() for text in axes.texts}
    assert places == {"31": (0, 0), "1": (0, 1), "12": (1, 1)}
    assert "segments" in axes.get_title(loc="left")


def test_an_example_shows_low_bands_below_and_time_to_the_right(drawn):
    features = np.zeros((3, 40, 5, 2), np.float32)
    features[0, 39, 0, 0] = 7.0  # Loudest: the lowest band of the last frame.
    shown = tensorboard.decode_png(draw_examples(features, ["hum", "bus", "tram"]))
    assert shown.shape[0] == 1 and shown.shape[3] == 3
    first, *others = drawn[0].axes
    assert [axes.get_title(loc="left") for axes in (first, *others)] == [
        *("hum", "bus", "tram")
    ]
    (image,) = first.images
    assert image.origin == "lower"
    assert np.argwhere(image.get_array() == 7).tolist() == [[0, 39]]
    assert (first.get_xlabel(), first.get_ylabel()) == ("frame", "band")


def test_a_label_with_dollar_signs_is_no_formula():
    features = np.zeros((1, 4, 4, 1), np.float32)
    assert draw_examples(features, ["price_$5_$6"]).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("target", "title"),
    [
        ([0.0, 1.0, 0.0], "hum"),
        ([0.0, 0.999, 0.001], "hum"),
        ([0.3, 0.7, 0.0], "hum 70 %, hiss 30 %"),
        ([0.5, 0.25, 0.25], "hiss 50 %, hum 25 %, whistle 25 %"),
    ],
)
def test_the_title_of_an_example_names_its_labels(target, title):
    assert describe_target(np.array(target, np.float32), tiny.LABELS) == title
