"""TensorBoard: what is drawn, and that drawing it changes nothing."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
import tiny
from matplotlib.figure import Figure

from asc_tf.config import Config
from asc_tf.core.errors import UserError
from asc_tf.training import tensorboard
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
    config = make_config(request.param, folder).replace({"train.epochs": 4})
    workdir, matrices = Workdir(folder / "run"), []
    draw = tensorboard.draw_confusion_matrix

    def note(counts: np.ndarray, labels: tuple[str, ...]) -> np.ndarray:
        assert labels == tiny.LABELS
        matrices.append(counts)
        return draw(counts, labels)

    def stop(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensorboard, "draw_confusion_matrix", note)
        patch.setattr(tensorboard, "IMAGES_EVERY", 2)
        patch.setattr(tensorboard, "MAX_EXAMPLES", 3)
        with patch.context() as stopping:
            stopping.setattr(tensorboard.ImageSummaries, "on_epoch_begin", stop)
            with pytest.raises(UserError, match="2 of 4 epochs"):
                train(config, workdir)
        train(config, workdir)
    return SimpleNamespace(workdir=workdir, matrices=matrices)


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
    # Of 32 frames and 16 bands, with a line of 2 between: two beside each other.
    assert picture(found["train", "examples"][0][1]).shape == (36, 68, 1)


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


@pytest.mark.slow
def test_pictures_change_nothing_in_a_run(tmp_path, monkeypatch):
    config = make_config("dataset", tmp_path)
    with_pictures, without = Workdir(tmp_path / "with"), Workdir(tmp_path / "without")
    train(config, with_pictures)
    for name in ("on_epoch_begin", "on_test_begin", "on_epoch_end"):
        monkeypatch.setattr(tensorboard.ImageSummaries, name, lambda *_, **__: None)
    train(config, without)
    texts = [run.history_file.read_text() for run in (with_pictures, without)]
    assert texts[0] == texts[1]


def test_a_confusion_matrix_has_labels_and_the_numbers_of_segments(monkeypatch):
    drawn, draw = [], Figure.draw
    monkeypatch.setattr(
        Figure, "draw", lambda self, *a: drawn.append(self) or draw(self, *a)
    )
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


def test_a_grid_shows_low_bands_below_and_time_to_the_right():
    features = np.zeros((3, 4, 5), np.float32)
    features[0, 3, 0] = 7.0  # Loudest: the lowest band of the last frame.
    shown = tensorboard.tile_features(features)
    assert shown.shape == (1, 2 * (5 + 2), 2 * (4 + 2), 1)
    first = shown[0, :5, :4, 0]
    assert first[4, 3] == 255
    assert first.sum() == 255
    assert (shown[0, 7:, 6:] == 255).all()
    assert (
        tensorboard.tile_features(np.repeat(features[..., None], 2, axis=3)) == shown
    ).all()
