import json

import keras
import numpy as np
import pytest

from asc_tf.workdir import Workdir

pytest.importorskip("codecarbon")


def trained(workdir: Workdir, first: int, epochs: int) -> dict:
    from asc_tf.energy import EnergyReport

    model = keras.Sequential([keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    model.fit(
        np.zeros((64, 3)),
        np.zeros((64, 2)),
        initial_epoch=first,
        epochs=epochs,
        callbacks=[EnergyReport(workdir)],
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


def test_a_damaged_energy_file_is_begun_again(tmp_path):
    workdir = Workdir(tmp_path)
    workdir.energy_file.write_text('{"epochs": 3')
    assert trained(workdir, 0, 1)["epochs"] == 1
