"""The benchmark that exports the runs of a crossval and pools their test clips."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from asc_tf.core.errors import UsageError, UserError

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "export_ladder.py"
FORMATS = ["float32", "int8"]


@pytest.fixture(scope="module")
def ladder():
    spec = importlib.util.spec_from_file_location("export_ladder", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def crossval(tiny_run, tmp_path):
    """A folder with two finished runs, which are one, and one that is not finished."""
    folder = tmp_path / "crossval"
    for name in ("fold1_seed0", "fold2_seed0", "fold3_seed0"):
        shutil.copytree(tiny_run.path, folder / name)
        (folder / name / "result.json").write_text("{}")
    (folder / "fold3_seed0" / "result.json").unlink()
    return folder


@pytest.fixture
def exporter(ladder, tiny_export, monkeypatch):
    """Replaces the process of an export by a copy of one; returns its commands."""
    commands = []

    def run(command):
        commands.append(command)
        (output,) = (
            word.split("=")[1] for word in command if word.startswith("--output=")
        )
        shutil.copytree(tiny_export, output, dirs_exist_ok=True)
        return SimpleNamespace(returncode=1)

    # Not the module itself, by which other code starts processes too.
    monkeypatch.setattr(ladder, "subprocess", SimpleNamespace(run=run))
    return commands


@pytest.mark.slow
def test_the_clips_of_all_finished_runs_are_pooled_and_nothing_is_repeated(
    ladder, crossval, exporter, monkeypatch, capsys
):
    output = crossval / "ladder"
    table = ladder.make_ladder(crossval, output, FORMATS, ["export.separate=true"])
    assert "PARTIAL: not finished: fold3_seed0" in capsys.readouterr().err
    first, heads, keras, float32, _ = table.splitlines()
    assert first == "2 runs, 24 test clips"
    assert heads.split()[:4] == ["format", "kB", "compressed", "accuracy"]
    assert keras.startswith("Keras") and float32.startswith("float32")
    assert "+0.00 (" in float32 and "100.00%" in float32
    rows = json.loads((output / "ladder.json").read_text())["rows"]
    assert rows["int8"]["n_clips"] == 24
    described = json.loads((output / "fold1_seed0/export/export.json").read_text())
    assert rows["int8"]["bytes"] == described["formats"]["int8"]["bytes"]
    # Both runs are the same, so that the pooled scores are those of one.
    for name in FORMATS:
        for key in ("accuracy", "agreement", "max_difference"):
            expected = described["formats"][name]["test"][key]
            assert rows[name][key] == pytest.approx(expected, abs=1e-6)
    assert (output / "ladder.txt").read_text() == f"{table}\n"
    markdown = (output / "ladder.md").read_text().splitlines()
    assert markdown[2].startswith("| format | kB |") and len(markdown) == 7
    assert len(exporter) == 2
    assert "--export.formats=float32,int8" in exporter[0]
    assert "--export.separate=true" in exporter[0]

    # Again: nothing is exported or classified.
    monkeypatch.setattr("asc_tf.evaluation.load.load", None)
    again = ladder.make_ladder(crossval, output, FORMATS, ["export.separate=true"])
    assert again == table and len(exporter) == 2
    run, export = crossval / "fold1_seed0", output / "fold1_seed0" / "export"
    ladder.export_run(run, export, ["int8"], [])
    assert len(exporter) == 3
    assert not (output / "fold1_seed0" / "predictions.npz").exists()

    # A model that was trained again is exported again.
    ladder.export_run(run, export, ["int8"], [])
    assert len(exporter) == 3
    with (run / "model.keras").open("ab") as file:
        file.write(b"trained again")
    ladder.export_run(run, export, ["int8"], [])
    assert len(exporter) == 4


def test_a_format_without_a_file_has_no_scores(ladder, tiny_run):
    from asc_tf.pipeline.evaluation_data import scan_splits
    from asc_tf.pipeline.run import Run

    manifest = scan_splits(Run.open(tiny_run, {}), "test").manifest
    keras = np.full([len(manifest.clips_in("test")), 3], 1 / 3, np.float32)
    runs = [{"manifest": manifest, "keras": keras}] * 2
    rows = ladder.pool_runs(runs, [{}, {}], ["int8"])
    assert rows["int8"] == {"missing": 2}
    shown = ladder.format_rows(rows)
    assert shown[1] == ["int8 (no file in 2 runs)", *["-"] * 8]


def test_a_rejected_format_is_marked(ladder, tiny_run):
    row = {"accuracy": 0.9, "change": {"accuracy": [-0.0125, -0.03, 0.01]}}
    row |= {"agreement": 0.9825, "max_difference": 0.2, "kl_divergence": 0.001}
    row |= {"bytes": 127000, "latency_ms": 3.14159, "rejected": 2}
    assert ladder.format_rows({"int8": row}) == [
        [
            *("int8 (rejected in 2 runs)", "127.0", "-", "90.0%"),
            *("-1.25 (-3.00 to +1.00)", "98.25%", "2.0e-01", "1.0e-03", "3.14"),
        ]
    ]


def test_a_folder_without_runs_and_an_export_that_fails_are_named(
    ladder, tmp_path, monkeypatch
):
    with pytest.raises(UsageError, match="no run folder, and no finished runs"):
        ladder.list_runs(tmp_path)
    monkeypatch.setattr(
        ladder.subprocess, "run", lambda command: SimpleNamespace(returncode=-9)
    )
    (tmp_path / "model.keras").write_bytes(b"a model")
    with pytest.raises(UserError, match="asc-tf export exits with -9"):
        ladder.export_run(tmp_path, tmp_path / "export", ["int8"], [])


def test_an_export_that_fails_is_not_taken_for_the_one_before(
    ladder, tmp_path, monkeypatch
):
    (tmp_path / "model.keras").write_bytes(b"a model")
    output = tmp_path / "ladder" / "export"
    output.mkdir(parents=True)
    before = '{"formats": {"int8": {}}, "rejected": {}}'
    (output / "export.json").write_text(before)
    done = SimpleNamespace(returncode=1)

    def fill_disk(command):
        return done

    def leave_out_float16(command):
        (word,) = (each for each in command if each.startswith("--output="))
        folder = Path(word.split("=")[1])
        folder.mkdir()
        (folder / "export.json").write_text(before)
        return done

    for run, message in [
        (fill_disk, "asc-tf export exits with 1"),
        (leave_out_float16, "has no row of float16, which was asked for"),
    ]:
        monkeypatch.setattr(ladder, "subprocess", SimpleNamespace(run=run))
        with pytest.raises(UserError, match=message):
            ladder.export_run(tmp_path, output, ["int8", "float16"], [])
        assert (output / "export.json").read_text() == before
        assert not (output.parent / "export_settings.json").exists()


@pytest.mark.slow
def test_the_benchmark_exports_a_single_run(tiny_run, tmp_path):
    flags = [f"--workdir={tiny_run.path}", f"--output={tmp_path}", "--formats=float32"]
    done = subprocess.run(
        [sys.executable, SCRIPT, *flags], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ladder.txt").read_text() in done.stdout
    assert (tmp_path / "run" / "export" / "float32.tflite").is_file()
    done = subprocess.run(
        [sys.executable, SCRIPT, flags[0], "--formats=int9"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "--formats=int9: one of saved_model, float32" in done.stderr
