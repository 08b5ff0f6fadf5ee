"""The HParams table of TensorBoard, as TensorBoard's own backend reads it."""

import pytest
import tiny
from hparams_table import read_table
from tensorboard.plugins.hparams import api_pb2

from asc_tf.config import Config
from asc_tf.training.hparams import select_hparams
from asc_tf.training.hparams_file import write_hparams


def test_tensorboard_reads_settings_and_scores_of_several_runs(tmp_path):
    first = {"rate": 0.01, "kind": "adam", "mixed": False}
    write_hparams(tmp_path / "a", first, {"accuracy": 0.75, "loss": 0.5})
    second = {"rate": 0.02, "kind": "sgd", "mixed": True}
    write_hparams(tmp_path / "b", second, {"accuracy": 0.5}, is_finished=False)
    table = read_table(tmp_path)
    assert table["a"].settings == first and table["b"].settings == second
    assert table["a"].scores == {("", "accuracy"): 0.75, ("", "loss"): 0.5}
    assert table["b"].scores == {("", "accuracy"): 0.5}
    assert table["a"].status == api_pb2.STATUS_SUCCESS
    assert table["b"].status == api_pb2.STATUS_UNKNOWN


def test_a_call_replaces_those_of_all_versions_and_leaves_other_event_files(tmp_path):
    other = tmp_path / "run" / "events.out.tfevents.1.host"
    other.parent.mkdir()
    for suffix in ("", ".2.hparams", ".asc_tf.hparams"):
        other.with_name(other.name + suffix).write_bytes(b"")
    names = []
    for epochs, loss in ((3, 2.0), (5, 1.0)):
        write_hparams(other.parent, {"epochs": epochs}, {"loss": loss})
        (path,) = other.parent.glob("*.hparams")
        names.append(path.name)
    # A TensorBoard that is open reads no name that sorts before the last one.
    assert names == sorted(set(names))
    run = read_table(tmp_path)["run"]
    assert run.settings == {"epochs": 5}
    assert run.scores == {("", "loss"): 1.0}
    assert other.exists()


def test_a_setting_that_the_table_cannot_hold_is_refused(tmp_path):
    with pytest.raises(TypeError, match="filters"):
        write_hparams(tmp_path, {"filters": (1, 2)}, {})
    assert not any(tmp_path.iterdir())


def test_the_main_settings_of_a_run_are_numbers_texts_and_bools(tmp_path):
    config = tiny.config(tmp_path, model__dropout=0.5)
    values = select_hparams(config)
    assert values["model.filters"] == "8,16"
    assert values["model.dropout"] == 0.5
    assert values["augment.mixup_alpha"] == 0.3
    assert {type(each) for each in values.values()} <= {str, int, float, bool}
    assert values.keys() == select_hparams(Config()).keys()
    assert select_hparams(Config())["model.filters"] == "24,48,96,144"
