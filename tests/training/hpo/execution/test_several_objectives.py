"""Studies with several objectives, from the sampler to the refit."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from tests.conftest import MakeProject, calls

from infrastructure.errors import ConfigError, ExecutionError
from training.cli.display import leaderboard
from training.hpo.execution.best import best
from training.hpo.execution.local.refit import refit
from training.hpo.execution.local.sweep import sweep
from training.hpo.execution.optuna_exchange import write_optuna_study
from training.hpo.execution.report import write_report
from training.hpo.execution.status import study_status


@pytest.fixture
def config_dir(make_project: MakeProject) -> Path:
    """Return a project whose loss falls with x while its cost rises."""
    config_dir = make_project(
        hpo={
            "sampler": {"type": "tpe", "n_startup_trials": 3},
            "further_objectives": [{"metric": "cost", "direction": "minimize"}],
            "max_trials": 7,
        }
    )
    function = config_dir.parent / "objective.py"
    text = function.read_text().replace('return {"loss"', 'return {"cost": params["x"] ** 2, "loss"')
    function.write_text(text.replace('(params["x"] - 0.3) ** 2', '(params["x"] - 1) ** 2'))
    return config_dir


def test_the_front_is_searched_and_the_middle_is_refitted(config_dir: Path) -> None:
    """All trials are on the front of two opposed objectives; the one nearest to both ends is refitted."""
    study = sweep(config_dir)
    xs = [float(str(trial.params["x"])) for trial in study.trials]
    assert len(study.pareto_front()) == len(study.trials) == 7
    # By hand: loss and cost in shares of what the front ranges over, and the smallest distance from zero.
    losses, costs = [(x - 1) ** 2 for x in xs], [x**2 for x in xs]

    def distance(index: int) -> float:
        loss = (losses[index] - min(losses)) / (max(losses) - min(losses))
        cost = (costs[index] - min(costs)) / (max(costs) - min(costs))
        return loss**2 + cost**2

    assert study.best.number == min(range(7), key=distance)
    assert refit(config_dir).trial_number == study.best.number
    choice = best(config_dir=config_dir, top=1).choice
    assert choice is not None
    assert choice.reason.startswith(f"trial {study.best.number}: of the 7 trials of the Pareto front the nearest")
    assert study.to_frame()["cost"].tolist() == pytest.approx(costs)
    assert f"cost={costs[study.best.number]:.6g}" in repr(study)
    assert leaderboard(study).row_count == 7


def test_a_resumed_study_proposes_the_same(config_dir: Path, make_project: MakeProject) -> None:
    """From the records alone the sampler sees all objectives: a study in two parts is the one in a single part."""
    parts = make_project("parts")
    for path in ("objective.py", "config/hpo.yaml", "config/train.yaml"):
        (parts.parent / path).write_text((config_dir.parent / path).read_text())
    sweep(parts, ["hpo.max_trials=5"])
    resumed = sweep(parts)
    assert len(calls(parts)) == 14
    whole = sweep(config_dir)
    assert [trial.params for trial in resumed.trials] == [trial.params for trial in whole.trials]
    assert resumed.study_key_hash == whole.study_key_hash
    assert study_status(parts).trials == resumed.trials


def test_it_is_another_study_and_not_comparable(config_dir: Path) -> None:
    """Another objective makes another study, whose results mean something else."""
    both = sweep(config_dir, ["hpo.max_trials=1"])
    one = sweep(config_dir, ["hpo.max_trials=1", "hpo.further_objectives=null"])
    assert one.study_key_hash != both.study_key_hash
    found = best(config_dir=config_dir)
    assert [(other.run_id, other.reason.partition(":")[0]) for other in found.mismatched] == [
        (one.run_id, "hpo.further_objectives")
    ]


def test_report_and_export(config_dir: Path, tmp_path: Path) -> None:
    """The page shows the front, and Optuna's own storage gets all values."""
    study = sweep(config_dir)
    assert "Pareto front" in write_report(config_dir).read_text()
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    name, _ = write_optuna_study(url, config_dir)
    theirs = optuna.load_study(study_name=name, storage=url)
    assert {trial.number for trial in theirs.best_trials} == {trial.number for trial in study.pareto_front()}
    assert sweep(config_dir, force=True, import_from=url).trials == study.trials


def test_trials_with_one_value_are_not_taken_in(config_dir: Path) -> None:
    """Trials from elsewhere have one value, and are refused before any run exists."""
    earlier = sweep(config_dir, ["hpo.further_objectives=null", "hpo.max_trials=1"])
    for source in (f"study:{earlier.name}", "mlflow:assay"):
        with pytest.raises(ConfigError, match="trials from elsewhere have one value"):
            sweep(config_dir, import_from=source)
    assert study_status(config_dir).run_id == ""


def test_an_objective_that_is_not_returned_fails_the_trial(config_dir: Path) -> None:
    """A fold without one of the objectives can't be judged, and the reason names it."""
    function = config_dir.parent / "objective.py"
    function.write_text(function.read_text().replace('"cost": params["x"] ** 2', '"cost": float("inf")'))
    with pytest.raises(ExecutionError, match="cost is inf, which no trial can be judged by"):
        sweep(config_dir)


def test_a_further_objective_is_computed(make_project: MakeProject) -> None:
    """A metric that nobody computes, or in the direction of the worst, is told before any work."""
    config_dir = make_project(hpo={"objective": {"metric": "r2", "direction": "maximize"}})
    (config_dir / "train.yaml").write_text("{trainer: sklearn, backbone: sklearn.linear_model.Ridge}")
    further = [
        "data.task=regression",
        "data.label_column=label",
        "hpo.search_space={alpha: {type: loguniform, low: 0.1, high: 9.0}}",
        "hpo.further_objectives=[{metric: mean_squared_error, direction: maximize}]",
    ]
    with pytest.raises(ConfigError) as caught:
        sweep(config_dir, further)
    assert [problem.partition("hpo.yaml ")[2] for problem in caught.value.problems] == [
        "further_objectives.0.metric: 'mean_squared_error' isn't computed; add it to train.yaml metrics",
        "further_objectives.0.direction: 'maximize' would look for the worst trial, mean_squared_error is minimized; "
        "write direction: minimize",
    ]
