"""The report folder: whole or absent, its numbers shown, its texts harmless."""

import csv
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pages import Page

from asc_tf.core.files import DiskFullError
from asc_tf.evaluation import metrics
from asc_tf.manifest import SPLITS
from asc_tf.report import figures, write_report
from asc_tf.report.history import read_history
from asc_tf.report.html import NO_VALUE

LABELS = ["bus", "<b>&", "tram"]
FILES = {
    "report.json",
    "report.html",
    "predictions.csv",
    "confusion_matrix_counts.png",
    "confusion_matrix_row_normalized.png",
    "per_class.png",
}
HISTORY = """epoch,loss,accuracy,val_loss,val_accuracy,learning_rate
0,1.5,0.4,1.6,0.35,0.001
1,1.1,0.6,,,0.0005
"""
NASTY = "<script>alert('1')</script>&"


@pytest.fixture(scope="module", autouse=True)
def _blank_figures():
    """One small figure in place of all; test_figures draws them."""
    blank = figures.draw_history({"epoch": [], "loss": []})
    with pytest.MonkeyPatch.context() as patch:
        for name in ("confusion_matrix", "per_class", "history"):
            patch.setattr(figures, f"draw_{name}", lambda *args, **kwargs: blank)
        drawing = {"loss": "<svg></svg>"}
        patch.setattr(figures, "draw_history_panels", lambda *args: drawing)
        yield


def make(n_clips=40, absent=2, **names):
    """A report and its predictions: every fourth clip is taken for 'bus'."""
    truth = np.arange(n_clips) % 3
    truth[truth == absent] = 0
    predicted = np.where(np.arange(n_clips) % 4 == 0, 0, truth)
    probabilities = np.full((n_clips, 3), 0.1)
    probabilities[np.arange(n_clips), predicted] = 0.8
    report = metrics.compute_metrics(LABELS, truth, probabilities, **names)
    # As in the reports of earlier versions; the tests of calibration add their own.
    del report["calibration"]
    predictions = [
        {
            "file": f"audio/{index}.wav",
            "label": LABELS[true],
            "predicted": LABELS[guess],
            "probability": 0.8 - index / 1000,
            "device": "",
        }
        for index, (true, guess) in enumerate(zip(truth, predicted, strict=True))
    ]
    return report, predictions


def write(folder, report, predictions, **options):
    """The page of a report that is written to a folder."""
    path = write_report(folder, report, predictions, **options)
    assert path == folder / "report.html"
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The page of a report that has no more than it must."""
    return write(tmp_path_factory.mktemp("plain"), *make())


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """The page of a report that has everything."""
    folder = tmp_path_factory.mktemp("full")
    report, predictions = make(
        n_clips=120, devices=["a", "s1"] * 60, cities=["lyon", "", "oslo"] * 40
    )
    split = {f"{split}_clips": 10 * n for n, split in enumerate(SPLITS, start=1)}
    split |= {f"{split}_locations": n for n, split in enumerate(SPLITS, start=1)}
    split |= {"test_clip_share": 0.5, "validation_location_share": 2 / 3}
    report |= {
        "accuracy": 0.71234,
        "macro_accuracy": 0.65999,
        "log_loss": 0.98765,
        "roc_auc": None,
        "split": "test",
        "model": "cp_mobile",
        "workdir": "run_1",
        "partial": "3 of 40 clips <gone>",
        "notes": ["a first note", "a second note"],
        "protocol": {
            "corpus": "ESC-50",
            "fold": 1,
            "folds": [2, 3],
            "leaky": True,
            "shared_recordings": {"names": {}},
        },
        "segments": {"n_segments": 400, "accuracy": 0.5, "pooling": "mean"},
        "split_table": [{"label": label} | split for label in LABELS],
        "energy": {"epochs": 3, "seconds": 9.0, "kwh": 0.0124, "cpu_kwh": 0.0124}
        | {"co2_kg": 0.0124 * 0.381, "co2_kg_per_kwh": 0.381, "country": "DEU"},
        "excluded": [{"file": f"x{n}.wav", "reason": "no samples"} for n in range(101)],
    }
    (folder / "history.csv").write_text(HISTORY)
    # In another order, so that the order of the mistakes cannot be that of the rows.
    predictions = predictions[60:] + predictions[:60]
    return write(folder, report, predictions, history=folder / "history.csv")


def test_the_pages_are_well_formed_and_need_nothing_from_outside(plain, full):
    for page, drawings in ((plain, 0), (full, 1)):
        page.check_harmless()
        assert not page.all("img")
        assert len(page.all("svg")) == drawings
        assert all(each.attributes["aria-label"] for each in page.all("figure"))


def test_the_sections_are_those_that_the_report_has(plain, full):
    assert plain.headings == [
        "Per class",
        "Confusion matrix",
        "Most confident mistakes",
    ]
    assert full.headings == [
        *("Per class", "Confusion matrix", "Most confident mistakes"),
        *("Per device", "Per city", "Training"),
        *("Locations and clips of each label", "Excluded files"),
    ]
    links = {link.attributes["href"]: link.text for link in full.one("nav").all("a")}
    assert list(links.values()) == full.headings
    assert list(links) == [f"#{h.attributes['id']}" for h in full.all("h2")]
    assert plain.one("h1").text == "Scene classification"
    assert full.one("h1").text == full.one("title").text == "cp_mobile · run_1"


def test_a_partial_report_and_a_leaky_protocol_are_announced_at_the_top(plain, full):
    assert not plain.all("p", "banner")
    partial, leaky = full.one("header").all("p", "banner")
    assert partial.text == "PARTIAL report. 3 of 40 clips <gone>."
    assert leaky.text.startswith("LEAKY protocol. Recordings or places of this split")
    protocol, *_ = full.one("header").all("p")
    assert protocol.text == "split test · corpus ESC-50 · fold 1 · folds 2, 3"
    notes = [note.text for note in full.one("header").all("li")]
    assert notes == ["a first note", "a second note"]


def test_the_main_scores_lead_in_per_cent_or_with_three_decimals(plain, full):
    names = [name.text for name in full.all("dt")]
    values = [value.text for value in full.all("dd")]
    assert names == ["accuracy", "macro-averaged accuracy", "log loss", "clips"]
    assert values[:3] == ["71.2 %", "66.0 %", "0.988"] and values[-1] == "120"
    scores, segments = full.all("p", "segments")
    assert scores.text == "mAP@3 0.958 · mAP@5 0.958 · Cohen's kappa 0.800"
    assert segments.text == (
        "By segment: 400 segments · accuracy 50.0 % · pooling mean"
    )
    assert next(name.text for name in plain.all("dt")) == "accuracy"


def test_a_class_without_clips_has_dashes_in_place_of_scores(full):
    head, *rows = full.section("Per class").rows()
    assert head == [
        *("label", "clips", "accuracy %", "precision %", "F1 %", "log loss"),
        "most often taken for",
    ]
    by_label = {row[0]: row[1:] for row in rows}
    assert list(by_label) == LABELS
    assert by_label["bus"][:2] == ["80", "100.0"]
    assert by_label["<b>&"][:2] == ["40", "75.0"]
    assert by_label["<b>&"][-1] == "bus (10)"
    assert by_label["tram"] == ["0"] + 5 * [NO_VALUE]


def test_devices_and_cities_have_tables(full):
    _, *devices = full.section("Per device").rows()
    assert [row[:2] for row in devices] == [["a", "60"], ["s1", "60"]]
    _, *cities = full.section("Per city").rows()
    assert [row[:2] for row in cities] == [
        ["unknown", "40"],
        ["lyon", "40"],
        ["oslo", "40"],
    ]


def test_the_most_confident_mistakes_are_listed(full):
    _, predictions = make(n_clips=120)
    wrong = sorted(
        (row for row in predictions if row["label"] != row["predicted"]),
        key=lambda row: -row["probability"],
    )
    section = full.section("Most confident mistakes")
    _, *rows = section.rows()
    assert [row[0] for row in rows] == [row["file"] for row in wrong]
    assert rows[0][1:] == ["<b>&", "bus", f"{100 * wrong[0]['probability']:.1f}"]
    assert section.one("p").text.startswith("10 of 10 wrong clips")


def test_clips_and_recordings_of_each_split_are_in_a_table(full, tmp_path):
    head, *rows = full.section("Locations and clips of each label").rows()
    assert head == [
        *("label", "train", "validation", "test", "test clips %"),
        "validation locations %",
    ]
    numbers = ["1 / 10", "2 / 20", "3 / 30", "50.0", "66.7"]
    assert rows == [[label, *numbers] for label in LABELS]
    report, predictions = make()
    row = {f"{split}_{what}": 1 for split in SPLITS for what in ("clips", "locations")}
    row |= {"test_clip_share": 0.5, "validation_location_share": None}
    report["split_table"] = [{"label": "bus"} | row]
    head, *rows = (
        write(tmp_path, report, predictions)
        .section("Recordings and clips of each label")
        .rows()
    )
    assert head[-1] == "validation recordings %" and rows[0][-1] == NO_VALUE


def test_energy_and_co2_are_shown_together_and_an_older_file_has_no_co2(full, tmp_path):
    assert full.section("Training").one("p").text == (
        "Energy 12.4 Wh (CPU 12.4) in 3 epochs · CO2 4.724 g at 381 g per kWh (DEU) · "
        "by codecarbon"
    )
    report, predictions = make()
    report["energy"] = {"epochs": 3, "kwh": 0.01, "cpu_kwh": 0.008, "ram_kwh": 0.002}
    section = write(tmp_path, report, predictions).section("Training")
    assert f"(CPU 8, RAM 2) in 3 epochs · CO2 {NO_VALUE} · by" in section.text
    assert not section.all("img")


def test_of_very_many_excluded_files_the_page_shows_the_first(full, tmp_path):
    section = full.section("Excluded files")
    assert section.one("p").text == (
        "Not in the numbers above: 101. The first 100 are shown, report.json has them "
        "all."
    )
    assert section.rows()[1:] == [[f"x{n}.wav", "no samples"] for n in range(100)]
    report, predictions = make()
    report["excluded"] = [{"file": "broken.wav", "reason": "no samples"}]
    section = write(tmp_path, report, predictions).section("Excluded files")
    assert section.one("p").text == "Not in the numbers above: 1."


def test_every_string_of_the_user_is_escaped(tmp_path):
    report, predictions = make(devices=[NASTY] * 40, cities=[NASTY] * 40)
    row = {f"{split}_{what}": 1 for split in SPLITS for what in ("clips", "locations")}
    row |= {"test_clip_share": 0.5, "validation_location_share": None}
    report |= {
        "split": NASTY,
        "partial": NASTY,
        "model": NASTY,
        "workdir": NASTY,
        "notes": [NASTY],
        "excluded": [{"file": NASTY, "reason": NASTY}],
        "protocol": {
            "corpus": NASTY,
            "leaky": False,
            NASTY: [NASTY],
            "more": {"x": NASTY},
        },
        "segments": {"n_segments": 300, "pooling": NASTY, f"n_{NASTY}": NASTY},
        "per_split": [report["per_city"][0] | {"split": NASTY}],
        "split_table": [{"label": NASTY} | row],
        "energy": {"epochs": 3, "kwh": 1.0, "co2_kg": 1.0, "co2_kg_per_kwh": 1.0}
        | {"country": NASTY},
    }
    for row in report["per_class"]:
        row["label"] = NASTY
    for row in predictions:
        row |= {"file": NASTY, "label": NASTY}
    page = write(tmp_path, report, predictions)
    page.check_harmless()
    # 20 mistakes with file and label, 3 classes, and 21 other places. The label is none
    # of the matrix, so that no cell has clips.
    assert page.text.count(NASTY) == 64
    no_labels = metrics.summarize_unlabelled([NASTY, "y"], np.array([[0.9, 0.1]]))
    page = write(tmp_path, no_labels, [])
    page.check_harmless()
    assert page.text.count(NASTY) == 1


def test_a_model_without_mistakes_has_no_table_of_mistakes(tmp_path):
    report, predictions = make()
    right = [row for row in predictions if row["label"] == row["predicted"]]
    page = write(tmp_path, report | {"roc_auc": 0.75}, right)
    assert page.headings == ["Per class", "Confusion matrix"]
    assert page.one("p", "segments").text == (
        "mAP@3 0.963 · mAP@5 0.963 · ROC AUC 0.750 · Cohen's kappa 0.818"
    )


def test_without_labels_the_page_counts_predictions_and_old_figures_go(tmp_path):
    report, predictions = make()
    (tmp_path / "history.csv").write_text(HISTORY)
    folder = tmp_path / "report"
    write(folder, report, predictions, history=tmp_path / "history.csv")
    assert {path.name for path in folder.iterdir()} == FILES | {"history.png"}
    probabilities = np.tile([0.2, 0.7, 0.1], (40, 1))
    probabilities[:10] = [0.6, 0.3, 0.1]
    for row in predictions:
        row["label"] = ""
    page = write(
        folder, metrics.summarize_unlabelled(LABELS, probabilities), predictions
    )
    assert page.one("p", "banner").text.startswith("No scores.")
    assert page.headings == ["Predicted labels"]
    assert page.section("Predicted labels").rows()[1:] == [
        ["bus", "10", "25.0"],
        ["<b>&", "30", "75.0"],
        ["tram", "0", "0.0"],
    ]
    assert [value.text for value in page.all("dd")] == ["40"]
    assert {path.name for path in folder.iterdir()} == {
        *("report.json", "report.html", "predictions.csv")
    }


@pytest.mark.parametrize("history", [None, "missing.csv", "empty.csv"])
def test_without_epochs_there_are_no_training_curves_not_even_old_ones(
    tmp_path, history
):
    (tmp_path / "empty.csv").write_text(HISTORY.splitlines()[0] + "\n")
    (tmp_path / "history.png").write_bytes(b"from an older run")
    path = tmp_path / history if history else None
    page = write(tmp_path, *make(), history=path)
    assert not (tmp_path / "history.png").exists()
    assert "Training" not in page.headings


def test_history_has_gaps_for_empty_cells_and_names_a_bad_one(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text(HISTORY)
    curves = read_history(path)
    assert curves["loss"] == [1.5, 1.1]
    np.testing.assert_array_equal(curves["val_loss"], [1.6, np.nan])
    path.write_text(HISTORY.replace("1.1", "one"))
    with pytest.raises(ValueError, match=r"history.csv, row 2, column loss: .* 'one'"):
        read_history(path)


def test_report_json_is_the_given_report_as_strict_json(tmp_path):
    report, predictions = make()
    report |= {"split": "test", "model": "crnn ü"}
    write_report(tmp_path, report, predictions)
    text = (tmp_path / "report.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=pytest.fail) == report


def test_a_number_that_is_not_finite_is_refused_before_anything_is_written(tmp_path):
    report, predictions = make()
    with pytest.raises(ValueError, match="report: expected finite numbers"):
        write_report(tmp_path / "new", report | {"extra": float("nan")}, predictions)
    assert not (tmp_path / "new").exists()


def test_predictions_csv_keeps_rows_columns_and_awkward_names(tmp_path):
    report, predictions = make()
    predictions[0]["file"] = 'a "b", c\nd é.wav'
    write_report(tmp_path, report, predictions)
    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {key: str(value) for key, value in row.items()} for row in predictions
    ]


def test_predictions_with_unequal_columns_are_refused(tmp_path):
    report, predictions = make()
    del predictions[3]["device"]
    with pytest.raises(ValueError, match=r"predictions: .* in row 3"):
        write_report(tmp_path, report, predictions)


def test_a_file_name_that_is_not_utf_8_does_not_stop_the_report(tmp_path):
    report, predictions = make()
    name = os.fsdecode(b"caf\xe9.wav")
    predictions[0]["file"] = name
    report["excluded"] = [{"file": name, "reason": "unreadable"}]
    page = write(tmp_path, report, predictions)
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert written["excluded"][0]["file"] == name
    assert page.section("Excluded files").rows()[1][0] == r"caf\udce9.wav"
    assert r"caf\udce9.wav" in (tmp_path / "predictions.csv").read_text("utf-8")


def test_a_failure_in_drawing_leaves_an_older_report_untouched(tmp_path, monkeypatch):
    report, predictions = make()
    write_report(tmp_path, report, predictions)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*args, **kwargs):
        raise RuntimeError("no ink")

    monkeypatch.setattr(figures, "draw_confusion_matrix", fail)
    with pytest.raises(RuntimeError, match="no ink"):
        write_report(tmp_path, report | {"split": "other"}, predictions)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_report_json_is_renamed_last(tmp_path, monkeypatch):
    order = []
    replace = os.replace

    def record(source, target):
        assert not (tmp_path / "report.json").exists()
        order.append(os.path.basename(target))
        replace(source, target)

    write_report(tmp_path, *make())
    monkeypatch.setattr(os, "replace", record)
    write_report(tmp_path, *make())
    assert set(order) == FILES
    assert order[-1] == "report.json"


def test_a_full_disk_names_the_file_and_leaves_the_old_report(tmp_path, monkeypatch):
    report, predictions = make()
    write_report(tmp_path, report, predictions)
    before = (tmp_path / "report.json").read_bytes()
    write = Path.write_bytes

    def fill(path, content):
        if path.suffix == ".csv":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(DiskFullError, match=r"/predictions\.csv: the disk is full"):
        write_report(tmp_path, report | {"n_clips": 7}, predictions)
    assert (tmp_path / "report.json").read_bytes() == before
    assert not [*tmp_path.glob(".*")]


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_failed_rename_leaves_no_report_json_and_no_temporary_file(
    tmp_path, monkeypatch, name
):
    report, predictions = make()
    write_report(tmp_path, report, predictions)
    replace = os.replace

    def fail_at_name(source, target):
        if os.fspath(target).endswith(name):
            raise OSError("disk full")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_at_name)
    with pytest.raises(OSError, match="disk full"):
        write_report(tmp_path, report, predictions)
    assert {path.name for path in tmp_path.iterdir()} == FILES - {"report.json"}


def test_the_pages_import_without_tensorflow_and_without_their_own_libraries():
    code = (
        "import sys\n"
        "absent = 'tensorflow keras matplotlib PIL jinja2 markupsafe'.split()\n"
        "sys.modules.update(dict.fromkeys(absent))\n"
        "import asc_tf.report, asc_tf.report.explore_page, asc_tf.commands.explore\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
