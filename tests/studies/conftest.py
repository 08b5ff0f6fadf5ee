import contextlib
import json
from types import SimpleNamespace

import fake_worker
import pytest
import tiny
from study_runs import FAKE

from asc_tf.studies import runner


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """Nine recordings of two clips for each label; no one decodes the files."""
    folder = tmp_path_factory.mktemp("corpus") / "corpus"
    for label in tiny.LABELS:
        (folder / label).mkdir(parents=True)
        for number in range(9):
            for take in range(2):
                (folder / label / f"{label}{number}-{take}.wav").write_bytes(b"RIFF")
    return folder


@pytest.fixture
def three_folds(corpus):
    """A configuration with three folds."""
    changes = {"dataset__protocol": "grouped_kfold", "dataset__folds": 3}
    return tiny.config(corpus, **changes)


@pytest.fixture
def behave(monkeypatch):
    """Replaces the processes of runs by ones that make up their predictions.

    Returns a function that says how runs behave, by name.
    """
    monkeypatch.setattr(runner, "COMMAND", FAKE)

    def set_behaviour(**behaviours):
        monkeypatch.setenv("BEHAVIOUR", json.dumps(behaviours))

    set_behaviour()
    return set_behaviour


@pytest.fixture
def fake(monkeypatch):
    """Replaces the processes of runs by a function that makes up their predictions."""

    def start(run, score, siblings):
        run.workdir.path.mkdir(parents=True, exist_ok=True)
        job = {"config": run.config.flat(), "workdir": str(run.workdir.path)}
        with run.workdir.log_file.open("a") as log, contextlib.redirect_stdout(log):
            code = fake_worker.run_job({**job, "score": score})
        process = SimpleNamespace(
            returncode=code, poll=lambda: code, kill=lambda: None, wait=lambda: code
        )
        return runner._Child(run, process)

    monkeypatch.setattr(runner, "_start", start)
