from pages import Page

from asc_tf.report import write_export_page

NASTY = "<img src=x onerror=alert(1)>"
SPLIT = {"n_clips": 20, "accuracy": 0.912, "agreement": 0.95, "max_difference": 0.0123}
MEASURED = {
    "file": "int8.tflite",
    "bytes": 134512,
    "latency_ms": {"p50": 3.515, "p95": 4.008},
    "test": SPLIT,
    "validation": SPLIT,
}
DESCRIBED = {
    "model": NASTY,
    "parameters": 61962,
    "macs": 42060960,
    "environment": {"machine": {"processor": NASTY, "cores": 2}},
    "keras": {
        "test": {"n_clips": 240, "accuracy": 0.858},
        "validation": {"n_clips": 64, "accuracy": 0.89},
    },
    "formats": {"float32": MEASURED | {"file": "float32.tflite"}},
    "rejected": {
        "int8": MEASURED | {"file": NASTY, "reason": NASTY},
        "int16x8": {"file": "", "reason": "cannot be converted"},
    },
}


def test_the_page_of_an_export_shows_its_files_side_by_side(tmp_path):
    write_export_page(tmp_path / "export.html", DESCRIBED)
    page = Page((tmp_path / "export.html").read_text(encoding="utf-8"))
    page.check_harmless()
    assert not page.all("img")
    assert page.one("h1").text == page.one("title").text == f"Export: {NASTY}"
    assert page.one("header").one("p").text == (
        "parameters 61962 · million MACs per segment, without the front-end 42.061 · "
        f"machine {NASTY}, 2 cores"
    )
    gates = ["Test split: reported, not a gate", "Validation clips: the gate"]
    assert page.headings == ["Rejected", "Size and latency", *gates]
    assert page.section("Rejected").rows()[1:] == [
        ["int8", NASTY, NASTY],
        ["int16x8", "none", "cannot be converted"],
    ]
    assert page.section("Size and latency").rows()[1:] == [
        ["float32", "float32.tflite", "134.5", "3.52", "4.01"],
        ["int8 (rejected)", NASTY, "134.5", "3.52", "4.01"],
    ]
    assert page.section(gates[0]).rows()[1:] == [
        ["Keras", "240", "85.8", "\N{EN DASH}", "\N{EN DASH}"],
        ["float32", "20", "91.2", "95.0", "1.2e-02"],
        ["int8 (rejected)", "20", "91.2", "95.0", "1.2e-02"],
    ]


def test_a_run_without_a_validation_split_has_training_clips_as_the_gate(tmp_path):
    keras = {"train": {"n_clips": 9, "accuracy": 0.5}}
    described = DESCRIBED | {"keras": keras, "formats": {}, "rejected": {}}
    write_export_page(tmp_path / "export.html", described)
    page = Page((tmp_path / "export.html").read_text(encoding="utf-8"))
    gate = "Training clips: the gate, as the run has no validation split"
    assert page.headings == [gate]
    assert [row[0] for row in page.section(gate).rows()[1:]] == ["Keras"]
