import json

import keras
import numpy as np
import pytest

from asc_tf.core.errors import UsageError
from asc_tf.training.train import check_energy
from asc_tf.workdir import Workdir

pytest.importorskip("codecarbon")


def trained(workdir: Workdir, first: int, epochs: int, country: str = "") -> dict:
    from asc_tf.training.energy import EnergyReport

    model = keras.Sequential([keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    model.fit(
        np.zeros((64, 3)),
        np.zeros((64, 2)),
        initial_epoch=first,
        epochs=epochs,
        callbacks=[EnergyReport(workdir, country)],
        verbose=0,
    )
    return json.loads(workdir.energy_file.read_text())


def test_the_energy_of_all_epochs_is_added_up_over_a_resumed_run(tmp_path, capfd):
    workdir = Workdir(tmp_path)
    first = trained(workdir, 0, 2)
    assert first["epochs"] == 2
    assert first["kwh"] > 0
    assert first["seconds"] > 0
    parts = first["cpu_kwh"] + first["gpu_kwh"] + first["ram_kwh"]
    assert first["kwh"] == pytest.approx(parts, rel=1e-6)
    after = trained(workdir, 2, 3)
    assert after["epochs"] == 3
    assert after["kwh"] > first["kwh"]
    assert "codecarbon" not in capfd.readouterr().err


@pytest.mark.slow
def test_a_damaged_energy_file_is_begun_again(tmp_path):
    workdir = Workdir(tmp_path)
    workdir.energy_file.write_text('{"epochs": 3')
    assert trained(workdir, 0, 1)["epochs"] == 1


def test_the_co2_is_that_of_all_energy_in_the_country(tmp_path):
    from codecarbon.input import DataSource

    workdir = Workdir(tmp_path)
    intensity = DataSource().get_global_energy_mix_data()["POL"]["carbon_intensity"]
    for epochs in (1, 2):
        found = trained(workdir, epochs - 1, epochs, "POL")
        assert found["country"] == "POL"
        assert found["co2_kg"] == pytest.approx(found["kwh"] * intensity / 1000)


def test_without_a_country_the_co2_is_the_world_average_and_says_so(tmp_path):
    found = trained(Workdir(tmp_path), 0, 1)
    assert found["country"] == "world average"
    assert found["co2_kg_per_kwh"] == 0.475
    assert found["co2_kg"] == pytest.approx(found["kwh"] * 0.475)


def test_energy_of_an_older_file_counts_in_the_co2(tmp_path):
    workdir = Workdir(tmp_path)
    workdir.energy_file.write_text('{"epochs": 3, "kwh": 2.0}')
    found = trained(workdir, 3, 4)
    assert found["co2_kg"] == pytest.approx(2 * 0.475, rel=0.01)


def test_a_country_that_is_not_known_is_refused_before_training():
    with pytest.raises(UsageError, match=r"train\.energy_country = Germany: .* DEU"):
        check_energy("Germany")
