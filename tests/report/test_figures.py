"""The figures of a report, really drawn, and the templates, really shipped."""

import base64
import configparser
import importlib.resources
import io
from pathlib import Path

import numpy as np
import pytest
from pages import Page
from PIL import Image as Pixels

from asc_tf.evaluation import metrics
from asc_tf.report import (
    FIGURES,
    confusions,
    figures,
    html,
    study_figures,
    write_report,
)
from asc_tf.report.canvas import DARK, LIGHT
from asc_tf.report.clip_figures import BandAxis, Image, draw

ROOT = Path(__file__).parents[2]


def size(png):
    image = Pixels.open(io.BytesIO(png))
    assert image.format == "PNG"
    return image.size


def decode(uri):
    kind, content = uri.split(",")
    assert kind == "data:image/png;base64"
    return base64.b64decode(content)


def colour_of_corner(png):
    corner = Pixels.open(io.BytesIO(png)).convert("RGB").getpixel((0, 0))
    return "#{:02x}{:02x}{:02x}".format(*corner)


@pytest.mark.filterwarnings("error")
def test_fifty_long_and_mathematical_labels_still_draw():
    labels = [rf"$\wrong{{{index}}}$ {'x' * index}" for index in range(50)]
    values = np.eye(50).tolist()
    values[3] = [None] * 50
    png = figures.draw_confusion_matrix(labels, values, percent=True)
    # The cells alone are 10 inches wide.
    assert size(png)[0] > 1920
    rows = [{"label": label, "accuracy": 0.5, "f1": None} for label in labels[::10]]
    assert size(figures.draw_per_class(rows))[1] > 300


@pytest.mark.filterwarnings("error")
def test_names_with_dollar_signs_are_no_formulas():
    name = "price_$5_$6"
    row = {"name": name, "accuracy": 0.5, "low": 0.4, "high": 0.6, "runs": []}
    curve = {"epoch": [0.0, 1.0], "loss": [1.0, 0.5], "accuracy": [0.4, 0.6]}
    points = [{name: name, "score": 0.5}, {name: "$a_$", "score": 0.4}]
    for png in (
        study_figures.draw_scores([row]),
        study_figures.draw_curves({name: curve}),
        study_figures.draw_values(points, [name], "accuracy"),
    ):
        assert png.startswith(b"\x89PNG")
    image = Image(np.zeros((4, 4)), name, BandAxis("Hz", 0, 1))
    assert draw((image,), 1.0, (0.0, 1.0)).data


def test_the_figures_of_a_report_are_in_its_folder_and_on_its_page(tmp_path):
    report = metrics.compute_metrics(
        ["a", "b"], [0, 1], np.array([[0.9, 0.1], [0.6, 0.4]])
    )
    history = tmp_path / "history.csv"
    history.write_text("epoch,loss,val_loss,learning_rate\n0,1.5,1.6,0.1\n1,1.1,,0.1\n")
    report["model_epoch"] = {"epoch": 1}
    path = write_report(tmp_path / "report", report, [], history=history)
    written = {png.name: png.read_bytes() for png in path.parent.glob("*.png")}
    assert set(written) == set(FIGURES)
    for png in written.values():
        assert colour_of_corner(png) == LIGHT.surface
    page = Page(path.read_text(encoding="utf-8"))
    loss, rate = page.section("Training").all("svg")
    assert {"loss", "epoch", "training", "validation", "model (epoch 1)"} <= {
        text.text for text in loss.all("text")
    }
    assert "learning rate" in rate.text
    # All colours are those of the page, and ids differ between the figures.
    assert "var(--figure-first)" in path.read_text() and "#0102" not in page.source
    ids = [e.attributes["id"] for e in page.walk() if "id" in e.attributes]
    assert len(ids) == len(set(ids))


def test_a_matrix_of_very_many_labels_is_a_picture_with_its_worst_confusions(tmp_path):
    n = confusions.MAX_LABELS + 1
    labels = [f"l{index}" for index in range(n)]
    truth = np.arange(n)
    guesses = np.full((n, n), 0.1 / n)
    guesses[truth, np.maximum(truth - 1, 0)] = 0.9
    guesses /= guesses.sum(axis=1, keepdims=True)
    report = metrics.compute_metrics(labels, truth, guesses)
    rows = [
        {
            "file": f"{label}.wav",
            "label": label,
            "predicted": labels[max(index - 1, 0)],
            "probability": 0.9,
        }
        for index, label in enumerate(labels)
    ]
    path = write_report(tmp_path, report, rows)
    page = Page(path.read_text(encoding="utf-8"))
    section = page.section("Confusion matrix")
    light = decode(section.one("img").attributes["src"])
    dark = decode(section.one("source").attributes["srcset"])
    assert light == (tmp_path / "confusion_matrix_row_normalized.png").read_bytes()
    assert colour_of_corner(light) == LIGHT.surface
    assert colour_of_corner(dark) == DARK.surface
    pairs = section.all("details")
    assert len(pairs) == confusions.MAX_PAIRS
    assert pairs[0].one("summary").text == "l1, taken for l0: 1 clip"
    assert pairs[0].one("li").text == "l1.wav 90.0 %"


def test_every_template_is_in_the_package_and_compiles():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert config["options.package_data"]["asc_tf.report"] == "templates/*"
    folder = importlib.resources.files("asc_tf.report") / "templates"
    names = {file.name for file in folder.iterdir()}
    environment = html._environment()
    assert names == set(environment.list_templates())
    assert {
        "report.html",
        "export.html",
        "explore.html",
        "style.css",
        "script.js",
    } <= names
    for name in names:
        assert environment.get_template(name).render is not None
    assert environment.autoescape is True
