import copy

import exports
import pytest
from pages import Page

from asc_tf.report import export_page, write_export_page
from asc_tf.report.export_scores import show_change

NASTY = "<img src=x onerror=alert(1)>"
DASH = "\N{EN DASH}"
GATES = ["Test split: reported, not a gate", "Validation clips: the gate"]
SUMMARIES = {"int8": "Weights and activations in int8.", "float32": "As in Keras."}

# A row of an export.json of before.
SPLIT = {"n_clips": 20, "accuracy": 0.912, "agreement": 0.95, "max_difference": 0.0123}
OLD_ROW = {
    "file": "int8.tflite",
    "bytes": 134512,
    "latency_ms": {"p50": 3.515, "p95": 4.008},
    "test": SPLIT,
    "validation": SPLIT,
}
OLD = {
    "model": NASTY,
    "parameters": 61962,
    "macs": 42060960,
    "environment": {"machine": {"processor": NASTY, "cores": 2}},
    "keras": {
        "test": {"n_clips": 240, "accuracy": 0.858},
        "validation": {"n_clips": 64, "accuracy": 0.89},
    },
    "formats": {"float32": OLD_ROW | {"file": "float32.tflite"}},
    "rejected": {
        "int8": OLD_ROW | {"file": NASTY, "reason": NASTY},
        "int16x8": {"file": "", "reason": "cannot be converted"},
    },
}


def write(folder, *content) -> Page:
    write_export_page(folder / "export.html", *content)
    page = Page((folder / "export.html").read_text(encoding="utf-8"))
    page.check_harmless()
    return page


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    return write(folder, exports.make_export(), exports.METADATA, SUMMARIES)


def make_plain_export():
    """An export whose files have no figures, because those take most of the time."""
    content = exports.make_export()
    for row in [*content["formats"].values(), *content["rejected"].values()]:
        for key in ("parts", "layers"):
            row.pop(key, None)
    for scores in content["keras"].values():
        scores["accuracy"] = None
    return content


def test_the_page_of_an_export_shows_its_files_as_one_table(page):
    assert page.headings == [
        *("Rejected", "The ladder", "Accuracy against size and latency"),
        *("Size by part", "Latency and memory", *GATES),
        *("Classes and devices that changed", "The worst clip of each file"),
        *("Error of each layer", "Checks", "Run it", "Labels"),
    ]
    heads, *rows = page.section("The ladder").rows()
    assert heads[:5] == [
        "format",
        "kB",
        "kB, compressed",
        "accuracy %",
        "change (95 %)",
    ]
    assert heads[5:] == [
        *("agreement %", "KL", "ms, 1 thread", "ms, 2 threads", "memory, kB"),
        *("million MACs", "verdict"),
    ]
    by_name = {row[0]: row[1:] for row in rows}
    assert by_name["int8Weights and activations in int8."] == [
        *("127.0", "88.9", "91.3", "-1.2 (-2.5 to +0.6)", "98.8"),
        *("8.0e-04", "3.05 / 3.66", "1.52 / 1.83", "1234.5", "42.1", "accepted"),
    ]
    assert by_name["int8_pruned (rejected)"][-1] == "rejected"
    assert by_name["saved_model"][-4:] == [DASH, DASH, "42.1", "accepted"]
    assert page.section("Labels").one("ol").text == "dograinsea_waves"


def test_the_page_of_an_export_shows_parts_latency_and_layers(page):
    rows = page.section("Size by part").rows()
    assert rows[0][1] == "weights of the network"
    (own,) = (row for row in rows if row[0] == "int8")
    assert own[1:] == ["57.1", "2.5", "38.1", "16.5", "1.3", "3.8", "7.6"]
    (own,) = (r for r in page.section("Latency and memory").rows() if r[0] == "int8")
    assert own[1:4] == ["3.05 / 3.66", "1.83 / 2.20", "1.22 / 1.46"]
    assert own[4:] == ["1.52 / 1.83", "0.91 / 1.10", "0.61 / 0.73", "1234.5"]
    layers = page.section("Error of each layer")
    assert (
        layers.all("h3")[0].text == "int8: most is lost in block_1 (21.5 dB after it)"
    )
    assert len(layers.all("svg")) == len(layers.all("h3")) == 4
    assert len(page.section("Accuracy against size and latency").all("svg")) == 2


def test_layers_without_loss_and_checks_that_were_not_made_are_no_faults(tmp_path):
    content = make_plain_export()
    row = content["formats"]["int8"]
    row["layers"] = [
        {"name": "conv", "sqnr_db": 45.0, "error": 0.01, "loss_db": 0.0},
        {"name": "logits", "sqnr_db": 39.5, "error": 0.01, "loss_db": 0.5},
    ]
    row["findings"].append({"check": "names", "passed": None, "text": "numbered"})
    page = write(tmp_path, content)
    (head,) = page.section("Error of each layer").all("h3")
    assert head.text == "int8: no layer loses accuracy of its values"
    checks = page.section("Checks")
    opened = [each for each in checks.all("details") if "open" in each.attributes]
    (failed,) = opened
    assert failed.one("summary").text == "int8_pruned (rejected): 1 of 2 checks passed"
    texts = [each.text for each in checks.all("summary")]
    assert "int8: 2 of 3 checks passed, 1 not made" in texts
    (not_made,) = (each for each in checks.all("b") if each.text == "not made")
    assert "class" not in not_made.attributes


def test_an_accepted_file_that_failed_on_the_test_split_has_no_scores_of_it(tmp_path):
    content = exports.make_export()
    del content["formats"]["int8"]["test"]
    page = write(tmp_path, content)
    by_name = {row[0]: row for row in page.section("The ladder").rows()}
    assert by_name["int8"][3:7] == [DASH] * 4 and by_name["int8"][-1] == "accepted"
    assert "int8" not in {row[0] for row in page.section(GATES[0]).rows()}
    assert "int8" in {row[0] for row in page.section(GATES[1]).rows()}


def test_the_page_of_an_export_names_what_changed_and_the_worst_clips(page):
    _, *rows = page.section("Classes and devices that changed").rows()
    assert [
        "int8",
        "test",
        "label dog",
        "30",
        "90.0",
        "80.0",
        "-10.0 (-30.0 to +2.5)",
        "96.7",
        "81.0 (92.0)",
        "0.500 (0.250)",
    ] in (rows)
    assert {row[0] for row in rows} == {"int8", "int8_pruned (rejected)"}
    assert "device s1" in {row[2] for row in rows}
    row = page.section("The worst clip of each file").rows()[1]
    assert row == [
        *("saved_model", "test", "rain/saved_model-17.ogg", "rain"),
        "rain 0.610, sea_waves 0.300, dog 0.090",
        "sea_waves 0.550, rain 0.400, dog 0.050",
    ]
    summaries = [each.text for each in page.section("Checks").all("summary")]
    assert summaries[-1] == "int8_pruned (rejected): 1 of 2 checks passed"
    opened = [each for each in page.all("details") if "open" in each.attributes]
    (failed,) = opened
    assert "failed agreement: agrees on 93.8 % of 80 clips" in failed.text


def test_a_rejected_file_is_on_top_with_what_it_failed(tmp_path):
    content = make_plain_export()
    row = content["rejected"]["int8_pruned"]
    row["findings"].append({"check": "x", "passed": False, "text": "it is slow"})
    section = write(tmp_path, content).section("Rejected")
    assert section.rows()[1:] == [
        [
            *("int8_pruned", "int8_pruned.tflite.rejected"),
            "agrees on 93.8 % of 80 clipsit is slow",
        ],
        ["float64", "none", "the conversion failed (exit code 1)"],
    ]


def test_the_code_of_the_page_names_the_files_that_are_there(tmp_path):
    content = make_plain_export()
    section = write(tmp_path, content, exports.METADATA).section("Run it")
    edge, litert, command, package, tensorflow = (
        "".join(each.children) for each in section.all("code")
    )
    assert "asc-edge classify --model=int8.tflite clip.wav\n" in edge
    assert "saved_model" not in edge and "int8_pruned" not in edge
    for name in ("float32", "int8", "int16x8"):
        assert f"#     python classify.py {name}.tflite clip.wav\n" in litert
        line = f'asc_tf.load("{name}.tflite").predict_files(["clip.wav"])'
        assert line in package
    assert "samples.mean(axis=1)" in litert
    assert "asc-tf predict --model=saved_model/1 clip.wav\n" in command
    assert 'asc_tf.load("saved_model/1")' in package
    assert "(rate, width) != (32000, 2)" in tensorflow and "zeros" not in tensorflow
    stereo = exports.METADATA | {"channels": "mid_side"}
    section = write(tmp_path, content, stereo).section("Run it")
    assert "[0.5, -0.5]" in section.all("code")[-1].text
    del content["formats"]["int8"], content["formats"]["saved_model"]
    page = write(tmp_path, content)
    assert "Labels" not in page.headings
    codes = page.section("Run it").all("code")
    assert len(codes) == 4 and "classify.py float32.tflite" in codes[1].text


def test_an_export_of_before_is_shown_without_what_it_lacks(tmp_path):
    page = write(tmp_path, OLD)
    assert not page.all("img")
    assert page.one("h1").text == page.one("title").text == f"Export: {NASTY}"
    assert page.one("header").one("p").text == (
        "parameters 61962 · million MACs per segment, without the front-end 42.061 · "
        f"machine {NASTY}, 2 cores"
    )
    figure = "Accuracy against size and latency"
    assert page.headings == ["Rejected", "The ladder", figure, *GATES, "Run it"]
    assert page.section("Rejected").rows()[1:] == [
        ["int8", NASTY, NASTY],
        ["int16x8", "none", "cannot be converted"],
    ]
    heads = ["format", "kB", "accuracy %", "agreement %", "ms, 1 thread"]
    numbers = ["134.5", "91.2", "95.0", "3.52 / 4.01", "42.1"]
    assert page.section("The ladder").rows() == [
        [*heads, "million MACs", "verdict"],
        ["float32", *numbers, "accepted"],
        ["int8 (rejected)", *numbers, "rejected"],
    ]
    assert page.section(GATES[0]).rows()[1:] == [
        ["Keras", "240", "85.8", DASH, DASH],
        ["float32", "20", "91.2", "95.0", "1.2e-02"],
        ["int8 (rejected)", "20", "91.2", "95.0", "1.2e-02"],
    ]


def test_a_run_without_a_validation_split_has_training_clips_as_the_gate(tmp_path):
    keras = {"train": {"n_clips": 9, "accuracy": 0.5}}
    page = write(tmp_path, OLD | {"keras": keras, "formats": {}, "rejected": {}})
    gate = "Training clips: the gate, as the run has no validation split"
    assert page.headings == [gate]
    assert [row[0] for row in page.section(gate).rows()[1:]] == ["Keras"]


def test_clips_without_labels_and_formats_that_never_ran_have_no_scores(tmp_path):
    content = copy.deepcopy(OLD)
    for row in (content["keras"]["test"], content["formats"]["float32"]["test"]):
        row["accuracy"] = None
    content["rejected"] = {"int8": {"file": "", "reason": "a crash"}}
    page = write(tmp_path, content)
    assert "Accuracy against size and latency" not in page.headings
    assert page.section("The ladder").rows()[0][2] == "agreement %"


def test_figures_show_the_change_of_accuracy_whose_interval_they_have(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        export_page, "draw_tradeoff", lambda points, *_: drawn.append(points)
    )
    change = {"accuracy": [-0.02, -0.05, 0.01]}
    usual = {"bytes": 2000, "latency_ms": {"p50": 3.0}}
    rows = {
        "int8": usual | {"test": {"accuracy": 0.78, "change": change}},
        "float32": usual | {"test": {"accuracy": 0.8}},
    }
    described = {"keras": {"test": {"accuracy": 0.8}}}
    export_page._draw_tradeoffs(described, rows, ["test"])
    assert drawn[0] == [
        ("int8", 2.0, -0.02, -0.05, 0.01),
        ("float32", 2.0, 0.0, None, None),
    ]
    assert [cost for _, cost, *_ in drawn[1]] == [3.0, 3.0]


def test_a_change_that_rounds_to_zero_has_no_sign():
    assert show_change([-1e-9, -0.0004, 0.02]) == "+0.0 (+0.0 to +2.0)"
    assert show_change([-1e-9, -0.0004, 0.02], 1) == "+0.000 (+0.000 to +0.020)"
    assert show_change(None) == show_change([None, None, None]) == DASH
