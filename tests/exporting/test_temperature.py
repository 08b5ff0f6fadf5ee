"""The temperature of a run, folded into the last dense layer of an export."""

import dataclasses
import json
import re
import shutil

import keras
import numpy as np
import pytest

from asc_tf import cli, models
from asc_tf.config import Evaluate, Frontend, Model
from asc_tf.core.errors import UsageError
from asc_tf.core.files import hash_path
from asc_tf.evaluation.calibration import apply_temperature
from asc_tf.exporting import export as export_module
from asc_tf.exporting.temperature import fold_temperature, read_temperature
from asc_tf.frontend import FrontendLayer
from asc_tf.models import get_body
from asc_tf.workdir import Workdir


def test_a_folded_temperature_gives_the_probabilities_that_evaluation_reports():
    keras.utils.set_random_seed(0)
    layer = FrontendLayer(8000, Frontend(n_fft=256, hop_length=128, n_mels=16))
    segments = np.random.default_rng(0).normal(0, 0.1, (4, 4000)).astype("f4")
    shape = layer(segments).shape[1:]
    body = models.build(Model(filters=(4, 8)), shape, 3)
    model = models.attach_frontend(layer, body, (4000,))
    before = model(segments).numpy()
    weights = [each.copy() for each in model.get_weights()]
    folded = fold_temperature(model, 2.5)
    wanted = apply_temperature(before, 2.5)
    np.testing.assert_allclose(folded(segments), wanted, atol=1e-6)
    assert np.abs(before - wanted).max() > 1e-3
    for ours, theirs in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert get_body(folded).name == body.name and folded.name == model.name


@pytest.fixture
def run(tiny_run, tmp_path) -> Workdir:
    """A copy of a run with the temperature that an evaluation wrote."""
    workdir = Workdir(tmp_path / "run")
    shutil.copytree(tiny_run.path, workdir.path)
    write_fit(workdir)
    return workdir


def write_fit(workdir: Workdir, **changes) -> None:
    used = dataclasses.asdict(workdir.config().evaluate)
    content = {
        "model_sha256": hash_path(workdir.model_file),
        "evaluate": {name: used[name] for name in ("segments", "overlap", "pooling")},
        "temperature": 1.75,
    }
    workdir.report.mkdir(exist_ok=True)
    workdir.calibration_file.write_text(json.dumps(content | changes))


def test_the_temperature_is_the_one_that_was_fitted(run):
    assert read_temperature(run, run.config().evaluate) == 1.75


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_sha256": "0" * 64}, "belongs to another model than /"),
        ({"model_sha256": "0" * 64}, "model.keras; run asc-tf evaluate first"),
        ({"temperature": None}, "damaged (temperature is None); run asc-tf evaluate"),
        ({"temperature": float("nan")}, "damaged (temperature is nan)"),
        ({"evaluate": 3}, "is damaged"),
    ],
)
def test_a_fit_that_does_not_belong_to_the_model_is_refused(run, changes, message):
    write_fit(run, **changes)
    with pytest.raises(UsageError, match=re.escape(message)):
        read_temperature(run, run.config().evaluate)


def test_a_fit_of_earlier_best_weights_of_a_run_that_goes_on_is_refused(run):
    run.best_file.parent.mkdir(exist_ok=True)
    run.best_file.write_bytes(b"weights of a later epoch")
    with pytest.raises(UsageError, match="belongs to another model"):
        read_temperature(run, run.config().evaluate)


def test_other_segments_or_pooling_than_in_the_fit_are_refused(run):
    settings = dataclasses.replace(Evaluate(), pooling="majority")
    with pytest.raises(UsageError, match=r"evaluate.pooling = mean, and this export"):
        read_temperature(run, settings)


def test_an_export_without_an_evaluation_says_what_to_run(run, capsys):
    run.calibration_file.unlink()
    words = [f"--workdir={run.path}", f"--output={run.path.parent / 'export'}"]
    words += ["--formats=float32", "--export.calibrate", "--export.percentile=99"]
    assert cli.main(["export", *words]) == 2
    said = capsys.readouterr()
    assert "calibration.json is missing; run asc-tf evaluate first" in said.err
    # Nothing was begun. A flag that is of no use is named, a setting of the run is not.
    (line,) = said.out.splitlines()
    assert line.startswith("export.percentile has no effect with export.formats = fl")
    assert not (run.path.parent / "export").exists()


def test_every_file_of_a_calibrated_export_says_its_temperature(run, monkeypatch):
    class WrittenError(Exception):
        pass

    def write(sources, scanned, split, metadata, folder):
        raise WrittenError(sources[0].model, metadata)

    monkeypatch.setattr(export_module, "_write_formats", write)
    found = []
    for is_calibrated in (True, False):
        changes = {"export.calibrate": is_calibrated, "dataset.max_missing": 1.0}
        with pytest.raises(WrittenError) as caught:
            export_module.export(run, run.path.parent / "export", changes)
        model, metadata = caught.value.args
        found.append((get_body(model).get_layer("logits").get_weights()[0], metadata))
    (divided, said), (plain, silent) = found
    np.testing.assert_allclose(divided, plain / 1.75, rtol=1e-6)
    assert said["temperature"] == 1.75 and "temperature" not in silent
