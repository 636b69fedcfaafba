"""Trainings done again from what the tracking store has of them."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
from tests.conftest import MakeProject, calls

from infrastructure.errors import ExecutionError, RunNotFoundError
from infrastructure.naming import tags
from infrastructure.tracking.mlflow import queries
from training.execution.local.train import train
from training.hpo.execution.local.refit import refit
from training.hpo.execution.local.reproduce import MetricPair, reproduce
from training.hpo.execution.local.sweep import sweep
from training.hpo.tracking.recorded import recorded_training


@pytest.fixture
def config_dir(make_project: MakeProject) -> Path:
    """Return a project whose study is swept."""
    config_dir = make_project(hpo={"max_trials": 2}, final={"params": {"x": 0.31}})
    sweep(config_dir)
    return config_dir


def only_store_is_left(config_dir: Path) -> None:
    """Take the configuration of the study away; what is left names no study any more."""
    for section in ("data", "hpo", "train"):
        (config_dir / f"{section}.yaml").write_text("nothing: 1")


def test_refit_is_done_again_from_the_store_alone(config_dir: Path) -> None:
    """A refit and a final training, by id or name, give the same metrics, without the configuration files."""
    champion, final = refit(config_dir), train(config_dir)
    before = (config_dir.parent / "mlflow.db").read_bytes()
    only_store_is_left(config_dir)
    count = len(calls(config_dir))
    for model, x in ((champion, None), (final, 0.31)):
        found = reproduce(model.run_name, config_dir)
        (pair,) = found.metrics
        assert (pair.name, pair.recorded, pair.is_identical) == ("test_loss", model.test["loss"], True)
        assert found.environment == ()
        assert x is None or calls(config_dir)[-1]["x"] == x
    assert len(calls(config_dir)) == count + 2
    assert (config_dir.parent / "mlflow.db").read_bytes() == before


def test_trials_and_folds_are_done_again(config_dir: Path) -> None:
    """A trial is done again fold by fold, on the folds that the study's run keeps; a fold alone."""
    trial, _ = queries.find_runs({tags.STAGE: tags.STAGE_TRIAL})
    found = reproduce(trial.run_id, config_dir)
    assert [(pair.fold_idx, pair.is_identical) for pair in found.metrics] == [(0, True), (1, True)]
    fold = next(run for run in queries.find_runs({tags.PARENT_RUN: trial.run_id}) if run.tags[tags.FOLD_INDEX] == "1")
    (pair,) = reproduce(fold.name, config_dir).metrics
    assert (pair.fold_idx, pair.recorded, pair.reproduced) == (
        1,
        fold.metrics["valid_loss"],
        fold.metrics["valid_loss"],
    )


def test_other_code_gives_another_result(config_dir: Path) -> None:
    """Code that changed since gives another result, which is told to the last bit."""
    champion = refit(config_dir)
    function = config_dir.parent / "objective.py"
    function.write_text(function.read_text().replace("* 1e-6", "* 2e-6"))
    (pair,) = reproduce(champion.run_id, config_dir).metrics
    assert not pair.is_identical
    assert pair.is_within(0.01)
    assert not pair.is_within(1e-9)


def test_other_software_is_listed(config_dir: Path) -> None:
    """Versions that differ between then and now are listed with both."""
    champion = refit(config_dir)
    run = queries.get_run(champion.run_id)
    (kept,) = (config_dir.parent / "mlartifacts").rglob(f"{run.tags[tags.EXEC_FINGERPRINT][:16]}.json")
    document = json.loads(kept.read_text())
    document["packages"]["optuna"] = "4.0.0"
    document["python"] = "3.9.1"
    kept.write_text(json.dumps(document))
    listed = [str(difference) for difference in reproduce(champion.run_id, config_dir).environment or ()]
    assert [line.partition(" → ")[0] for line in listed] == ["packages.optuna: 4.0.0", "python: 3.9.1"]


def test_what_cannot_be_reproduced_is_told(config_dir: Path) -> None:
    """A study, a trial without a result, and a run whose data changed are refused with the reason."""
    (study,) = queries.find_runs({tags.STAGE: tags.STAGE_SWEEP})
    with pytest.raises(ExecutionError, match="is a study; name one of its trials"):
        reproduce(study.run_id, config_dir)
    with pytest.raises(RunNotFoundError, match="no run 'nothing'"):
        reproduce("nothing", config_dir)
    (config_dir.parent / "data" / "test.jsonl").write_text('{"value": 5.0, "label": 0.0}')
    trial, _ = queries.find_runs({tags.STAGE: tags.STAGE_TRIAL})
    with pytest.raises(ExecutionError, match=r"can't be reproduced in .* since here data\.fingerprint: blake3"):
        reproduce(trial.run_id, config_dir)


def test_a_training_that_fails_this_time(config_dir: Path) -> None:
    """If the training fails, the error has the reason and what the worker printed last."""
    champion = refit(config_dir)
    (config_dir.parent / "objective.py").write_text("raise ImportError('no such library')")
    with pytest.raises(ExecutionError, match=r"failed this time: .*no such library.* \(it printed: "):
        reproduce(champion.run_id, config_dir)


def test_tolerance_is_a_share_of_the_value() -> None:
    """A metric may be off by a share of its value, and of 1 for small ones; a missing metric never passes."""
    assert MetricPair("m", None, 200.0, 201.0).is_within(0.01)
    assert not MetricPair("m", None, 200.0, 203.0).is_within(0.01)
    assert MetricPair("m", None, 0.001, 0.009).is_within(0.01)
    assert not MetricPair("m", None, 0.5, math.nan).is_within(0.01)


def test_nothing_to_compare_is_no_success(make_project: MakeProject) -> None:
    """A model that was trained without a validation or test split has no metric, so nothing can be reproduced."""
    config_dir = make_project(hpo={"max_trials": 1})
    objective = config_dir.parent / "objective.py"
    objective.write_text(
        objective.read_text().replace('    return {"loss"', '    return {} if valid is None else {"loss"')
    )
    sweep(config_dir)
    model = refit(config_dir)
    assert model.test == {}
    with pytest.raises(ExecutionError, match="has no result to compare with"):
        reproduce(model.run_id, config_dir)


def test_unknown_environment_is_not_the_same(config_dir: Path) -> None:
    """Where nobody kept what a training was executed with, nothing is said of it; a trial's is compared."""
    champion = refit(config_dir)
    trial, _ = queries.find_runs({tags.STAGE: tags.STAGE_TRIAL})
    assert reproduce(trial.run_id, config_dir).environment == ()
    for kept in (config_dir.parent / "mlartifacts").rglob("environments"):
        shutil.rmtree(kept)
    assert reproduce(champion.run_id, config_dir).environment is None


def test_each_trial_keeps_its_own_configuration(make_project: MakeProject) -> None:
    """A study that goes on with another configuration of the same meaning leaves the earlier trials theirs."""
    config_dir = make_project(hpo={"max_trials": 1})
    sweep(config_dir)
    sweep(config_dir, ["hpo.max_trials=2", "train.threads=2"])
    old, new = queries.find_runs({tags.STAGE: tags.STAGE_TRIAL})
    assert [recorded_training(run.run_id).train.threads for run in (old, new)] == [1, 2]


def test_nothing_reaches_the_store(config_dir: Path) -> None:
    """A training function that tracks by itself doesn't write to the store when it is done again."""
    champion = refit(config_dir)
    objective = config_dir.parent / "objective.py"
    objective.write_text(
        objective.read_text().replace("    loss =", '    import mlflow; mlflow.log_metric("own", 1.0)\n    loss =')
    )
    before = (config_dir.parent / "mlflow.db").read_bytes()
    assert reproduce(champion.run_id, config_dir).metrics[0].is_identical
    assert (config_dir.parent / "mlflow.db").read_bytes() == before
