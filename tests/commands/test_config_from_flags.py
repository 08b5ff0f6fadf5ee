"""The configuration that flags, files and run folders make together."""

from pathlib import Path

import pytest

from asc_tf import cli, config
from asc_tf.command_line import arguments
from asc_tf.commands import train
from asc_tf.commands.config_from_flags import make_places_absolute, resolve
from asc_tf.config import Config
from asc_tf.core.errors import UsageError


def resolved(*words):
    values = train.COMMAND.flag_values()
    arguments.parse(values, words)
    return resolve(values)


def test_flags_go_before_the_file_and_the_file_before_the_defaults(tmp_path):
    path = tmp_path / "experiment.toml"
    path.write_text(
        "[train]\nepochs = 7\nbatch_size = 9\n[augment]\ntime_roll = true\n",
        encoding="utf-8",
    )
    wanted = {
        "train.epochs": 5,
        "train.batch_size": 9,
        "dataset.dir": str(tmp_path.resolve() / "y"),
    }
    assert resolved(
        f"--config={path}",
        "--train.epochs=5",
        "--noaugment.time_roll",
        f"--dataset.dir={tmp_path}/x/../y",
    ) == Config().replace(wanted)


def test_without_a_file_the_flags_change_the_defaults():
    wanted = {"dataset.name": "esc10", "train.epochs": 5}
    words = [f"--{key}={value}" for key, value in wanted.items()]
    assert resolved(*words) == Config().replace(wanted)


def test_folders_and_a_file_of_weights_are_made_absolute():
    places = {"dataset.dir": "D", "augment.noise_dir": "", "train.epochs": 3}
    wanted = places | {"dataset.dir": str(Path("D").resolve())}
    assert make_places_absolute(places) == wanted
    for weights, absolute in (("w.h5", str(Path("w.h5").resolve())), ("none", "none")):
        config = resolved("--dataset.dir=D", f"--model.weights={weights}")
        assert config.model.weights == absolute


def test_synthetic_scenes_go_to_a_cache_where_no_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def folder(*words):
        return Path(resolved(*words).dataset.dir).relative_to(tmp_path.resolve())

    sizes = ("--dataset.locations=5", "--dataset.takes=3")
    assert folder(*sizes) == Path("asc_tf/scenes-5x3-4s-seed0")
    assert folder(*sizes, "--dataset.seconds=2.5").name == "scenes-5x3-2.5s-seed0"
    assert folder("--dataset.seconds=4.0000001") != folder()
    assert folder("--dataset.seed=1") != folder()


def test_a_user_without_a_home_folder_must_name_that_of_synthetic_scenes(monkeypatch):
    def refuse(*_):
        raise KeyError("no such user")

    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pytest.importorskip("pwd"), "getpwuid", refuse)
    with pytest.raises(UsageError, match=r"dataset\.dir is missing, and so is a home"):
        resolved()


def test_the_next_command_after_training_can_be_copied_into_a_shell(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(train, "train", lambda *_, **__: None)
    folder = tmp_path / "my run"
    assert cli.main(["train", f"--workdir={folder}"]) == 0
    assert f"Next: asc-tf evaluate '--workdir={folder}'\n" in capsys.readouterr().out


def test_a_shipped_configuration_is_taken_by_its_name():
    assert resolved("--config=esc10_small") == config.read(config.find("esc10_small"))


def test_flags_that_do_not_fit_the_file_are_refused(tmp_path):
    path = tmp_path / "experiment.toml"
    path.write_text("[audio]\nsample_rate = 8000\n", encoding="utf-8")
    with pytest.raises(UsageError, match="4000 Hz"):
        resolved(f"--config={path}", "--frontend.fmax=5000")


def test_a_mistyped_run_folder_is_named_before_the_flag_it_would_have_given(
    tmp_path, monkeypatch, capsys
):
    (tmp_path / "esc10").mkdir()
    (tmp_path / "esc10" / "config.toml").touch()
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "esc1"]) == 2
    message = capsys.readouterr().err
    assert "--config=esc1: no such file" in message
    assert "did you mean esc10?" in message
