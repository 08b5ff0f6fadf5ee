import csv
import html.parser
import json
import os
import re

import numpy as np
import pytest

from asc_tf.evaluation import metrics
from asc_tf.manifest import SPLITS
from asc_tf.report import figures, write_report
from asc_tf.report.history import read_history

LABELS = ["bus", "<b>&", "tram"]
FILES = {
    "report.json",
    "report.html",
    "predictions.csv",
    "confusion_matrix_counts.png",
    "confusion_matrix_row_normalized.png",
    "per_class.png",
}
PNG: list[bytes] = []
HISTORY = """epoch,loss,accuracy,val_loss,val_accuracy,learning_rate
0,1.5,0.4,1.6,0.35,0.001
1,1.1,0.6,,,0.0005
"""


@pytest.fixture
def real_figures():
    """Asks for real drawing, which `blank_figures` spares the other tests."""


@pytest.fixture(autouse=True)
def blank_figures(request, monkeypatch):
    if "real_figures" not in request.fixturenames:
        blank = figures.history({"epoch": [], "loss": []}) if not PNG else PNG[0]
        PNG[:] = [blank]
        for name in ("confusion_matrix", "per_class", "history"):
            monkeypatch.setattr(figures, name, lambda *args, **kwargs: blank)


def make(n_clips=40, absent=2, **names):
    """A report and its predictions: every fourth clip is taken for 'bus'."""
    truth = np.arange(n_clips) % 3
    truth[truth == absent] = 0
    predicted = np.where(np.arange(n_clips) % 4 == 0, 0, truth)
    probabilities = np.full((n_clips, 3), 0.1)
    probabilities[np.arange(n_clips), predicted] = 0.8
    report = metrics.compute_metrics(LABELS, truth, probabilities, **names)
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


def page_of(directory):
    return (directory / "report.html").read_text(encoding="utf-8")


class TagBalance(html.parser.HTMLParser):
    """Collects tags, and closes what HTML requires to be closed."""

    VOID = ("meta", "img", "source", "wbr", "br")

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.texts = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def parse(directory):
    parser = TagBalance()
    parser.feed(page_of(directory))
    assert not parser.open
    return parser


def test_a_report_is_written_as_page_table_numbers_and_figures(tmp_path, real_figures):
    report, predictions = make()
    history = tmp_path / "history.csv"
    history.write_text(HISTORY)
    written = write_report(tmp_path / "report", report, predictions, history=history)
    assert written == tmp_path / "report" / "report.html"
    found = {path.name for path in written.parent.iterdir()}
    assert found == FILES | {"history.png"}
    for path in written.parent.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")


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


def test_a_file_name_that_is_not_utf_8_does_not_stop_the_report(tmp_path):
    report, predictions = make()
    name = os.fsdecode(b"caf\xe9.wav")
    predictions[0]["file"] = name
    report["excluded"] = [{"file": name, "reason": "unreadable"}]
    write_report(tmp_path, report, predictions)
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert written["excluded"][0]["file"] == name
    assert r"caf\udce9.wav" in page_of(tmp_path)
    assert r"caf\udce9.wav" in (tmp_path / "predictions.csv").read_text("utf-8")


def test_predictions_with_unequal_columns_are_refused(tmp_path):
    report, predictions = make()
    del predictions[3]["device"]
    with pytest.raises(ValueError, match=r"predictions: .* in row 3"):
        write_report(tmp_path, report, predictions)


def test_the_page_is_well_formed_and_needs_nothing_from_outside(tmp_path):
    report, predictions = make()
    write_report(tmp_path, report, predictions)
    parser = parse(tmp_path)
    tags = [tag for tag, _ in parser.seen]
    assert not {"script", "link", "iframe"} & set(tags)
    sources = [
        value
        for _, attributes in parser.seen
        for key, value in attributes.items()
        if key in ("src", "srcset", "href")
    ]
    assert len(sources) == 4
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "url(" not in page_of(tmp_path)
    assert all(attrs["alt"] for tag, attrs in parser.seen if tag == "img")


def test_the_page_shows_per_cent_with_one_decimal_and_log_loss_with_three(tmp_path):
    report, predictions = make()
    report |= {
        "accuracy": 0.71234,
        "macro_accuracy": 0.65999,
        "log_loss": 0.98765,
        "segments": {"n_segments": 400, "accuracy": 0.5, "pooling": "mean"},
    }
    write_report(tmp_path, report, predictions)
    page = page_of(tmp_path)
    for shown in ("71.2 %", "66.0 %", "0.988", "<b>400</b> segments", "<b>50.0 %</b>"):
        assert shown in page


def test_every_string_of_the_user_is_escaped(tmp_path):
    nasty = "<script>alert('1')</script>&"
    report, predictions = make(devices=[nasty] * 40, cities=[nasty] * 40)
    report |= {
        "split": nasty,
        "model": nasty,
        "workdir": nasty,
        "notes": [nasty],
        "excluded": [{"file": nasty, "reason": nasty}],
        "protocol": {
            "corpus": nasty,
            "leaky": False,
            nasty: [nasty],
            "more": {"x": nasty},
        },
        "segments": {"n_segments": 3, "pooling": nasty, f"n_{nasty}": nasty},
    }
    for row in predictions:
        row["file"] = nasty
    write_report(tmp_path, report, predictions)
    parser = parse(tmp_path)
    assert "script" not in [tag for tag, _ in parser.seen]
    text = "".join(parser.texts)
    assert text.count("alert('1')") >= 20
    assert "<b>&" in text


def test_a_leaky_protocol_is_announced_and_another_is_not(tmp_path):
    report, predictions = make()
    for leaky in (True, False):
        report["protocol"] = {"corpus": "ESC-50", "fold": 1, "leaky": leaky}
        write_report(tmp_path, report, predictions)
        assert ("LEAKY" in page_of(tmp_path)) is leaky


def test_a_partial_report_says_so_at_its_top(tmp_path):
    report, predictions = make()
    for partial in ("3 of 40 clips <gone>", None):
        write_report(tmp_path, report | {"partial": partial}, predictions)
        header = page_of(tmp_path).split("</header>")[0]
        said = "PARTIAL report.</strong> 3 of 40 clips &lt;gone&gt;." in header
        assert said is (partial is not None)


def test_the_accuracy_leads_the_page_and_a_missing_roc_auc_is_left_out(tmp_path):
    report, predictions = make()
    write_report(tmp_path, report | {"roc_auc": None}, predictions)
    assert re.findall("<dt>(.*?)</dt>", page_of(tmp_path)) == [
        *("accuracy", "macro-averaged accuracy", "log loss", "mAP@3", "clips")
    ]


def test_without_labels_the_page_counts_predictions_and_old_figures_go(
    tmp_path, real_figures
):
    report, predictions = make()
    write_report(tmp_path, report, predictions)
    probabilities = np.tile([0.2, 0.7, 0.1], (40, 1))
    probabilities[:10] = [0.6, 0.3, 0.1]
    for row in predictions:
        row["label"] = ""
    write_report(
        tmp_path, metrics.summarize_unlabelled(LABELS, probabilities), predictions
    )
    page = page_of(tmp_path)
    assert "No scores." in page
    rows = re.findall(r'row">(.*?)</th><td class="n">(\d+)</td>', page)
    assert rows == [("bus", "10"), ("&lt;b&gt;&amp;", "30"), ("tram", "0")]
    for missing in ("accuracy", "mistakes", "Confusion"):
        assert missing not in page
    assert {path.name for path in tmp_path.iterdir()} == {
        *("report.json", "report.html", "predictions.csv")
    }


def test_clips_and_recordings_of_each_split_are_in_a_table(tmp_path):
    report, predictions = make()
    row = {f"{split}_clips": 10 * n for n, split in enumerate(SPLITS, start=1)}
    row |= {f"{split}_locations": n for n, split in enumerate(SPLITS, start=1)}
    row |= {"test_clip_share": 0.5, "validation_location_share": 2 / 3}
    report["split_table"] = [{"label": label} | row for label in LABELS]
    city = {"city": "lyon", "n_clips": 1, "accuracy": 0.5, "macro_accuracy": 0.5}
    for cities, unit in (([], "recordings"), ([city | {"log_loss": 1.0}], "locations")):
        write_report(tmp_path, report | {"per_city": cities}, predictions)
        page = page_of(tmp_path)
        assert f"{unit.capitalize()} and clips of each label" in page
        assert f">validation {unit} %</th>" in page
        cells = "".join(
            f'<td class="n">{text}</td>'
            for text in ("1 / 10", "2 / 20", "3 / 30", "50.0", "66.7")
        )
        assert f'<th scope="row">bus</th>{cells}</tr>' in page


def test_energy_and_co2_are_shown_together_and_an_older_file_has_no_co2(tmp_path):
    report, predictions = make()
    spent = {"epochs": 3, "seconds": 9.0, "kwh": 0.0124, "cpu_kwh": 0.0124}
    co2 = {"co2_kg": 0.0124 * 0.381, "co2_kg_per_kwh": 0.381, "country": "DEU"}
    write_report(tmp_path, report | {"energy": spent | co2}, predictions)
    page = page_of(tmp_path)
    assert "Energy <b>12.4 Wh</b> (CPU 12.4) in 3 epochs" in page
    assert "CO2 <b>4.724 g</b> at 381 g per kWh (DEU)" in page
    write_report(tmp_path, report | {"energy": spent}, predictions)
    assert "CO2 &ndash;" in page_of(tmp_path)
    write_report(tmp_path, report | {"energy": None}, predictions)
    assert "Energy" not in page_of(tmp_path)


def test_devices_and_cities_have_tables_only_where_they_are_known(tmp_path):
    report, predictions = make(devices=["a", "s1"] * 20, cities=[""] * 40)
    write_report(tmp_path, report, predictions)
    page = page_of(tmp_path)
    assert "Per device" in page
    assert re.search(r'<th scope="row">s1</th><td class="n">20</td>', page)
    assert "Per city" not in page

    report, predictions = make(cities=["lyon", ""] * 20)
    write_report(tmp_path, report, predictions)
    page = page_of(tmp_path)
    assert "Per device" not in page
    assert "Per city" in page
    assert '<th scope="row">unknown</th>' in page


def test_a_class_without_clips_has_dashes_in_place_of_scores(tmp_path):
    report, predictions = make()
    write_report(tmp_path, report, predictions)
    row = re.search(r'<th scope="row">tram</th>(.*?)</tr>', page_of(tmp_path))
    assert row
    assert row[1].count("&ndash;") == 4


def test_the_ten_most_confident_mistakes_are_listed_and_no_others(tmp_path):
    report, predictions = make(n_clips=120)
    # Shuffled, so that the order of the table cannot be that of the rows.
    predictions = predictions[60:] + predictions[:60]
    write_report(tmp_path, report, predictions)
    wrong = sorted(
        (row for row in predictions if row["label"] != row["predicted"]),
        key=lambda row: -row["probability"],
    )
    section = page_of(tmp_path).split("Most confident mistakes")[1]
    listed = re.findall(r"audio/<wbr>(\d+\.wav)", section)
    assert listed == [row["file"].removeprefix("audio/") for row in wrong[:10]]


def test_a_model_without_mistakes_has_no_table_of_mistakes(tmp_path):
    report, predictions = make()
    right = [row for row in predictions if row["label"] == row["predicted"]]
    write_report(tmp_path, report, right)
    assert "mistakes" not in page_of(tmp_path)


def test_excluded_files_are_listed_with_their_reasons(tmp_path):
    report, predictions = make()
    report["excluded"] = [{"file": "broken.wav", "reason": "no samples"}]
    write_report(tmp_path, report, predictions)
    assert "no samples" in page_of(tmp_path)


def test_of_very_many_excluded_files_the_page_shows_the_first(tmp_path):
    report, predictions = make()
    report["excluded"] = [
        {"file": f"x{index}.wav", "reason": "no samples"} for index in range(101)
    ]
    write_report(tmp_path, report, predictions)
    page = page_of(tmp_path)
    assert "above: 101." in page
    assert "x99.wav" in page
    assert "x100.wav" not in page


@pytest.mark.parametrize("history", [None, "missing.csv", "empty.csv"])
def test_without_epochs_there_are_no_training_curves_not_even_old_ones(
    tmp_path, history
):
    (tmp_path / "empty.csv").write_text(HISTORY.splitlines()[0] + "\n")
    (tmp_path / "history.png").write_bytes(b"from an older run")
    report, predictions = make()
    path = tmp_path / history if history else None
    write_report(tmp_path, report, predictions, history=path)
    assert not (tmp_path / "history.png").exists()
    assert "Training" not in page_of(tmp_path)


def test_history_has_gaps_for_empty_cells_and_names_a_bad_one(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text(HISTORY)
    curves = read_history(path)
    assert curves["loss"] == [1.5, 1.1]
    np.testing.assert_array_equal(curves["val_loss"], [1.6, np.nan])
    path.write_text(HISTORY.replace("1.1", "one"))
    with pytest.raises(ValueError, match=r"history.csv, row 2, column loss: .* 'one'"):
        read_history(path)


def test_a_failure_in_drawing_leaves_an_older_report_untouched(tmp_path, monkeypatch):
    report, predictions = make()
    write_report(tmp_path, report, predictions)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*args, **kwargs):
        raise RuntimeError("no ink")

    monkeypatch.setattr(figures, "confusion_matrix", fail)
    with pytest.raises(RuntimeError, match="no ink"):
        write_report(tmp_path, report | {"split": "other"}, predictions)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


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


def test_report_json_is_renamed_last(tmp_path, monkeypatch):
    order = []
    replace = os.replace

    def record(source, target):
        order.append(os.path.basename(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", record)
    write_report(tmp_path, *make())
    assert set(order) == FILES
    assert order[-1] == "report.json"


@pytest.mark.filterwarnings("error")
def test_fifty_long_and_mathematical_labels_still_draw(real_figures):
    labels = [rf"$\wrong{{{index}}}$ {'x' * index}" for index in range(50)]
    values = np.eye(50).tolist()
    values[3] = [None] * 50
    png = figures.confusion_matrix(labels, values, percent=True)
    # The cells alone are 10 inches wide.
    assert int.from_bytes(png[16:20]) > 1920
    scores = {"accuracy": 0.5, "f1": None}
    figures.per_class([{"label": label, **scores} for label in labels])
