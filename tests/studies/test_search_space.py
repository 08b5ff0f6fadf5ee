import numpy as np
import pytest
from sklearn.model_selection import ParameterGrid

from asc_tf import config
from asc_tf.config.checks import check_training, find_unused_settings
from asc_tf.core.errors import UsageError
from asc_tf.studies.search_space import (
    draw_points,
    make_grid,
    name_point,
    parse_assignments,
    parse_distribution,
    parse_values,
)
from asc_tf.studies.study_file import find_study, read_study

RATE = "train.learning_rate"


def test_a_grid_has_every_combination_in_the_order_given():
    space = {RATE: [0.05, 0.01], "train.batch_size": [16, 8]}
    points = make_grid(space)
    assert points == [
        {RATE: rate, "train.batch_size": size}
        for rate in (0.05, 0.01)
        for size in (16, 8)
    ]
    assert len(points) == len(ParameterGrid(space))


def test_values_have_the_type_of_their_field():
    assert parse_values("train.batch_size", "8, 16") == [8, 16]
    assert parse_values(RATE, "1e-3,1") == [0.001, 1.0]
    assert parse_values("augment.time_roll", "true,false") == [True, False]
    assert parse_values("model.filters", "8,16/16,32") == [(8, 16), (16, 32)]
    assert parse_values("model.filters", [[8], [16, 32]]) == [(8,), (16, 32)]


@pytest.mark.parametrize(
    ("key", "given", "message"),
    [
        ("train.batch_size", "8,x", "train.batch_size = 'x': must be a whole number"),
        ("train.batch_size", "8,8", "train.batch_size: the value 8 is given twice"),
        ("train.batch_size", "0", "train.batch_size = 0: must be at least 1"),
        ("train.batch_size", [], "must be a list of at least one value"),
        ("train.batch_size", 8, "must be a list of at least one value"),
    ],
)
def test_a_wrong_value_of_a_grid_is_refused(key, given, message):
    with pytest.raises(UsageError, match=message):
        parse_values(key, given)


@pytest.mark.parametrize(
    ("key", "given", "message"),
    [
        (RATE, "0.1..0.01", "the range must begin below its end"),
        (RATE, "0.01..", r"must be a range LOW..HIGH or log:LOW..HIGH"),
        (RATE, "a..b", "train.learning_rate = 'a': must be a finite number"),
        ("augment.mixup_alpha", "log:0..1", "a log range must begin above 0"),
        ("model.name", "a..b", "must be one of"),
        ("train.batch_size", "1.5..3", "train.batch_size = '1.5'"),
    ],
)
def test_a_wrong_range_is_refused(key, given, message):
    with pytest.raises(UsageError, match=message):
        parse_distribution(key, given)


def test_draws_are_in_their_range_and_uniform_in_what_was_asked_for():
    space = {
        RATE: parse_distribution(RATE, "log:1.5e-4..1e-1"),
        "model.dropout": parse_distribution("model.dropout", "0.1..0.5"),
        "train.batch_size": parse_distribution("train.batch_size", "log:4..64"),
        "train.epochs": parse_distribution("train.epochs", "3..5"),
    }
    points = draw_points(space, 2000, seed=0)
    rates, dropouts, sizes, epochs = (
        np.array([point[key] for point in points]) for key in space
    )
    assert 1.5e-4 <= rates.min() < 1.6e-4 and 0.098 < rates.max() <= 0.1
    # The median of a log-uniform distribution is the geometric mean of its ends.
    assert np.median(rates) == pytest.approx(np.sqrt(1.5e-4 * 1e-1), rel=0.15)
    assert np.median(dropouts) == pytest.approx(0.3, abs=0.015)
    assert (sizes.min(), sizes.max()) == (4, 64)
    assert np.median(sizes) == pytest.approx(16, abs=1.5)
    assert {int(n) for n in np.unique(epochs)} == {3, 4, 5}
    # A name shows the value itself.
    assert all(float(f"{rate:.3g}") == rate for rate in rates)
    assert all(type(point["train.batch_size"]) is int for point in points)


@pytest.mark.parametrize("size", ["8..64", "8,16,32"])
def test_the_same_seed_draws_the_same_and_more_trials_begin_alike(size):
    key = "train.batch_size"
    space = {key: parse_distribution(key, size)}
    if ".." not in size:
        space[RATE] = parse_distribution(RATE, "0.1,0.2")
    few, many = draw_points(space, 3, seed=4), draw_points(space, 6, seed=4)
    assert many[: len(few)] == few
    assert draw_points(space, 6, seed=4) == many
    assert draw_points(space, 6, seed=5) != many
    # No point is trained twice.
    assert len({name_point(point) for point in many}) == len(many)


@pytest.mark.parametrize("given", ["log:0.001234..0.0013", "0.001234..0.001241"])
def test_a_rounded_number_does_not_leave_its_range(given):
    points = draw_points({RATE: parse_distribution(RATE, given)}, 200, seed=0)
    low, high = map(float, given.removeprefix("log:").split(".."))
    assert all(low <= point[RATE] <= high for point in points)


def test_listed_values_are_drawn_as_they_are():
    space = {
        RATE: parse_distribution(RATE, "0.0012345,0.0012349"),
        "model.init_from": parse_distribution("model.init_from", "../runs/a,../b"),
    }
    points = draw_points(space, 4, seed=0)
    assert {point[RATE] for point in points} == {0.0012345, 0.0012349}
    assert {point["model.init_from"] for point in points} == {"../runs/a", "../b"}


def test_a_point_is_named_by_its_values():
    point = {RATE: 0.005, "train.batch_size": 8, "augment.time_roll": True}
    assert name_point(point) == "learning_rate=0.005_batch_size=8_time_roll=true"
    assert name_point({"model.filters": (8, 16)}) == "filters=8-16"
    assert name_point({"train.seed": 1, "dataset.seed": 2}) == (
        "train.seed=1_dataset.seed=2"
    )
    # Values that look alike as a folder's name have folders of their own.
    places = ("/a/b c", "/a/b-c", "-a-b-c")
    alike = [name_point({"augment.noise_dir": place}) for place in places]
    assert alike[2] == "noise_dir=-a-b-c"
    assert len(set(alike)) == 3
    assert all(name.startswith("noise_dir=-a-b-c") for name in alike)
    close = [name_point({RATE: value}) for value in (0.12345678, 0.12345679)]
    assert close[0] != close[1]
    long = [{"dataset.identifier_pattern": 120 * "a" + end} for end in "ab"]
    names = [name_point(point) for point in long]
    assert names[0] != names[1] and max(map(len, names)) < 120


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train.batch_size", "write --grid=KEY=VALUES"),
        ("train.batch_size=", "write --grid=KEY=VALUES"),
        ("batch_size=8", "batch_size: unknown key; did you mean train.batch_size"),
        ("export.formats=int8", "export.formats: has no effect in validation"),
        ("tensorboard.examples=1", "has no effect in validation"),
        ("evaluate.calibrate=true,false", "has no effect in validation"),
        ("evaluate.false_accept_rate=0.1", "has no effect in validation"),
        ("dataset.fold=1,2", "asc-tf crossval trains all folds"),
        ("dataset.seed=1,2", "changes the validation clips"),
        ("dataset.validation_share=0.1,0.3", "changes the validation clips"),
    ],
)
def test_a_flag_that_is_no_assignment_is_refused(text, message):
    with pytest.raises(UsageError, match=message):
        parse_assignments("grid", [text])
    with pytest.raises(UsageError, match=r"train.seed is given twice"):
        parse_assignments("grid", ["train.seed=1", "train.seed=2"])


@pytest.mark.parametrize("name", config.shipped_studies())
def test_every_shipped_study_is_found_and_its_points_are_valid(name):
    path = config.shipped_studies()[name]
    assert find_study(name) == find_study(f"studies/{name}") == path
    assert find_study(str(path)) == path
    assert name not in config.shipped()
    command = config.read_tables(path)["study"]
    study = read_study(path, command)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert f"asc-tf {command} --config={name} " in text
    for base in study.points.values():
        for point in make_grid(study.grid) if study.grid else [{}]:
            resolved = base.replace(point)
            check_training(resolved)
            assert find_unused_settings(resolved) == []
            if command == "sweep":
                assert "validation" in resolved.dataset.training_splits


def test_the_shipped_studies_are_those_of_the_publications():
    esa3 = read_study(find_study("esa3_strategies"), "crossval")
    assert len(esa3.points) == 8 and esa3.seeds == 3
    for name, point in esa3.points.items():
        network, _, strategy = name.partition("_")
        shipped = f"esa3_{network}" + f"_{strategy}" * (strategy != "plain")
        assert point == config.read(config.find(shipped))
    grid = read_study(find_study("us8k_inception_grid"), "sweep").grid
    assert grid == {RATE: [0.005, 0.01, 0.05], "train.batch_size": [50, 100, 200]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('study = ["x"]', r"study = \['x'\]: must be crossval or sweep"),
        ('study = "train"', "study = 'train': must be crossval or sweep"),
        ('study = "crossval"', "a study for asc-tf crossval, not for asc-tf sweep"),
        ('study = "sweep"', r"needs a table \[grid\] or a table \[random\]"),
        ('study = "sweep"\nseeds = 3\n[grid]', "seeds: only in a study for asc-tf cr"),
        ('study = "sweep"\n[grid.train]\nepoch = [1]', "epoch: unknown key"),
        ('study = "sweep"\n[grid.train]\nepochs = [0]', "must be at least 1"),
        ('study = "sweep"\ntrials = 0\n[random.train]\nseed = "1..9"', "trials = 0"),
        ('study = "sweep"\ntrials = 3\n[grid.train]\nseed = [1]', "trials: needs a ta"),
        ('study = "sweep"\nbase = "no"\n[grid.train]\nseed = [1]', "no such file"),
        ('study = "sweep"\nbases = 1\n[grid.train]\nseed = [1]', "bases: unknown sec"),
    ],
)
def test_a_wrong_study_file_is_refused(tmp_path, text, message):
    path = tmp_path / "study.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_study(path, "sweep")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("folds = []", r"folds = \[\]: must be a list of whole numbers"),
        ("seeds = true", "seeds = True: must be a whole number above 0"),
        ("points = 3", "points: must be tables"),
        ("train = 5\n[points.a.train]", "points.a: .*train = 5: must be a table"),
        ("[points]\nreport = {}", "this name is that of a folder of a study"),
        ('[points]\n"a/b" = {}', "a name has letters"),
        ("[points.a.train]\nepochs = 0", "points.a: .*train.epochs = 0"),
    ],
)
def test_a_wrong_study_of_points_is_refused(tmp_path, text, message):
    path = tmp_path / "study.toml"
    path.write_text(f'study = "crossval"\n{text}')
    with pytest.raises(UsageError, match=message):
        read_study(path, "crossval")


def test_a_study_file_is_no_configuration(tmp_path):
    with pytest.raises(UsageError, match="asc-tf crossval --config=us8k_folds runs it"):
        config.find("us8k_folds")
    path = tmp_path / "mine.toml"
    path.write_text('study = "sweep"\n[grid.train]\nseed = [1, 2]')
    with pytest.raises(UsageError, match="a study of several runs, not a config"):
        config.read(path)
