import dataclasses
import json
import os
import platform
import subprocess
import sys
from importlib import metadata

import numpy as np
import pytest
from refusals import refusal

from asc_tf import __version__, workdir
from asc_tf.config import Config
from asc_tf.core import environment
from asc_tf.core.environment import describe_environment
from asc_tf.core.errors import UsageError, UserError
from asc_tf.manifest import Clip, Manifest
from asc_tf.workdir import Workdir

CONFIG = Config().replace(
    {"dataset.seed": 11, "train.seed": 12, "model.filters": (8, 16)}
)
MANIFEST = Manifest(
    clips=(
        Clip("a.wav", "métro", "a", fold=1, split="train", peak=0.1),
        Clip("b.wav", 'rue, "d\'en bas"', "b", split="test", reason="silent"),
    ),
    labels=('rue, "d\'en bas"', "métro"),
    protocol={"corpus": "csv", "fold": None, "leaky": False},
)


@pytest.fixture
def run(tmp_path):
    """A run folder that has begun."""
    found = Workdir(tmp_path / "runs" / "first")
    found.begin(CONFIG, MANIFEST)
    return found


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_describes_a_run_reads_back_equal(run):
    assert run.config() == CONFIG
    assert run.manifest() == MANIFEST
    assert run.labels() == MANIFEST.labels


def test_a_run_that_begins_has_the_files_of_the_contract_and_no_others(run):
    assert names(run.path) == [
        *("config.toml", "environment.json", "labels.txt", "manifest.csv"),
        "protocol.json",
    ]


def test_the_names_in_a_run_folder_are_those_of_the_contract(tmp_path):
    run = Workdir(tmp_path)
    found = [
        path.relative_to(tmp_path).as_posix()
        for path in (
            *(run.config_file, run.labels_file, run.manifest_file, run.history_file),
            *(run.model_file, run.checkpoint_file.parent, run.report),
        )
    ]
    assert found == [
        *("config.toml", "labels.txt", "manifest.csv", "history.csv", "model.keras"),
        *("checkpoints", "report"),
    ]


def test_labels_are_one_a_line_in_class_order(run):
    assert run.labels_file.read_text(encoding="utf-8") == 'rue, "d\'en bas"\nmétro\n'


def test_the_environment_says_versions_machine_command_revision_and_seeds(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "argv", ["asc-tf", "train", "--dataset.dir=caf\udce9"])
    run = Workdir(tmp_path)
    run.begin(CONFIG, MANIFEST)
    found = json.loads((run.path / "environment.json").read_text(encoding="utf-8"))
    assert found["seeds"] == {"train": 12, "dataset": 11}
    assert found["command"] == sys.argv
    assert found["python"] == platform.python_version()
    assert found["packages"]["asc-tf"] == metadata.version("asc-tf") == __version__
    assert found["packages"]["numpy"] == metadata.version("numpy")
    assert {"tensorflow", "keras", "tensorflow-io"} <= set(found["packages"])
    assert found["machine"] == {
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
    }
    assert "git_revision" in found


def test_a_run_that_goes_on_keeps_how_it_began_and_lists_its_later_sessions(
    run, monkeypatch
):
    def read():
        return json.loads(run.environment_file.read_text(encoding="utf-8"))

    first = read()
    assert "sessions" not in first
    monkeypatch.setattr(environment, "PACKAGES", ("numpy",))
    for number in (1, 2):
        monkeypatch.setattr(sys, "argv", ["asc-tf", "train", f"--{number}"])
        run.begin(CONFIG, MANIFEST)
    found = read()
    sessions = found.pop("sessions")
    assert found == first
    assert [each["command"][-1] for each in sessions] == ["--1", "--2"]
    assert [each["epochs_done"] for each in sessions] == [0, 0]
    assert sessions[0]["packages"] == {"numpy": metadata.version("numpy")}
    assert {"python", "machine", "git_revision"} < set(sessions[0])


def test_a_run_that_goes_on_keeps_what_is_known_of_its_test_clips(run):
    scanned = MANIFEST.clips[1]
    bare = dataclasses.replace(scanned, reason="")
    run.begin(CONFIG, dataclasses.replace(MANIFEST, clips=(MANIFEST.clips[0], bare)))
    assert run.manifest() == MANIFEST
    # Another row is another clip.
    other = dataclasses.replace(bare, label="métro")
    changed = dataclasses.replace(MANIFEST, clips=(MANIFEST.clips[0], other))
    run.begin(CONFIG, changed)
    assert run.manifest() == changed


@pytest.mark.parametrize("key", ["augment.noise_dir", "augment.impulse_dir"])
def test_a_run_goes_on_with_the_sounds_it_began_with_wherever_they_are(tmp_path, key):
    changes = {"augment.noise": "folder"} if key == "augment.noise_dir" else {}
    for name in ("first", "moved", "other"):
        (tmp_path / name / "street").mkdir(parents=True)
        (tmp_path / name / "street" / "a.wav").write_bytes(b"x" * 10)

    def configure(name):
        return CONFIG.replace(changes | {key: str(tmp_path / name)})

    (tmp_path / "moved" / ".DS_Store").touch()
    (tmp_path / "moved" / "street" / "Thumbs.db").touch()
    (tmp_path / "other" / "street" / "a.wav").write_bytes(b"x" * 11)
    run = Workdir(tmp_path / "run")
    run.begin(configure("first"), MANIFEST)
    run.check_config(configure("moved"))
    message = refusal(UsageError, run.check_config, configure("other"))
    assert message.startswith(f"{key} = {tmp_path / 'other'}: not the files that")
    # Each epoch draws from the list of files, so that a new one changes every draw.
    (tmp_path / "first" / "far").symlink_to(tmp_path / "other")
    assert "not the files" in refusal(UsageError, run.check_config, configure("first"))


def test_a_package_that_is_not_there_has_no_version(monkeypatch):
    monkeypatch.setattr(environment, "PACKAGES", ("numpy", "no-such-package"))
    packages = describe_environment()["packages"]
    assert packages == {"numpy": metadata.version("numpy"), "no-such-package": None}


def test_the_revision_is_that_of_the_checkout_and_says_when_it_was_changed(
    tmp_path, monkeypatch
):
    def git(*words):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        command = ["git", "-C", str(tmp_path), *identity, *words]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    module = tmp_path / "asc_tf" / "core" / "environment.py"
    module.parent.mkdir(parents=True)
    module.touch()
    monkeypatch.setattr(environment, "__file__", str(module))
    assert describe_environment()["git_revision"] is None
    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message=first")
    revision = git("rev-parse", "HEAD")
    assert revision.startswith(describe_environment()["git_revision"])
    module.write_text("# changed\n")
    assert describe_environment()["git_revision"].endswith("-dirty")
    monkeypatch.setenv("PATH", "")
    assert describe_environment()["git_revision"] is None


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_a_new_or_empty_folder_takes_any_configuration(tmp_path, make):
    make(tmp_path / "new")
    Workdir(tmp_path / "new").check_config(CONFIG)


def test_a_folder_with_nothing_but_hidden_files_counts_as_empty(tmp_path):
    (tmp_path / ".DS_Store").touch()
    Workdir(tmp_path).check_config(CONFIG)


def test_the_same_configuration_may_enter_its_run_folder_again(run):
    run.check_config(CONFIG)
    run.begin(CONFIG, MANIFEST)
    assert run.config() == CONFIG


def test_another_configuration_is_refused_naming_the_keys_and_both_values(run):
    other = CONFIG.replace({"train.seed": 13, "model.filters": (8,)})
    message = refusal(UsageError, run.check_config, other)
    assert message.startswith(f"--workdir={run.path}: ")
    assert "train.seed is 12 in the run and 13 in this command" in message
    assert "model.filters is (8, 16) in the run and (8,) in this" in message
    assert "dataset.seed" not in message


def test_a_run_that_has_begun_may_have_more_epochs_patience_and_other_pictures(run):
    longer = CONFIG.replace(
        {"train.epochs": 100, "train.patience": 7, "tensorboard.audio": 0}
    )
    run.check_config(longer)
    assert run.config() == CONFIG
    run.begin(longer, MANIFEST)
    assert run.config() == longer


def test_a_run_is_not_made_shorter_than_it_is(run):
    run.checkpoint_file.parent.mkdir()
    np.savez(run.checkpoint_file, history=json.dumps(3 * [{"epoch": 1}]))
    assert run.epochs_done() == 3
    run.check_config(CONFIG.replace({"train.epochs": 3}))
    shorter = CONFIG.replace({"train.epochs": 2})
    message = refusal(UsageError, run.check_config, shorter)
    assert message.startswith("train.epochs = 2: the run in --workdir=")
    assert "has 3 epochs already; set a larger" in message
    run.checkpoint_file.write_bytes(b"PK")
    assert run.epochs_done() == 0


def test_a_run_killed_before_it_wrote_anything_leaves_a_folder_to_begin_in(tmp_path):
    with Workdir(tmp_path).lock():
        pass
    Workdir(tmp_path).check_config(CONFIG)


def test_the_family_s_own_filters_are_the_same_given_or_not(tmp_path):
    given = CONFIG.replace({"model.filters": (24, 48, 96, 144)})
    folder = Workdir(tmp_path / "named")
    folder.begin(given, MANIFEST)
    folder.check_config(CONFIG.replace({"model.filters": ()}))
    other = CONFIG.replace({"model.filters": (), "model.name": "cp_mobile"})
    assert "model.filters is" in refusal(UsageError, folder.check_config, other)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").touch()
    message = refusal(UsageError, Workdir(tmp_path).check_config, CONFIG)
    assert f"--workdir={tmp_path}: not empty and not a run folder" in message
    assert names(tmp_path) == ["thesis.tex"]


def test_a_file_is_no_run_folder(tmp_path):
    path = tmp_path / "file"
    path.touch()
    message = refusal(UsageError, Workdir(path).check_config, CONFIG)
    assert message == f"--workdir={path}: a file, not a folder"


@pytest.mark.parametrize("done", range(5))
def test_a_run_killed_at_any_moment_of_its_beginning_may_begin_again(
    tmp_path, monkeypatch, done
):
    run = Workdir(tmp_path / "run")
    write_text, written = workdir.write_text, []

    def killed(path, text):
        if len(written) == done:
            raise KeyboardInterrupt
        write_text(path, text)
        written.append(path)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(workdir, "write_text", killed)
        patched.setattr("asc_tf.core.files.write_text", killed)
        run.begin(CONFIG, MANIFEST)
    run.check_config(CONFIG)
    run.begin(CONFIG, MANIFEST)
    assert run.manifest() == MANIFEST


def test_a_folder_without_a_run_says_so(tmp_path):
    message = refusal(UsageError, Workdir(tmp_path).config)
    assert message == f"--workdir={tmp_path}: no run here (no config.toml)"


def test_a_run_without_a_model_says_what_to_do(run):
    message = refusal(UsageError, run.require_model)
    assert message == f"--workdir={run.path}: no model.keras; run asc-tf train first"
    run.model_file.touch()
    assert run.require_model() == run.path / "model.keras"


@pytest.mark.parametrize("name", ["labels.txt", "protocol.json", "manifest.csv"])
@pytest.mark.parametrize("content", [None, b"\xff\xfe\0"])
def test_a_missing_or_damaged_file_of_a_run_is_named(run, name, content):
    (run.path / name).unlink()
    if content is not None:
        (run.path / name).write_bytes(content)
    assert str(run.path / name) in refusal(UserError, run.manifest)


def test_a_damaged_configuration_of_a_run_is_named(run):
    run.config_file.write_text("[train]\nepoch = 3\n", encoding="utf-8")
    message = refusal(UsageError, run.check_config, CONFIG)
    assert message.startswith(f"{run.config_file}: train.epoch: unknown key")


def test_a_second_process_is_kept_out_while_one_trains(tmp_path):
    workdir = Workdir(tmp_path)
    busy = pytest.raises(UserError, match="another process is training here")
    with workdir.lock(), busy, workdir.lock():
        pass
    with workdir.lock():
        pass


def test_a_run_by_steps_may_have_more_steps_but_not_fewer_or_epochs(tmp_path):
    run, by_steps = Workdir(tmp_path / "run"), CONFIG.replace({"train.steps": 100})
    run.begin(by_steps, MANIFEST)
    run.check_config(by_steps.replace({"train.steps": 101}))
    refused = (
        ({"train.steps": 99}, "was started with 100; set a larger"),
        ({"train.steps": 0}, "the length of this run is train.steps"),
    )
    for changes, message in refused:
        with pytest.raises(UsageError, match=message):
            run.check_config(by_steps.replace(changes))


def test_a_run_by_epochs_is_not_made_one_by_steps(tmp_path):
    run = Workdir(tmp_path / "run")
    run.begin(CONFIG, MANIFEST)
    with pytest.raises(UsageError, match=r"the length of this run is train\.epochs"):
        run.check_config(CONFIG.replace({"train.steps": 5}))
