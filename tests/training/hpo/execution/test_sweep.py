"""Sweeps end to end: real processes, a real store, a training function that notes every call."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from tests.conftest import MakeProject, calls, unsent_folds

from infrastructure.errors import ConfigError, DataError, ExecutionError
from infrastructure.naming import tags
from infrastructure.naming.keys import fold_key_hash
from infrastructure.tracking.mlflow import queries
from infrastructure.tracking.mlflow.outbox import Outbox
from infrastructure.tracking.mlflow.session import current_session, set_session
from infrastructure.tracking.mlflow.setup import setup_mlflow
from training.execution.result import TrainingResult
from training.hpo.execution.local.cv import cv
from training.hpo.execution.local.sweep import sweep
from training.hpo.execution.progress import Progress
from training.hpo.execution.project import open_project
from training.hpo.execution.results import StudyResult
from training.hpo.records import TrialRecord
from training.hpo.tracking import study_runs
from training.hpo.tracking.environments import environment_of

X = {"type": "uniform", "low": 0.0, "high": 1.0}


def stage(name: str) -> list[queries.RunRecord]:
    """Return the runs of a stage."""
    return queries.find_runs({tags.STAGE: name})


def params_of(result: StudyResult) -> list[object]:
    """Return every trial's hyperparameters."""
    return [trial.params for trial in result.trials]


def artifacts_of(result: StudyResult) -> set[str]:
    """Return what a study's run keeps besides params, metrics and tags."""
    return {artifact.path for artifact in current_session().client.list_artifacts(result.run_id)}


def start_sweep(config_dir: Path, max_trials: int) -> subprocess.Popen[str]:
    """Start `assay sweep` in a process of its own, with the project's own store."""
    command = [sys.executable, "-m", "training.cli.main", "sweep", "--config-dir", str(config_dir)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return subprocess.Popen(
        [*command, "--max-trials", str(max_trials)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_calls(config_dir: Path, count: int) -> None:
    """Wait until the training function was called that often."""
    deadline = time.monotonic() + 60
    while len(calls(config_dir)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_run_tree(make_project: MakeProject) -> None:
    """A sweep is one study run, its trials below it and their folds below those: all done, named and tagged."""
    config_dir = make_project()
    result = sweep(config_dir)
    (study,) = stage(tags.STAGE_SWEEP)
    trials, folds = stage(tags.STAGE_TRIAL), stage(tags.STAGE_FOLD)
    assert (len(trials), len(folds)) == (3, 6)
    assert {run.tags[tags.PARENT_RUN] for run in trials} == {study.run_id}
    assert {run.tags[tags.PARENT_RUN] for run in folds} == {run.run_id for run in trials}
    name = f"local_objective-train_hpo_study-{result.study_key_hash[:8]}"
    assert study.name == name
    assert [run.name for run in trials] == [f"{name}_trial-{number:04d}" for number in range(3)]
    assert {run.name for run in folds} == {f"{run.name}_fold-{index}" for run in trials for index in (0, 1)}
    for run in [study, *trials, *folds]:
        assert (run.status, run.is_done) == ("FINISHED", True)
        assert run.tags[tags.STUDY_KEY] == result.study_key_hash
        for key in (tags.DATA_FINGERPRINT, tags.EVAL_FINGERPRINT, tags.STUDY_FAMILY, tags.BACKBONE, tags.PROJECT):
            assert run.tags[key]
    best = min(result.trials, key=lambda trial: trial.value or 0.0)
    assert result.best == best
    assert study.metrics["best_value"] == best.value
    for run, trial in zip(trials, result.trials, strict=True):
        assert float(run.params["x"]) == trial.params["x"]
        assert run.metrics["objective"] == trial.value
    document = json.loads(tags.join_long(tags.STUDY_KEY_DOCUMENT, study.tags) or "")
    assert document["hpo"]["search_space"]["x"]["high"] == 1
    curve = current_session().client.get_metric_history(folds[0].run_id, "epoch_loss")
    assert [point.step for point in curve] == [1, 2]


def test_workers_log_nowhere_else(make_project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stray MLFLOW_RUN_ID neither reaches a worker nor gets anything logged to it."""
    config_dir = make_project()
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    sweep(config_dir)
    assert {call["run_id"] for call in calls(config_dir)} == {None}


def test_more_trials_continue_the_study(make_project: MakeProject) -> None:
    """Raising max_trials goes on with the same study: same trials as in one go, nothing trained twice."""
    in_one_go = sweep(make_project("one"), ["hpo.max_trials=6"])
    config_dir = make_project("two")
    sweep(config_dir, ["hpo.max_trials=2"])
    shutil.rmtree(config_dir.parent / "outputs")
    resumed = sweep(config_dir, ["hpo.max_trials=6"])
    assert params_of(resumed) == params_of(in_one_go)
    assert [trial.value for trial in resumed.trials] == [trial.value for trial in in_one_go.trials]
    assert len(calls(config_dir)) == 12
    assert len(stage(tags.STAGE_SWEEP)) == 1


def test_killed_driver_is_resumed(make_project: MakeProject) -> None:
    """A driver that is killed in its second trial goes on from the store: what the store has isn't trained again."""
    uninterrupted = sweep(make_project("whole"), ["hpo.max_trials=4"])
    config_dir = make_project("killed")
    process = start_sweep(config_dir, 4)
    wait_for_calls(config_dir, 3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(1)  # the worker of a killed driver may still be writing
    before, unsent = len(calls(config_dir)), unsent_folds(config_dir)
    shutil.rmtree(config_dir.parent / "outputs")
    resumed = sweep(config_dir, ["hpo.max_trials=4"])
    assert params_of(resumed) == params_of(uninterrupted)
    assert resumed.best.value == uninterrupted.best.value
    assert before + 8 - 3 <= len(calls(config_dir)) <= before + 8 - 2 + unsent
    assert {run.status for name in (tags.STAGE_SWEEP, tags.STAGE_TRIAL, tags.STAGE_FOLD) for run in stage(name)} == {
        "FINISHED"
    }
    assert (len(stage(tags.STAGE_TRIAL)), len(stage(tags.STAGE_FOLD))) == (4, 8)


def test_interrupted_command_says_how_to_go_on(make_project: MakeProject) -> None:
    """SIGTERM ends the command with 143, no run stays RUNNING, and the same command finishes the work."""
    config_dir = make_project(hpo={"max_trials": 50})
    process = start_sweep(config_dir, 50)
    wait_for_calls(config_dir, 4)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143, stderr
    assert "the same command goes on" in stderr
    assert "Traceback" not in stderr
    resumed = sweep(config_dir, ["hpo.max_trials=5"])
    assert len(resumed.trials) >= 5
    running = [run for name in (tags.STAGE_SWEEP, tags.STAGE_TRIAL, tags.STAGE_FOLD) for run in stage(name)]
    assert {run.status for run in running} == {"FINISHED"}


@pytest.mark.parametrize("workers", [1, 2])
def test_finished_configurations_are_answered(make_project: MakeProject, workers: int) -> None:
    """A space of 12 points and 40 trials: 12 trainings, 28 answers from the record, whoever trains them."""
    space = {
        "x": {"type": "choice", "values": [0.1, 0.2, 0.9]},
        "y": {"type": "choice", "values": ["a", "b", "c", "d"]},
    }
    config_dir = make_project(hpo={"search_space": space, "max_trials": 40, "cv": {"type": "holdout"}, "seed": 1})
    result = sweep(config_dir, [f"hpo.workers={workers}"])
    trained = {(call["x"], call["y"]) for call in calls(config_dir)}
    assert len(calls(config_dir)) == len(trained) == len({trial.trial_key_hash for trial in result.trials}) == 12
    assert {trial.state for trial in result.trials} == {"complete"}
    answered = [trial for trial in result.trials if trial.answered_by is not None]
    assert (len(result.trials), len(answered)) == (40, 28)
    for trial in answered:
        assert trial.answered_by is not None
        twin = result.trials[trial.answered_by]
        assert (trial.params, trial.value, twin.answered_by) == (twin.params, twin.value, None)


def test_a_configuration_at_work_is_waited_for(make_project: MakeProject) -> None:
    """Of trials with one configuration that are proposed at the same time, one is trained and the others answered."""
    config_dir = make_project(hpo={"search_space": {"x": {"type": "choice", "values": [0.1]}}, "max_trials": 4})
    result = sweep(config_dir, ["hpo.workers=4"])
    assert len(calls(config_dir)) == 2
    assert [trial.answered_by for trial in result.trials] == [None, 0, 0, 0]


def test_interrupted_trial_is_answered_too(make_project: MakeProject) -> None:
    """A trial that was cut short, and whose configuration another one has finished since, isn't trained."""
    config_dir = make_project(hpo={"search_space": {"x": {"type": "choice", "values": [0.1]}}, "max_trials": 2})
    first = sweep(config_dir)
    client = current_session().client
    (second,) = [run for run in stage(tags.STAGE_TRIAL) if run.tags[tags.TRIAL_NUMBER] == "1"]
    client.delete_tag(second.run_id, tags.DONE)
    again = sweep(config_dir)
    assert again.trials == first.trials
    assert len(calls(config_dir)) == 2


@pytest.mark.parametrize(
    ("mode", "reason"),
    [("crash", "SIGKILL"), ("raise", "RuntimeError: the function gave up"), ("nan", "loss is nan")],
)
def test_failing_trials_fail_alone(make_project: MakeProject, mode: str, reason: str) -> None:
    """A trial that dies, raises or scores NaN has failed with its reason; the others go on, and it never wins."""
    modes = {"type": "choice", "values": ["fine", mode]}
    config_dir = make_project(hpo={"search_space": {"x": X, "mode": modes}, "max_trials": 6})
    result = sweep(config_dir)
    failed = [trial for trial in result.trials if trial.state == "failed"]
    assert 0 < len(failed) < 6
    assert {trial.params["mode"] for trial in failed} == {mode}
    assert result.best.params["mode"] == "fine"
    runs = {run.name[-4:]: run for run in stage(tags.STAGE_TRIAL)}
    for trial in failed:
        assert reason in trial.failure
        assert runs[f"{trial.number:04d}"].status == "FAILED"
        assert reason in runs[f"{trial.number:04d}"].tags[tags.FAILURE]
    count = len(calls(config_dir))
    assert len(sweep(config_dir).trials) == 6
    assert len(calls(config_dir)) == count


def test_nothing_completed_is_an_error(make_project: MakeProject) -> None:
    """If every trial fails, the error has the first reason."""
    config_dir = make_project(hpo={"search_space": {"x": X, "mode": {"type": "constant", "value": "raise"}}})
    with pytest.raises(ExecutionError, match=r"no trial of .* completed; the first one: fold 0: RuntimeError"):
        sweep(config_dir, ["hpo.max_trials=2"])


def test_study_is_not_burnt_by_a_fault_outside(make_project: MakeProject) -> None:
    """A fault that fails everything stops the sweep after three trials; once it is mended, the study goes on."""
    config_dir = make_project()
    function = config_dir.parent / "objective.py"
    working = function.read_text()
    function.write_text("raise ImportError('no such library')")
    with pytest.raises(ExecutionError, match=r"the last 3 trials failed .*no such library"):
        sweep(config_dir, ["hpo.max_trials=9"])
    assert {run.status for run in stage(tags.STAGE_TRIAL)} == {"FAILED"}
    logs = current_session().client.list_artifacts(stage(tags.STAGE_FOLD)[0].run_id)
    assert [log.path for log in logs] == ["worker.log"]
    function.write_text(working)
    mended = sweep(config_dir, ["hpo.max_trials=3"])
    assert [trial.state for trial in mended.trials] == ["failed"] * 3 + ["complete"] * 3
    assert "no such library" not in str(mended.best)


def test_faulty_data_leaves_nothing_running(make_project: MakeProject) -> None:
    """Data that can't be used begins no run, and another project can be worked on."""
    config_dir = make_project("bad")
    (config_dir.parent / "data" / "train.jsonl").write_text("no json")
    with pytest.raises(DataError):
        sweep(config_dir)
    assert stage(tags.STAGE_SWEEP) == []
    sweep(make_project("good"))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("report(0.5, {'loss': 1.0})", "whole steps"),
        ("report(1, {'loss': 'low'})", "a number is needed"),
        ("return {'loss': 1.0, 'acc@5': 1.0}", "metric name 'acc@5'"),
        ("return {'loss': None}", "None"),
    ],
)
def test_a_function_cannot_break_the_sweep(make_project: MakeProject, line: str, reason: str) -> None:
    """What a function reports or returns wrongly fails its trial alone, with the reason."""
    modes = {"type": "choice", "values": ["fine", "wrong"]}
    config_dir = make_project(hpo={"search_space": {"x": X, "mode": modes}, "max_trials": 6})
    function = config_dir.parent / "objective.py"
    first_line = "    loss = (params"
    function.write_text(
        function.read_text().replace(first_line, f"    if params['mode'] == 'wrong': {line}\n{first_line}")
    )
    result = sweep(config_dir)
    failed = [trial for trial in result.trials if trial.state == "failed"]
    assert failed
    assert all(trial.params["mode"] == "wrong" and reason in trial.failure for trial in failed)


def test_resumed_and_interrupted_again(make_project: MakeProject) -> None:
    """A trial that a kill left behind, taken up again and interrupted again, isn't left RUNNING."""
    config_dir = make_project()
    killed = start_sweep(config_dir, 50)
    wait_for_calls(config_dir, 3)
    killed.kill()
    killed.wait()
    interrupted = start_sweep(config_dir, 50)
    wait_for_calls(config_dir, 6)
    interrupted.terminate()
    assert interrupted.wait(timeout=60) == 143
    setup_mlflow("assay", config_dir)
    runs = [run for name in (tags.STAGE_SWEEP, tags.STAGE_TRIAL, tags.STAGE_FOLD) for run in stage(name)]
    assert "RUNNING" not in {run.status for run in runs}


def test_cross_validation_goes_on_with_its_own_trial(make_project: MakeProject) -> None:
    """A configuration that was pruned or cut short is cross-validated whole; it isn't begun a second time."""
    config_dir = make_project(hpo={"fold_pruner": {"type": "aggressive"}, "max_trials": 8})
    swept = sweep(config_dir)
    pruned = next(trial for trial in swept.trials if trial.state == "pruned")
    whole, _ = cv(pruned.params, config_dir)
    assert (whole.number, whole.state, sorted(whole.folds)) == (8, "complete", [0, 1])
    client = current_session().client
    (run,) = [run for run in stage(tags.STAGE_TRIAL) if run.tags[tags.TRIAL_NUMBER] == "8"]
    client.delete_tag(run.run_id, tags.DONE)
    at_work = json.loads(run.tags[tags.TRIAL_RECORD]) | {"state": "running", "value": None, "folds": {}}
    client.set_tag(run.run_id, tags.TRIAL_RECORD, json.dumps(at_work))
    again, study = cv(pruned.params, config_dir)
    assert (again.number, again.value, len(study.trials)) == (8, whole.value, 9)


def test_names_can_be_overridden(make_project: MakeProject) -> None:
    """An override of naming.yaml holds for every run."""
    result = sweep(make_project(), ["naming.env=night", "hpo.max_trials=1"])
    assert result.name.startswith("night_objective-train_hpo_study-")
    assert all(run.name.startswith("night_") for run in stage(tags.STAGE_FOLD))


def test_hopeless_trials_lose_their_folds(make_project: MakeProject) -> None:
    """Pruning across folds saves the second fold of trials that are worse than the best."""
    config_dir = make_project(hpo={"fold_pruner": {"type": "aggressive"}, "max_trials": 8})
    result = sweep(config_dir)
    pruned = [trial for trial in result.trials if trial.state == "pruned"]
    assert pruned
    assert len(calls(config_dir)) == 16 - len(pruned)
    statuses = {run.name[-4:]: run.status for run in stage(tags.STAGE_TRIAL)}
    assert all(statuses[f"{trial.number:04d}"] == "KILLED" for trial in pruned)


def test_hopeless_trial_stays_hopeless(make_project: MakeProject) -> None:
    """A driver that is killed before it wrote that a trial is pruned doesn't give it its remaining folds."""
    config_dir = make_project(hpo={"fold_pruner": {"type": "aggressive"}, "max_trials": 8})
    result = sweep(config_dir)
    pruned = next(trial for trial in result.trials if trial.state == "pruned")
    (run,) = [run for run in stage(tags.STAGE_TRIAL) if run.tags[tags.TRIAL_NUMBER] == str(pruned.number)]
    current_session().client.delete_tag(run.run_id, tags.DONE)
    shutil.rmtree(config_dir.parent / "outputs")
    before = len(calls(config_dir))
    again = sweep(config_dir)
    assert again.trials == result.trials
    assert len(calls(config_dir)) == before


def test_several_workers_do_the_same_work(make_project: MakeProject) -> None:
    """With three workers every fold is trained once and every run is done; random search proposes the same."""
    one = sweep(make_project("one"), ["hpo.max_trials=5"])
    three = sweep(make_project("three"), ["hpo.max_trials=5", "hpo.workers=3"])
    assert params_of(three) == params_of(one)
    assert len(stage(tags.STAGE_FOLD)) == 10


def test_forced_study_is_a_new_variant(make_project: MakeProject) -> None:
    """A study that is started over is trained anew beside the old one, which is kept; from then on it is the study."""
    config_dir = make_project(hpo={"max_trials": 1})
    first, second = sweep(config_dir), sweep(config_dir, force=True)
    assert first.study_key_hash == second.study_key_hash
    assert params_of(first) == params_of(second)
    assert len(calls(config_dir)) == 4
    assert {run.run_id: run.variant for run in stage(tags.STAGE_SWEEP)} == {first.run_id: 1, second.run_id: 2}
    resumed = sweep(config_dir, ["hpo.max_trials=2"])
    assert (resumed.run_id, len(calls(config_dir))) == (second.run_id, 6)
    folders = {path.name for path in (config_dir.parent / "outputs").iterdir()}
    assert folders - {".locks"} == {first.study_key_hash[:16], f"{first.study_key_hash[:16]}-2"}


def test_folds_are_written_once_and_kept(make_project: MakeProject) -> None:
    """The folds lie with the study's run; a resumed study takes them from there, not from the data."""
    config_dir = make_project(hpo={"max_trials": 1})
    result = sweep(config_dir)
    folds = config_dir.parent / "outputs" / result.study_key_hash[:16] / "folds.json"
    written = folds.read_text()
    folds.unlink()
    sweep(config_dir, ["hpo.max_trials=2"])
    assert folds.read_text() == written
    assert artifacts_of(result) == {"data_files.json", "environments", "folds.json"}


def test_texts_of_a_study_are_kept_before_it_says_so(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that dies as it keeps the digests of the data files leaves that to the next one."""
    config_dir = make_project(hpo={"max_trials": 1})
    keep_text = Outbox.keep_text

    def dying(outbox: Outbox, run: str, text: str, artifact_file: str) -> None:
        if artifact_file == "data_files.json":
            raise KeyboardInterrupt
        keep_text(outbox, run, text, artifact_file)

    with monkeypatch.context() as once:
        once.setattr(Outbox, "keep_text", dying)
        with pytest.raises(KeyboardInterrupt):
            sweep(config_dir)
    assert artifacts_of(sweep(config_dir)) == {"data_files.json", "environments", "folds.json"}


def test_results_on_disk_are_not_computed_again(make_project: MakeProject) -> None:
    """A fold whose result lies on disk, but not in the store, is taken from disk."""
    config_dir = make_project(hpo={"max_trials": 1})
    first = sweep(config_dir)
    client = current_session().client
    for run in stage(tags.STAGE_TRIAL) + stage(tags.STAGE_FOLD):
        client.delete_tag(run.run_id, tags.DONE)
    again = sweep(config_dir)
    assert again.trials == first.trials
    assert len(calls(config_dir)) == 2
    assert len(stage(tags.STAGE_FOLD)) == 2


def test_cross_validation_is_a_trial(make_project: MakeProject) -> None:
    """One configuration is cross-validated on all folds as a trial of the study, and answered the second time."""
    config_dir = make_project(hpo={"max_trials": 2, "fold_pruner": {"type": "aggressive"}})
    sweep(config_dir)
    record, study = cv({"x": 0.99}, config_dir)
    assert (record.number, record.state, sorted(record.folds)) == (2, "complete", [0, 1])
    again, _ = cv({"x": 0.99}, config_dir)
    assert again.answered_by == 2
    assert len(study.trials) == 3
    with pytest.raises(ConfigError, match=r"x: 1\.5 is outside"):
        cv({"x": 1.5}, config_dir)


def test_changed_data_is_another_study(make_project: MakeProject) -> None:
    """Data that changed makes a new study beside the old one."""
    config_dir = make_project(hpo={"max_trials": 1})
    first = sweep(config_dir)
    with (config_dir.parent / "data" / "train.jsonl").open("a") as file:
        file.write('\n{"value": 1.0, "label": 1.0}')
    second = sweep(config_dir)
    assert first.study_key_hash != second.study_key_hash
    assert len(stage(tags.STAGE_SWEEP)) == 2


def test_notebook_lines(make_project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three lines in a folder of the project run a sweep, and its result is a table."""
    config_dir = make_project(hpo={"max_trials": 2})
    monkeypatch.chdir(config_dir.parent)
    frame = sweep().to_frame()
    assert list(frame.columns) == ["number", "state", "loss", "x"]
    assert len(frame) == 2


def test_faulty_configuration_makes_no_run(make_project: MakeProject) -> None:
    """A faulty configuration is refused before any run or folder exists."""
    config_dir = make_project()
    store = (config_dir.parent / "mlflow.db").read_bytes()
    with pytest.raises(ConfigError):
        sweep(config_dir, ["hpo.objective.direction=up"])
    assert (config_dir.parent / "mlflow.db").read_bytes() == store
    assert not (config_dir.parent / "outputs").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_changed_code_is_the_next_trials(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """A trial is executed with the code that its run names, also where an earlier one had imported another."""
    monkeypatch.setattr(study_runs, "LOOK_AGAIN", 0.0)
    config_dir = make_project(hpo={"max_trials": 6, "workers": workers})
    function = config_dir.parent / "objective.py"

    class Edit(Progress):
        def trial_finished(self, record: TrialRecord, best: TrialRecord | None) -> None:
            if record.number == 2:
                function.write_text(function.read_text().replace("** 2 +", "** 2 + 7 +"))

    result = sweep(config_dir, progress=Edit())
    is_new = {trial.number: trial.value is not None and trial.value > 7 for trial in result.trials}
    by_code: dict[str, set[bool]] = {}
    for run in stage(tags.STAGE_TRIAL):
        by_code.setdefault(run.tags[tags.EXEC_FINGERPRINT], set()).add(is_new[int(run.tags[tags.TRIAL_NUMBER])])
    assert sorted(by_code.values(), key=min) == [{False}, {True}]


def test_every_run_tells_its_environment(make_project: MakeProject) -> None:
    """Study, trials and folds carry the fingerprint of what they ran on, which is kept once with the study's run."""
    result = sweep(make_project(hpo={"max_trials": 2}))
    runs = [*stage(tags.STAGE_SWEEP), *stage(tags.STAGE_TRIAL), *stage(tags.STAGE_FOLD)]
    fingerprints = {run.tags[tags.EXEC_FINGERPRINT] for run in runs}
    assert len(fingerprints) == 1
    assert {run.tags[tags.DEVICE] for run in stage(tags.STAGE_FOLD)} == {"cpu"}
    kept = environment_of(stage(tags.STAGE_FOLD)[0].tags, result.run_id)
    assert kept["device"] == "cpu"
    assert isinstance(kept["packages"], dict)
    assert kept["packages"]["optuna"] == optuna.__version__


def test_trials_count_alike_however_often_it_is_killed(make_project: MakeProject) -> None:
    """Failed trials before the first complete one count towards max_trials, unless they stopped the sweep."""
    config_dir = make_project(hpo={"seed": 6, "max_trials": 5})
    function = config_dir.parent / "objective.py"
    working = function.read_text()
    function.write_text(working.replace("    loss =", '    if params["x"] > 0.5: raise RuntimeError("no")\n    loss ='))
    states = [trial.state for trial in sweep(config_dir).trials]
    assert (states[0], len(states)) == ("failed", 5)
    function.write_text("raise ImportError('no such library')")
    burnt = ["hpo.seed=9"]
    with pytest.raises(ExecutionError, match="the last 3 trials failed"):
        sweep(config_dir, burnt)
    function.write_text(working)
    for max_trials in (1, 2, 3):
        found = sweep(config_dir, [*burnt, f"hpo.max_trials={max_trials}"])
        assert [trial.state for trial in found.trials] == ["failed"] * 3 + ["complete"] * max_trials


def test_forced_study_leaves_nothing_running(make_project: MakeProject) -> None:
    """What a kill left RUNNING is ended when the study is started over, or when another trial is cross-validated."""
    config_dir = make_project()
    killed = start_sweep(config_dir, 50)
    wait_for_calls(config_dir, 3)
    killed.kill()
    killed.wait()
    _, study = cv({"x": 0.25}, config_dir)
    runs = [run for name in (tags.STAGE_SWEEP, tags.STAGE_TRIAL, tags.STAGE_FOLD) for run in stage(name)]
    assert "RUNNING" not in {run.status for run in runs}
    assert "running" in {trial.state for trial in study.trials}
    (run,) = stage(tags.STAGE_SWEEP)
    assert (run.status, run.is_done) == ("KILLED", False)
    killed = start_sweep(config_dir, 50)
    wait_for_calls(config_dir, 8)
    killed.kill()
    killed.wait()
    assert len(sweep(config_dir, force=True).trials) == 3
    runs = [run for name in (tags.STAGE_SWEEP, tags.STAGE_TRIAL, tags.STAGE_FOLD) for run in stage(name)]
    assert "RUNNING" not in {run.status for run in runs}


def test_forced_study_uses_no_old_results(make_project: MakeProject, empty_store: Path) -> None:
    """Results of a store that was lost aren't taken for those of a study that is started over, resumed or not."""
    config_dir = make_project()
    sweep(config_dir)
    set_session(None)
    shutil.copy(empty_store, config_dir.parent / "mlflow.db")
    before = len(calls(config_dir))
    sweep(config_dir, ["hpo.max_trials=1"], force=True)
    sweep(config_dir)
    assert len(calls(config_dir)) == 2 * before


def test_cut_folds_are_made_again(make_project: MakeProject) -> None:
    """Folds whose file was cut short while it was kept are made again, and are the same."""
    config_dir = make_project()
    sweep(config_dir, ["hpo.max_trials=1"])
    (kept,) = (config_dir.parent / "mlartifacts").rglob("folds.json")
    whole = kept.read_bytes()
    kept.write_bytes(whole[:20])
    assert len(sweep(config_dir).trials) == 3
    assert kept.read_bytes() == whole


def test_the_first_report_of_a_step_counts(make_project: MakeProject) -> None:
    """A step that is reported twice has the value of its first report, in the record as for the pruner."""
    config_dir = make_project(hpo={"max_trials": 2, "pruner": {"type": "median", "n_startup_trials": 1}})
    function = config_dir.parent / "objective.py"
    function.write_text(
        function.read_text().replace(
            "    if model_dir is not None", '    report(2, {"loss": 9})\n    if model_dir is not None'
        )
    )
    (first, *_) = sweep(config_dir).trials
    assert {fold.curve[2] for fold in first.folds.values()} == {first.folds[0].curve[1] - 0.5}


def test_a_result_that_outlived_its_driver(make_project: MakeProject) -> None:
    """A fold that went on alone, when nobody was there to stop it, is pruned as it would have been."""
    hpo = {"max_trials": 8, "pruner": {"type": "median", "n_startup_trials": 1}}
    expected = sweep(make_project("alone", hpo=hpo))
    pruned = next(trial for trial in expected.trials if trial.state == "pruned")
    (fold_idx,) = (index for index, fold in pruned.folds.items() if not fold.metrics)
    config_dir = make_project("cut", hpo=hpo)
    sweep(config_dir, [f"hpo.max_trials={pruned.number}"])
    project = open_project(config_dir)
    loss = (float(str(pruned.params["x"])) - 0.3) ** 2
    result = TrainingResult(
        key_hash=fold_key_hash(pruned.trial_key_hash, fold_idx),
        valid={"loss": loss},
        curve={1: {"loss": loss + 1}, 2: {"loss": loss + 0.5}},
    )
    result.write(project.paths.fold(pruned.number, fold_idx).result)
    trials = sweep(config_dir).trials
    assert [(trial.state, trial.params) for trial in trials] == [(t.state, t.params) for t in expected.trials]
    assert trials[pruned.number].failure == pruned.failure
