"""TensorBoard: what is drawn, and that drawing it changes nothing."""

import numpy as np
import pytest
import tensorflow as tf
import tiny
from matplotlib.figure import Figure

from asc_tf.core.errors import UserError
from asc_tf.training import tensorboard
from asc_tf.training.train import train
from asc_tf.workdir import Workdir


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return tiny.write_corpus(tmp_path_factory.mktemp("board") / "corpus", recordings=4)


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


@pytest.mark.parametrize("placement", tiny.cases(["dataset", "model"], "dataset"))
def test_curves_examples_and_mistakes_are_there_and_a_resumed_run_adds_to_them(
    corpus, tmp_path, monkeypatch, placement
):
    monkeypatch.setattr(tensorboard, "IMAGES_EVERY", 2)
    config = tiny.config(corpus, train__epochs=3, frontend__placement=placement)
    workdir = Workdir(tmp_path / "run")
    monkeypatch.setattr(tensorboard, "MAX_EXAMPLES", 3)

    def stop(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tensorboard.ImageSummaries, "on_epoch_begin", stop)
        with pytest.raises(UserError, match="2 of 3 epochs"):
            train(config, workdir)
    train(config, workdir)
    found = events(workdir)
    tags = {"epoch_loss", "epoch_accuracy", "epoch_learning_rate", "epoch_waiting"}
    for tag in tags:
        assert [step for step, _ in found["train", tag]] == [0, 1, 2]
    for tag in ("epoch_loss", "epoch_accuracy"):
        assert [step for step, _ in found["validation", tag]] == [0, 1, 2]
    confusions = found["validation", "confusion of segments"]
    assert [step for step, _ in confusions] == [0, 2]
    assert [step for step, _ in found["train", "examples"]] == [0, 2]
    # Of 32 frames and 16 bands, with a line of 2 between: two beside each other.
    assert picture(found["train", "examples"][0][1]).shape == (36, 68, 1)


@pytest.mark.slow
def test_pictures_change_nothing_in_a_run(corpus, tmp_path, monkeypatch):
    config = tiny.config(corpus, train__epochs=2)
    with_pictures, without = Workdir(tmp_path / "with"), Workdir(tmp_path / "without")
    train(config, with_pictures)
    for name in ("on_epoch_begin", "on_test_begin", "on_epoch_end"):
        monkeypatch.setattr(tensorboard.ImageSummaries, name, lambda *_, **__: None)
    train(config, without)
    texts = [run.history_file.read_text() for run in (with_pictures, without)]
    assert texts[0] == texts[1]


def test_the_confusion_is_that_of_validation_alone(corpus, tmp_path, monkeypatch):
    seen = []

    def draw(counts, labels):
        assert labels == tiny.LABELS
        seen.append(counts)
        return np.zeros((1, 4, 4, 3), np.uint8)

    monkeypatch.setattr(tensorboard, "draw_confusion_matrix", draw)
    monkeypatch.setattr(tensorboard, "IMAGES_EVERY", 1)
    workdir = Workdir(tmp_path / "run")
    train(tiny.config(corpus, train__epochs=2), workdir)
    # Two clips of each label in validation, of one or two segments.
    np.testing.assert_array_equal(seen[0].sum(axis=1), seen[1].sum(axis=1))
    assert (seen[0].sum(axis=1) <= 4).all()
    for row, counted in zip(tiny.history(workdir), seen, strict=True):
        assert np.trace(counted) / counted.sum() == pytest.approx(row["val_accuracy"])


def test_the_last_epoch_has_a_confusion_matrix_too(corpus, tmp_path):
    workdir = Workdir(tmp_path / "run")
    train(tiny.config(corpus, train__epochs=2), workdir)
    confusions = events(workdir)["validation", "confusion of segments"]
    assert [step for step, _ in confusions] == [0, 1]


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
