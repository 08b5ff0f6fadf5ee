"""The figures of a report, really drawn, and the templates, really shipped."""

import base64
import configparser
import importlib.resources
import io
from pathlib import Path

import numpy as np
import pytest
from pages import Page
from PIL import Image

from asc_tf.evaluation import metrics
from asc_tf.report import FIGURES, figures, html, write_report
from asc_tf.report.canvas import DARK, LIGHT

ROOT = Path(__file__).parents[2]


def size(png):
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return image.size


def decode(uri):
    kind, content = uri.split(",")
    assert kind == "data:image/png;base64"
    return base64.b64decode(content)


def colour_of_corner(png):
    corner = Image.open(io.BytesIO(png)).convert("RGB").getpixel((0, 0))
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


def test_the_figures_of_a_report_are_in_its_folder_and_on_its_page(tmp_path):
    report = metrics.compute_metrics(
        ["a", "b"], [0, 1], np.array([[0.9, 0.1], [0.6, 0.4]])
    )
    history = tmp_path / "history.csv"
    history.write_text("epoch,loss,val_loss,learning_rate\n0,1.5,1.6,0.1\n1,1.1,,0.1\n")
    path = write_report(tmp_path / "report", report, [], history=history)
    written = {png.name: png.read_bytes() for png in path.parent.glob("*.png")}
    assert set(written) == set(FIGURES)
    page = Page(path.read_text(encoding="utf-8"))
    shown = [image.attributes["src"] for image in page.all("img")]
    on_dark = [source.attributes["srcset"] for source in page.all("source")]
    for name, light, dark in zip(
        ("confusion_matrix_row_normalized", "confusion_matrix_counts", "history"),
        map(decode, shown),
        map(decode, on_dark),
        strict=True,
    ):
        assert light == written[f"{name}.png"]
        assert colour_of_corner(light) == LIGHT.surface
        assert colour_of_corner(dark) == DARK.surface


def test_every_template_is_in_the_package_and_compiles():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    assert config["options.package_data"]["asc_tf.report"] == "templates/*"
    folder = importlib.resources.files("asc_tf.report") / "templates"
    names = {file.name for file in folder.iterdir()}
    environment = html._environment()
    assert names == set(environment.list_templates())
    assert {"report.html", "export.html", "explore.html", "style.css"} <= names
    for name in names:
        assert environment.get_template(name).render is not None
    assert environment.autoescape is True
