import csv
import json
import subprocess
import sys

import pytest
import tiny
from pages import Page
from study_runs import begun

from asc_tf import cli
from asc_tf.core.errors import UsageError, UserError
from asc_tf.studies.search_space import make_grid
from asc_tf.studies.sweep import sweep
from asc_tf.workdir import Workdir

RATE, SIZE = "train.learning_rate", "train.batch_size"
GRID = {RATE: [0.01, 0.02], SIZE: [4, 8]}


def read_rows(root):
    with (root / "leaderboard.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture
def config(corpus):
    return tiny.config(corpus)


@pytest.fixture
def config_file(config, tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(config.to_toml())
    return path


def test_points_are_ranked_by_the_validation_split(config_file, tmp_path, fake, capsys):
    root = tmp_path / "grid"
    words = [
        *("sweep", str(config_file), f"--workdir={root}"),
        *("--grid=train.learning_rate=0.01,0.02", "--grid=train.batch_size=4,8"),
    ]
    assert cli.main([*words, "--rank_by=log_loss"]) == 0
    out = capsys.readouterr().out
    rows = read_rows(root)
    losses = []
    for row in rows:
        result = json.loads((root / row["point"] / "result.json").read_bytes())
        assert result["score"] == "validation"
        losses.append(result["scores"]["log_loss"])
        assert float(row["log_loss"]) == losses[-1]
        run = Workdir(root / row["point"]).config()
        assert (float(row[RATE]), int(row[SIZE])) == (
            run.train.learning_rate,
            run.train.batch_size,
        )
        assert not (root / row["point"] / "report").exists()
    assert losses == sorted(losses) and len(losses) == 4
    assert f"Next: asc-tf evaluate {root}/{rows[0]['point']}\n" in out
    page = Page((root / "leaderboard.html").read_text(encoding="utf-8"))
    page.check_harmless()
    assert len(page.all("img")) == 1
    shown = page.section("Leaderboard").rows()
    assert [row[0] for row in shown[1:]] == [row["point"] for row in rows]
    # The same sweep again trains nothing, and may rank by another score.
    assert cli.main(words) == 0
    assert "4 of 4 runs are finished already" in capsys.readouterr().out
    accuracies = [float(row["accuracy"]) for row in read_rows(root)]
    assert accuracies == sorted(accuracies, reverse=True)


def test_a_study_file_without_its_keys_is_named(config, tmp_path, fake):
    root = tmp_path / "grid"
    sweep(config, make_grid({RATE: [0.01]}), root)
    content = json.loads((root / "study.json").read_text())
    del content["keys"]
    (root / "study.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"study\.json: cannot be read \(no keys"):
        sweep(config, make_grid({RATE: [0.01]}), root)


def test_more_values_extend_a_sweep_and_another_base_is_refused(config, tmp_path, fake):
    root = tmp_path / "grid"
    sweep(config, make_grid({RATE: [0.01]}), root)
    sweep(config, make_grid({RATE: [0.02, 0.01]}), root)
    assert begun(root) == ["learning_rate=0.01", "learning_rate=0.02"]
    sweep(config, make_grid({RATE: [0.03]}), root)
    assert len(read_rows(root)) == 3
    with pytest.raises(UsageError, match=r"epochs is 3 in the study and 9 in"):
        sweep(config.replace({"train.epochs": 9}), make_grid({RATE: [0.01]}), root)
    with pytest.raises(UsageError, match=r"holds a sweep of train.learning_rate, and"):
        sweep(config, make_grid({SIZE: [4]}), root)
    # The base's own value of a key that is varied does not matter.
    sweep(config.replace({RATE: 0.5}), make_grid({RATE: [0.01]}), root)


def test_a_failed_point_is_missing_in_the_leaderboard(
    config_file, tmp_path, fake, monkeypatch, capsys
):
    root = tmp_path / "grid"
    monkeypatch.setenv("BEHAVIOUR", '{"batch_size=4": "fail"}')
    words = ["sweep", str(config_file), "--grid=train.batch_size=4,8"]
    assert cli.main([*words, f"--workdir={root}"]) == 1
    captured = capsys.readouterr()
    assert "PARTIAL: missing batch_size=4\n" in captured.out
    assert captured.err.startswith("asc-tf sweep: batch_size=4 failed: ")
    assert [row["point"] for row in read_rows(root)] == ["batch_size=8"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to vary: give --grid=KEY=VALUES or --random=KEY=RANGE"),
        (
            ["--grid=train.seed=1,2", "--random=train.seed=1..9"],
            "--grid and --random are both given",
        ),
        (["--random=train.seed=1..9"], "--trials is missing"),
        (["--grid=train.seed=1,2", "--trials=3"], "--trials: has no effect without"),
        (
            ["--grid=train.seed=1,2", "--train.seed=3"],
            "--train.seed=3: the sweep varies train.seed",
        ),
        (
            ["--grid=train.jit_compile=false,true"],
            "jit_compile=true: train.jit_compile = true: ",
        ),
        (
            ["--grid=train.seed=1,2", "--dataset.validation=none", "--train.keep=last"],
            "seed=1: dataset.validation = none: a sweep is judged by the validation",
        ),
        (
            ["--grid=dataset.validation=split,none", "--train.keep=last"],
            "validation=none: dataset.validation = none: a sweep is judged by",
        ),
    ],
)
def test_a_sweep_that_cannot_be_trained_is_refused_at_once(
    config_file, tmp_path, fake, capsys, words, message
):
    root = tmp_path / "grid"
    assert cli.main(["sweep", str(config_file), f"--workdir={root}", *words]) == 2
    assert capsys.readouterr().err.startswith(f"asc-tf sweep: {message}")
    assert not root.exists()


def test_a_study_file_is_swept_and_flags_change_it(config_file, tmp_path, fake):
    study = tmp_path / "study.toml"
    study.write_text(
        'study = "sweep"\nbase = "config.toml"\ntrials = 3\n'
        '[random.train]\nlearning_rate = "log:1e-4..1e-1"\nbatch_size = [4, 8]\n'
    )
    root = tmp_path / "random"
    words = ["sweep", f"--config={study}", f"--workdir={root}", "--train.epochs=5"]
    assert cli.main(words) == 0
    rows = read_rows(root)
    assert len(rows) == 3
    assert {Workdir(root / row["point"]).config().train.epochs for row in rows} == {5}
    assert cli.main([*words, "--trials=4"]) == 0
    assert len(read_rows(root)) == 4 and len(begun(root)) == 4


def test_tensorboard_shows_the_points_in_its_hparams_tab(config, tmp_path, fake):
    from tensorboard import context
    from tensorboard.backend.event_processing import (
        data_provider,
        plugin_event_multiplexer,
    )
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.hparams import (
        api_pb2,
        backend_context,
        list_session_groups,
    )

    root = tmp_path / "grid"
    sweep(config, make_grid(GRID), root)
    events = plugin_event_multiplexer.EventMultiplexer()
    events.AddRunsFromDirectory(str(root)).Reload()
    provider = data_provider.MultiplexerDataProvider(events, str(root))
    backend = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    request = api_pb2.ListSessionGroupsRequest(
        allowed_statuses=[api_pb2.STATUS_SUCCESS], start_index=0, slice_size=10
    )
    handler = list_session_groups.Handler(
        context.RequestContext(), backend, "", request
    )
    found = handler.run().session_groups
    groups = {group.name: group for group in found}
    rows = read_rows(root)
    # The training of each point has written a session, too.
    assert sorted(group.name for group in found) == sorted(r["point"] for r in rows)
    assert all(len(group.sessions) == 1 for group in found)
    for row in rows:
        group = groups[row["point"]]
        values = {key: value.number_value for key, value in group.hparams.items()}
        assert values == {RATE: float(row[RATE]), SIZE: float(row[SIZE])}
        (loss,) = (
            each.value
            for each in group.metric_values
            if each.name.tag == "validation/log_loss"
        )
        assert loss == pytest.approx(float(row["log_loss"]))


def test_the_order_of_the_keys_does_not_matter(config, tmp_path, fake):
    root = tmp_path / "grid"
    sweep(config, make_grid(GRID), root)
    first = begun(root)
    swapped = {SIZE: [4, 8, 16], RATE: [0.01]}
    sweep(config, make_grid(swapped), root)
    assert begun(root) == [*first, "learning_rate=0.01_batch_size=16"]
    assert len(read_rows(root)) == 5


def test_the_base_needs_no_validation_split_if_the_points_have_one(
    config, tmp_path, fake
):
    base = config.replace({"dataset.validation": "none", "train.keep": "last"})
    sweep(base, make_grid({"dataset.validation": ["split"]}), tmp_path / "grid")
    assert begun(tmp_path / "grid") == ["validation=split"]


def test_each_leaky_point_is_marked_wherever_it_is_shown(
    config, tmp_path, fake, capsys
):
    path, root = tmp_path / "config.toml", tmp_path / "grid"
    path.write_text(config.replace({"dataset.allow_leaky": True}).to_toml())
    words = [str(path), f"--workdir={root}", "--grid=dataset.protocol=official,random"]
    assert cli.main(["sweep", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("[1/2] protocol=official: ") and "LEAKY" not in lines[0]
    assert "% (LEAKY protocol), " in lines[1]
    shown = [line for line in lines[2:] if line.endswith("LEAKY")]
    assert len(shown) == 1 and "protocol=random" in shown[0]
    leaky = {row["point"]: row["leaky"] for row in read_rows(root)}
    assert leaky == {"protocol=official": "False", "protocol=random": "True"}
    page = Page((root / "leaderboard.html").read_text(encoding="utf-8"))
    banner = page.one("p", "banner").text
    assert banner.startswith("LEAKY protocol. protocol=random: Clips of one recording")


def test_a_sweep_needs_no_tensorflow_in_its_own_process():
    code = "import sys, asc_tf.studies.sweep; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
