"""Refit and final training, and the models that they leave."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from tests.conftest import MakeProject, calls

from infrastructure.errors import ExecutionError, StudyHeldError
from infrastructure.naming import tags
from infrastructure.tracking.mlflow import queries
from infrastructure.tracking.mlflow.session import current_session
from training.execution.local.train import train
from training.hpo.execution.local.refit import refit
from training.hpo.execution.local.sweep import sweep
from training.hpo.tracking.study_runs import study_lease


def test_refit_is_linked_and_registered(make_project: MakeProject) -> None:
    """The best trial is trained on all rows, tested, linked to trial and study, and registered as champion."""
    config_dir = make_project()
    study = sweep(config_dir)
    model = refit(config_dir)
    assert calls(config_dir)[-1]["rows"] == 12
    assert calls(config_dir)[-1]["x"] == study.best.params["x"]
    run = queries.get_run(model.run_id)
    (trial_run,) = queries.find_runs({tags.STAGE: tags.STAGE_TRIAL, tags.TRIAL_NUMBER: str(study.best.number)})
    assert (run.status, run.is_done, run.name) == ("FINISHED", True, f"{trial_run.name}_refit")
    assert run.tags[tags.PARENT_RUN] == run.tags[tags.LINEAGE_STUDY_RUN] == study.run_id
    assert run.tags[tags.REFIT_OF_TRIAL] == trial_run.run_id
    assert run.tags[tags.TRIAL_KEY] == study.best.trial_key_hash
    assert run.tags[tags.DATA_FINGERPRINT] == trial_run.tags[tags.DATA_FINGERPRINT]
    assert run.metrics["test_loss"] == model.test["loss"]
    version = current_session().client.get_model_version_by_alias("quadratic", "champion")
    assert (str(version.version), version.run_id) == (model.version, model.run_id)
    assert version.tags[tags.STUDY_KEY] == study.study_key_hash


def champion_version() -> str:
    """Return the version that has the alias."""
    return str(current_session().client.get_model_version_by_alias("quadratic", "champion").version)


def test_refit_is_found_not_trained(make_project: MakeProject) -> None:
    """A refit of the same trial is found in the store; of another trial it is trained and becomes champion."""
    config_dir = make_project()
    sweep(config_dir)
    first = refit(config_dir)
    count = len(calls(config_dir))
    again = refit(config_dir)
    assert (again.run_id, again.version, again.reused, first.reused) == (first.run_id, first.version, True, False)
    assert len(calls(config_dir)) == count
    other = refit(config_dir, trial=(first.trial_number + 1) % 3)
    assert (other.version, len(calls(config_dir))) == ("2", count + 1)
    assert champion_version() == "2"
    assert refit(config_dir, trial=first.trial_number).version == first.version
    assert champion_version() == first.version


def test_one_refit_at_a_time(make_project: MakeProject) -> None:
    """A second refit of a study ends at once and names the first; the sweep may go on beside it."""
    config_dir = make_project()
    study = sweep(config_dir)
    folder = config_dir.parent / "outputs" / study.study_key_hash[:16]
    with study_lease(study.study_key_hash, "the study", folder, "hpo_refit"):
        with pytest.raises(StudyHeldError, match=f"is being worked on by process {os.getpid()} on "):
            refit(config_dir)
        assert len(sweep(config_dir, ["hpo.max_trials=4"]).trials) == 4
    assert refit(config_dir).version == "1"


def test_forced_refit_is_trained_beside_the_old_one(make_project: MakeProject) -> None:
    """A refit that is forced is another run and version, found from then on; a study started over has its own."""
    config_dir = make_project()
    sweep(config_dir)
    first = refit(config_dir)
    count = len(calls(config_dir))
    forced = refit(config_dir, force=True)
    assert (forced.version, forced.reused, len(calls(config_dir))) == ("2", False, count + 1)
    assert forced.run_id != first.run_id
    found = refit(config_dir)
    assert (found.run_id, found.reused) == (forced.run_id, True)
    assert queries.get_run(first.run_id).is_done
    sweep(config_dir, force=True)
    of_variant = refit(config_dir)
    assert of_variant.reused is False
    assert of_variant.run_id not in {first.run_id, forced.run_id}


def test_final_training_leaves_the_champion(make_project: MakeProject) -> None:
    """The final training has its own parameters over the trial's, and registers only when it is told to."""
    config_dir = make_project(final={"params": {"x": 0.31}})
    sweep(config_dir)
    champion = refit(config_dir)
    model = train(config_dir)
    assert calls(config_dir)[-1]["x"] == 0.31
    assert model.version == ""
    assert queries.get_run(model.run_id).name.startswith("local_objective-train_final_study-")
    assert champion_version() == champion.version
    registered = train(config_dir, ["train.final.register_model=true"])
    assert (registered.run_id, registered.version, registered.reused) == (model.run_id, "2", True)


def test_model_is_loaded_elsewhere(make_project: MakeProject, tmp_path: Path) -> None:
    """The champion predicts in a process that has neither Assay nor the project on its path."""
    config_dir = make_project()
    sweep(config_dir)
    refit(config_dir)
    code = (
        "import sys; sys.modules['training'] = sys.modules['infrastructure'] = None\n"
        "import mlflow, pandas as pd\n"
        f"mlflow.set_tracking_uri({current_session().tracking_uri!r})\n"
        "model = mlflow.pyfunc.load_model('models:/quadratic@champion')\n"
        "print(model.metadata.get_input_schema().input_names(), model.metadata.get_output_schema().input_names())\n"
        "print(model.predict(pd.DataFrame({'value': [0.0, 2.0]}))['prediction'].tolist())"
    )
    (tmp_path / "elsewhere").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "elsewhere",
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "['value'] ['prediction']"
    x = float(calls(config_dir)[-1]["x"])  # type: ignore[arg-type]
    assert lines[1] == f"[0.0, {2 * x}]"


def test_sklearn_model_is_its_estimator(make_project: MakeProject) -> None:
    """A refitted scikit-learn model predicts what the same estimator predicts, fitted by hand."""
    config_dir = make_project()
    root = config_dir.parent
    frame = pd.DataFrame({"a": range(30), "b": [index % 7 for index in range(30)]}).assign(
        label=lambda rows: rows.a * 2.0 + rows.b
    )
    frame.iloc[:24].to_csv(root / "data" / "train.csv", index=False)
    frame.iloc[24:].to_csv(root / "data" / "test.csv", index=False)
    for split in ("train", "test"):
        (root / "data" / f"{split}.jsonl").unlink()
    (config_dir / "data.yaml").write_text("{task: regression, path: data}")
    (config_dir / "train.yaml").write_text("{trainer: sklearn, backbone: sklearn.linear_model.Ridge}")
    space = "hpo.search_space={alpha: {type: loguniform, low: 0.1, high: 10.0}}"
    objective = "hpo.objective.metric=root_mean_squared_error"
    study = sweep(config_dir, [space, objective])
    study_model = refit(config_dir, [space, objective])
    model = mlflow.pyfunc.load_model("models:/quadratic@champion")
    by_hand = Ridge(alpha=float(str(study.best.params["alpha"])), random_state=0).fit(
        frame.iloc[:24][["a", "b"]], frame.iloc[:24]["label"]
    )
    test = frame.iloc[24:][["a", "b"]]
    assert model.predict(test)["prediction"].tolist() == pytest.approx(by_hand.predict(test).tolist(), rel=1e-12)
    files = [path.name for path in Path(mlflow.artifacts.download_artifacts(study_model.model_uri)).rglob("*")]
    assert "model.skops" in files
    assert [name for name in files if name.endswith((".pkl", ".pickle", ".joblib"))] == []


def test_function_without_predict_is_not_registered(make_project: MakeProject) -> None:
    """Without a predict function there is nothing to serve: the files are kept with the run, and nothing registered."""
    config_dir = make_project(predict=None)
    sweep(config_dir)
    model = refit(config_dir)
    assert model.version == ""
    files = {artifact.path for artifact in current_session().client.list_artifacts(model.run_id, "model")}
    assert "model/x.json" in files
    assert current_session().client.search_registered_models() == []
    later = refit(config_dir, ["train.predict=objective:predict"])
    assert (later.reused, later.version) == (True, "")
    assert current_session().client.search_registered_models() == []


def test_failed_refit_is_told_and_taken_up_again(make_project: MakeProject) -> None:
    """A refit that fails has a FAILED run with the reason; the next one takes up the same run."""
    config_dir = make_project()
    sweep(config_dir)
    function = config_dir.parent / "objective.py"
    working = function.read_text()
    first_line = "    with open("
    function.write_text(working.replace(first_line, f"    if model_dir: raise RuntimeError('no space')\n{first_line}"))
    with pytest.raises(ExecutionError, match=r"refit failed: RuntimeError: no space \(log: .*worker\.log\)"):
        refit(config_dir)
    (failed,) = queries.find_runs({tags.STAGE: tags.STAGE_REFIT})
    assert (failed.status, failed.is_done, failed.tags[tags.FAILURE]) == ("FAILED", False, "RuntimeError: no space")
    function.write_text(working)
    assert refit(config_dir).run_id == failed.run_id


def test_forced_refit_that_is_killed_is_trained(make_project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forced refit that dies after its run was begun isn't answered by the result of the one before."""
    config_dir = make_project(hpo={"max_trials": 1})
    sweep(config_dir)
    refit(config_dir)
    with monkeypatch.context() as patched:
        patched.setattr("training.hpo.execution.local.model_training._train", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            refit(config_dir, force=True)
    before = len(calls(config_dir))
    assert not refit(config_dir).reused
    assert len(calls(config_dir)) == before + 1
    assert {run.status for run in queries.find_runs({tags.STAGE: tags.STAGE_REFIT})} == {"FINISHED"}


def test_a_killed_refit_is_ended_by_a_forced_one(make_project: MakeProject) -> None:
    """What a killed refit left RUNNING is ended when another one begins."""
    config_dir = make_project(hpo={"max_trials": 1})
    sweep(config_dir)
    first = refit(config_dir)
    client = current_session().client
    client.delete_tag(first.run_id, tags.DONE)
    client.update_run(first.run_id, status="RUNNING")
    refit(config_dir, force=True)
    assert sorted(run.status for run in queries.find_runs({tags.STAGE: tags.STAGE_REFIT})) == ["FINISHED", "KILLED"]
