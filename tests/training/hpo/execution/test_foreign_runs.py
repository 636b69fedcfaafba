"""Studies that MLflow has from before, taken in."""

from __future__ import annotations

from pathlib import Path

import mlflow
import optuna
import pytest
from optuna_integration.mlflow import MLflowCallback
from tests.conftest import MakeProject, calls

from infrastructure.errors import ExecutionError, RunNotFoundError
from training.hpo.execution.local.sweep import import_trials, sweep
from training.hpo.execution.progress import Progress
from training.hpo.execution.status import study_status

SPACE = {
    "x": {"type": "uniform", "low": 0.0, "high": 1.0},
    "n": {"type": "int", "low": 1, "high": 4},
    "mode": {"type": "choice", "values": ["a", None, True]},
    "fixed": {"type": "constant", "value": 3},
}


class Notes(Progress):
    """Keeps what was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def message(self, text: str) -> None:
        self.told.append(text)


@pytest.fixture
def config_dir(make_project: MakeProject) -> Path:
    """Return a project whose store has nothing yet."""
    return make_project(hpo={"search_space": SPACE, "max_trials": 2, "sampler": {"type": "tpe", "n_startup_trials": 1}})


def nested_runs(config_dir: Path) -> None:
    """Leave runs behind as people do: a parent, nested runs with params and a metric, and some that came to nothing."""
    mlflow.set_tracking_uri(f"sqlite:///{config_dir.parent / 'mlflow.db'}")
    mlflow.set_experiment("by hand")
    points = [(0.25, 2, "a", 0.1), (0.5, 4, None, 0.2), (0.75, 1, True, 0.3), (7.0, 1, "a", 0.4)]
    with mlflow.start_run(run_name="parent"):
        for x, n, mode, loss in points:
            with mlflow.start_run(nested=True):
                mlflow.log_params({"x": x, "n": n, "mode": mode, "fixed": 3, "epochs": 10})
                mlflow.log_metric("loss", loss)
        with mlflow.start_run(run_name="without a metric", nested=True):
            mlflow.log_params({"x": 0.5, "n": 1, "mode": "a", "fixed": 3})
    mlflow.set_tracking_uri("")


def test_nested_runs_become_trials(config_dir: Path) -> None:
    """Params come back as what they were; what isn't in the space, or has no objective, is told and left."""
    nested_runs(config_dir)
    notes = Notes()
    assert import_trials("mlflow:by hand", config_dir, progress=notes) == 3
    trials = study_status(config_dir).trials
    assert [(t.params["x"], t.params["n"], t.params["mode"], t.value) for t in trials] == [
        (0.25, 2, "a", 0.1),
        (0.5, 4, None, 0.2),
        (0.75, 1, True, 0.3),
    ]
    assert all(trial.imported_from.startswith("by hand/") for trial in trials)
    assert notes.told[-1].startswith("2 runs of by hand are not taken; the first: ")
    assert "x: 7.0 is outside" in notes.told[-1]


def test_taken_in_once_and_gone_on_with(config_dir: Path) -> None:
    """The same runs are taken in once; a sweep goes on beside them with trials of its own, one of which is the best."""
    nested_runs(config_dir)
    import_trials("mlflow:by hand", config_dir)
    assert calls(config_dir) == []
    assert import_trials("mlflow:by hand", config_dir) == 0
    result = sweep(config_dir)
    assert [bool(trial.imported_from) for trial in result.trials] == [True, True, True, False, False]
    assert not result.best.imported_from
    assert sweep(config_dir, import_from="mlflow:by hand").trials == result.trials


def test_optunas_callback(config_dir: Path) -> None:
    """What Optuna's MLflow callback left is taken in."""
    uri = f"sqlite:///{config_dir.parent / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    callback = MLflowCallback(tracking_uri=uri, metric_name="loss")
    study = optuna.create_study(study_name="theirs")

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_int("n", 1, 4)
        trial.suggest_categorical("mode", ["a", None, True])
        return trial.suggest_float("x", 0, 1)

    study.optimize(objective, n_trials=4, callbacks=[callback])
    mlflow.set_tracking_uri("")
    assert import_trials("mlflow:theirs", config_dir) == 4
    trials = study_status(config_dir).trials
    assert [trial.value for trial in trials] == [trial.value for trial in study.trials]
    assert [{**trial.params, "fixed": 3} for trial in study.trials] == [trial.params for trial in trials]


def test_what_cannot_be_taken_is_told(config_dir: Path) -> None:
    """An experiment that isn't there, or has nothing to take, is an error in one line, and no study is begun."""
    nested_runs(config_dir)
    with pytest.raises(RunNotFoundError, match=r"no experiment 'nowhere' in .*; it has: .*by hand"):
        import_trials("mlflow:nowhere", config_dir)
    with pytest.raises(
        ExecutionError, match=r"no run of the experiment 'by hand' .*; the first: .*x: 0\.25 is outside"
    ):
        import_trials("mlflow:by hand", config_dir, ["hpo.search_space.x.high=0.2"])
    assert study_status(config_dir).run_id == ""
