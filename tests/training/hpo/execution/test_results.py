"""What the steps return, as a notebook shows it: three lines for each step."""

from __future__ import annotations

from tests.conftest import MakeProject

from training.execution.local.train import train
from training.hpo.execution.local.cv import cv
from training.hpo.execution.local.refit import refit
from training.hpo.execution.local.sweep import sweep


def test_tables_and_reprs(make_project: MakeProject) -> None:
    """Sweep, cv, refit and train return what says in one line what came of it, and gives it as a table."""
    config_dir = make_project()
    study = sweep(config_dir)
    x, value = study.best.params["x"], study.best.value
    assert (
        repr(study) == f"StudyResult({study.name}, 3 trials, best {study.best.number}: loss={value:.6g}, {{'x': {x}}})"
    )
    assert list(study.to_frame().columns) == ["number", "state", "loss", "x"]
    assert study.to_frame()["loss"].tolist() == [trial.value for trial in study.trials]

    checked = cv({"x": 0.5}, config_dir)
    assert repr(checked) == "CvResult(trial 3, 2 folds, loss=0.040006, {'x': 0.5})"
    folds = checked.to_frame()
    assert (folds["fold"].tolist(), list(folds.columns)) == ([0, 1], ["fold", "loss", "seconds"])
    assert folds["loss"].mean() == checked.trial.value

    model = refit(config_dir)
    uri, test = "models:/quadratic/1", model.test["loss"]
    assert repr(model) == f"ModelResult({uri}, trial {model.trial_number}, test_loss={test:.6g})"
    row = {"trial": model.trial_number, "model_uri": uri, "run_id": model.run_id, "test_loss": test}
    assert model.to_frame().to_dict("records") == [row]
    final = train(config_dir)
    assert repr(final).startswith(f"ModelResult(runs:/{final.run_id}/model, trial {final.trial_number}, test_loss=")
