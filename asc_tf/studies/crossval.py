"""Cross-validation: every fold of a corpus with every seed, and their pooled report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asc_tf import datasets
from asc_tf.config import Config
from asc_tf.config.checks import check_training
from asc_tf.core.errors import UsageError, UserError
from asc_tf.core.files import write_json
from asc_tf.studies.folder import (
    FILE,
    RUN_KEYS,
    check_folder,
    check_same_settings,
    lock_study,
    select_settings,
)
from asc_tf.studies.pooling import Cell, name_cell, write_pooled_report
from asc_tf.studies.runner import StudyRun, run_all
from asc_tf.workdir import Workdir


def crossval(
    points: Mapping[str, Config],
    root: Path,
    *,
    folds: Sequence[int] | None = None,
    seeds: int = 1,
    jobs: int = 1,
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Train and evaluate every fold with every seed, and pool their test clips.

    Finished runs are kept, so that more folds or seeds extend an earlier call, and a
    call that was killed continues.

    Args:
        points: Configurations by name; the single name "" for one configuration, whose
            runs are in `root` itself. The runs of others are in folders of their names.
        root: Folder of the study.
        folds: Folds to train; None for all.
        seeds: Number of seeds, from `train.seed` of each configuration on.
        jobs: Largest number of runs at a time.

    Returns:
        Content of report.json by point, without points that have no finished run; and
        reasons of failed runs by name.

    Raises:
        UsageError: If the folder holds something else, a fold does not exist, or a
            corpus has no folds and there is a single seed.
        UserError: If the corpus is refused, or another process works in the folder.
    """
    check_folder(root, "crossval")
    cells = {
        name: plan_cells(name, config, root, folds, seeds)
        for name, config in points.items()
    }
    with lock_study(root, "crossval"):
        _record(points, root)
        runs = [cell.run for planned in cells.values() for cell in planned]
        failures = run_all(
            runs, jobs=jobs, score="test", siblings=[run.workdir.path for run in runs]
        )
        reports = {}
        for name, asked in cells.items():
            folder = root / name
            if report := write_pooled_report(folder, _add_finished(asked, folder)):
                reports[name] = report
    return reports, failures


def plan_cells(
    name: str, config: Config, root: Path, folds: Sequence[int] | None, seeds: int
) -> list[Cell]:
    """List the runs of a point: every fold with every seed.

    Raises:
        UserError: If the corpus is refused, or has other folds.
    """
    check_training(config)
    chosen = choose_folds(config, folds)
    if chosen == [None] and seeds < 2:
        raise UsageError(_explain_no_folds(config))
    first = config.train.seed
    return [
        make_cell(name, config, root, fold, seed)
        for fold in chosen
        for seed in range(first, first + seeds)
    ]


def make_cell(
    point: str, config: Config, root: Path, fold: int | None, seed: int
) -> Cell:
    """Make the run of a fold and a seed."""
    name = name_cell(fold, seed)
    changes: dict[str, Any] = {"train.seed": seed}
    if fold is not None:
        changes["dataset.fold"] = fold
    if not config.audio.cache_dir and point:
        # All points share the decoded clips.
        changes["audio.cache_dir"] = str((root / "audio_cache").resolve())
    workdir = Workdir(root / point / name)
    shown = f"{point}/{name}" if point else name
    return Cell(fold, seed, StudyRun(shown, workdir, config.replace(changes)))


def choose_folds(config: Config, wanted: Sequence[int] | None) -> list[int | None]:
    """Choose the folds to train; `[None]` where the corpus has none.

    Raises:
        UserError: If a fold does not exist or the corpus is refused.
    """
    if config.dataset.features:
        if wanted:
            raise UsageError(
                "--folds: dataset.features holds the features of one fold; leave "
                "--folds out and give --seeds, or train from audio"
            )
        return [None]
    manifest = datasets.load(config.dataset)
    if any(not clip.label for clip in manifest.clips):
        raise UsageError(
            "the test clips of this corpus have no labels, so folds have no scores; "
            "train each fold with asc-tf train, then use asc-tf submission"
        )
    known = list(manifest.protocol.get("folds", ()))
    if not known:
        if wanted:
            raise UsageError(f"--folds: {_explain_no_folds(config)}")
        return [None]
    usable = datasets.usable_folds(manifest, config.dataset)
    if wanted:
        if strange := [fold for fold in wanted if fold not in known]:
            shown = ", ".join(map(str, known))
            raise UsageError(f"--folds: {strange[0]} is none of the folds {shown}")
        if empty := [fold for fold in wanted if fold not in usable]:
            raise UsageError(
                f"--folds: fold {empty[0]} has a split without files below "
                f"dataset.dir = {config.dataset.dir}"
            )
        return [fold for fold in known if fold in wanted]
    if not usable:
        raise UsageError(
            f"dataset.dir = {config.dataset.dir}: every fold has a split without files"
        )
    if lost := sorted({*known} - {*usable}):
        shown = ", ".join(map(str, lost))
        if len(lost) == 1:
            print(f"Fold {shown} is left out: one of its splits has no files")
        else:
            print(f"Folds {shown} are left out: one of the splits of each has no files")
    return [*usable]


def _explain_no_folds(config: Config) -> str:
    if config.dataset.features:
        return (
            "dataset.features holds the features of one fold: give --seeds=3, which "
            "trains it with three seeds, or train all folds from audio"
        )
    name = config.dataset.name
    remedy = "--seeds=3 trains its one split with three seeds"
    protocols = datasets.PROTOCOLS.get(name, ())
    if made := [each for each in protocols if each.endswith("kfold")]:
        remedy += f"; --dataset.protocol={made[-1]} makes --dataset.folds=5 folds"
    return (
        f"dataset.name = {name} has no folds under dataset.protocol = "
        f"{config.dataset.protocol}: {remedy}"
    )


def _record(points: Mapping[str, Config], root: Path) -> None:
    """Write study.json, or check that the folder has the same points.

    Raises:
        UsageError: If a point has another configuration there.
    """
    # Read again, under the lock.
    content = check_folder(root, "crossval") or {"command": "crossval", "points": {}}
    there = content["points"]
    here = {name: select_settings(each, RUN_KEYS) for name, each in points.items()}
    if there and ("" in there) != ("" in here):
        shown = ", ".join(there) if "" in here else "no points"
        raise UsageError(
            f"--workdir={root}: holds a study with {shown}; name a new folder"
        )
    for name in here.keys() & there.keys():
        check_same_settings(root, name, there[name], here[name])
    write_json(root / FILE, {"command": "crossval", "points": there | here})


def _add_finished(asked: Sequence[Cell], folder: Path) -> list[Cell]:
    """Add the finished runs of earlier calls with other folds or seeds."""
    cells = {cell.name: cell for cell in asked}
    has_folds = asked[0].fold is not None
    for path in sorted(folder.glob("*seed*/config.toml")):
        workdir = Workdir(path.parent)
        if workdir.path.name in cells:
            continue
        try:
            config = workdir.config()
        except UserError as error:
            print(f"{workdir.path.name} is left out of the report: {error}")
            continue
        fold = config.dataset.fold if has_folds else None
        run = StudyRun(workdir.path.name, workdir, config)
        cell = Cell(fold, config.train.seed, run)
        if cell.name == run.name and run.read_result("test"):
            cells[cell.name] = cell
    return [*cells.values()]
