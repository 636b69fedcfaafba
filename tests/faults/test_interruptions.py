"""Signals and deaths in the middle of the work: of the driver, and of the processes that do it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from infrastructure.naming import tags
from infrastructure.tracking.mlflow import queries
from infrastructure.tracking.mlflow.setup import setup_mlflow
from tests.conftest import MakeProject
from tests.faults.servers import running
from tests.faults.test_store_away import use
from tests.training.test_fine_tuning import CONFIGS
from tests.training.trainers.tiny import make_tiny_backbone
from training.hpo.execution.local.refit import refit
from training.hpo.execution.local.sweep import sweep
from training.resume_data import write_resume_data

FUNCTION = textwrap.dedent(
    '''
    """A training of ten steps that notes each, saves a checkpoint when one is due, and can die once at a step."""
    import json, os, time
    from pathlib import Path

    ROOT = Path(__file__).parent

    def train(params, train, valid, seed, report, checkpoints, model_dir):
        folder = checkpoints.restore()
        step = 0 if folder is None else json.loads((folder / "step.json").read_text())
        while step < 10:
            step += 1
            with open(ROOT / "steps.jsonl", "a") as log:
                log.write(json.dumps([params["x"], len(train), step]) + "\\n")
            report(step, {"loss": params["x"] + 1 / step})
            if checkpoints.is_due:
                checkpoints.save(lambda folder: (folder / "step.json").write_text(json.dumps(step)))
            time.sleep(float(os.environ.get("STEP_SECONDS", "0")))
            if (ROOT / f"dies-at-{step}").exists():
                (ROOT / f"dies-at-{step}").unlink()
                os.abort()
        if model_dir is not None:
            (model_dir / "x.json").write_text(json.dumps(params["x"]))
        return {"loss": params["x"], "test_loss": params["x"]}
    '''
)


def project(make_project: MakeProject, name: str = "project", **train: object) -> Path:
    """Return a project whose training can go on in the middle."""
    config_dir = make_project(name, {"max_trials": 2, "cv": {"type": "holdout"}}, predict=None, **train)
    (config_dir.parent / "objective.py").write_text(FUNCTION)
    return config_dir


def steps(config_dir: Path) -> list[int]:
    """Return the steps that were done, in order."""
    log = config_dir.parent / "steps.jsonl"
    return [json.loads(line)[2] for line in log.read_text().splitlines()] if log.exists() else []


def start(config_dir: Path, *command: str, step_seconds: float = 0.0) -> subprocess.Popen[str]:
    """Start a command of `assay` in a process group of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return subprocess.Popen(
        [sys.executable, "-m", "training.cli.main", *command, "--config-dir", str(config_dir)],
        env={**environment, "STEP_SECONDS": str(step_seconds)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(condition: object) -> None:
    """Wait until a condition holds."""
    assert callable(condition)
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def statuses(config_dir: Path) -> set[str]:
    """Return the statuses of all runs of the project's store."""
    setup_mlflow(config_dir=config_dir)
    return {run.status for run in queries.search("")}


def test_a_training_that_dies_goes_on_from_its_checkpoint(make_project: MakeProject) -> None:
    """A fold whose process dies goes on where it was, under its own run, which keeps the cause; so does a refit."""
    alone = sweep(project(make_project, "alone"))
    config_dir = project(make_project, checkpoint_interval=0)
    (config_dir.parent / "dies-at-4").touch()
    result = sweep(config_dir)
    assert steps(config_dir) == [*range(1, 11), *range(1, 11)]
    assert [trial.params for trial in result.trials] == [trial.params for trial in alone.trials]
    curves = [[trial.folds[0].curve for trial in study.trials] for study in (result, alone)]
    assert curves[0] == curves[1]
    folds = queries.find_runs({tags.STAGE: tags.STAGE_FOLD})
    assert [run.tags.get(tags.DEATHS) for run in folds] == ["the process was ended by SIGABRT", None]
    assert not list((config_dir.parent / "outputs").rglob("checkpoint-*"))
    (config_dir.parent / "dies-at-7").touch()
    refit(config_dir)
    assert steps(config_dir)[20:] == [*range(1, 11)]


def test_a_training_that_always_dies_fails_alone(make_project: MakeProject) -> None:
    """After max_retries the trial has failed of it, and the next one is tried."""
    config_dir = project(make_project, max_retries=1)
    objective = config_dir.parent / "objective.py"
    begin = "    folder = checkpoints.restore()\n"
    objective.write_text(FUNCTION.replace(begin, f"{begin}    if params['x'] > 0.5:\n        os.abort()\n"))
    result = sweep(config_dir, ["hpo.max_trials=6"])
    failed = [trial for trial in result.trials if trial.state == "failed"]
    assert failed
    assert all(trial.params["x"] > 0.5 for trial in failed)  # type: ignore[operator]
    assert "the process was ended by SIGABRT (2 attempts)" in failed[0].failure


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interrupted_sweep_goes_on_in_the_middle_of_a_fold(
    make_project: MakeProject, sent: signal.Signals, code: int
) -> None:
    """The fold at work saves a checkpoint, the runs end as KILLED, and the same command does no step again."""
    config_dir = project(make_project)
    process = start(config_dir, "sweep", step_seconds=0.2)
    wait_for(lambda: len(steps(config_dir)) >= 4)
    begun = time.monotonic()
    process.send_signal(sent)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    assert time.monotonic() - begun < 10
    done = len(steps(config_dir))
    assert done < 10
    assert statuses(config_dir) == {"KILLED"}
    sweep(config_dir)
    assert steps(config_dir) == [*range(1, 11), *range(1, 11)]
    assert statuses(config_dir) == {"FINISHED"}


def test_a_signal_to_the_whole_group_is_the_same(make_project: MakeProject) -> None:
    """A batch system tells every process at once; nothing is lost by that."""
    config_dir = project(make_project)
    process = start(config_dir, "sweep", step_seconds=0.2)
    wait_for(lambda: len(steps(config_dir)) >= 4)
    os.killpg(process.pid, signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143, stderr
    assert statuses(config_dir) == {"KILLED"}
    sweep(config_dir)
    assert steps(config_dir) == [*range(1, 11), *range(1, 11)]


def test_a_second_signal_at_any_time_leaves_it_resumable(make_project: MakeProject) -> None:
    """Whenever a second signal comes while the first one is heeded, the command ends and can be given again."""
    config_dir = project(make_project)
    rng = random.Random(0)
    for _ in range(2):
        before = len(steps(config_dir))
        process = start(config_dir, "sweep", step_seconds=0.2)
        wait_for(lambda: len(steps(config_dir)) > before)  # noqa: B023
        process.send_signal(signal.SIGTERM)
        time.sleep(rng.random())
        process.send_signal(rng.choice((signal.SIGTERM, signal.SIGINT)))
        _, stderr = process.communicate(timeout=30)
        assert process.returncode in (130, 143, -signal.SIGINT, -signal.SIGTERM), stderr
    result = sweep(config_dir)
    assert [trial.state for trial in result.trials] == ["complete"] * 2
    assert statuses(config_dir) == {"FINISHED"}
    assert sorted(set(steps(config_dir))) == [*range(1, 11)]


@pytest.mark.parametrize("done", [12, 20])
def test_an_interrupted_sweep_does_not_wait_for_a_store_that_is_away(
    make_project: MakeProject, tmp_path: Path, empty_store: Path, done: int
) -> None:
    """In a training, or when it only sends what is left: within ten seconds it has ended, however the store hangs."""
    with running(tmp_path / "server", empty_store) as server:
        config_dir = use(project(make_project), server.address)
        process = start(config_dir, "sweep", step_seconds=0.2)
        wait_for(lambda: len(steps(config_dir)) >= 12)
        server.pause()
        wait_for(lambda: len(steps(config_dir)) >= done)
        time.sleep(1 if done == 20 else 0)
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 143, stderr
        assert time.monotonic() - begun < 10
        server.resume()
        sweep(config_dir)
        assert steps(config_dir) == [*range(1, 11), *range(1, 11)]
        assert statuses(config_dir) == {"FINISHED"}


def test_an_interrupted_fine_tuning_goes_on(tmp_path: Path, empty_store: Path) -> None:
    """A fine-tuning, interrupted in the middle, goes on from there to the result of one go, to the last bit."""
    backbone = make_tiny_backbone(tmp_path / "tiny")
    params = {"num_train_epochs": 30, "per_device_train_batch_size": 4, "max_length": 40}
    train = {"trainer": "transformers", "backbone": backbone, "params": params, "checkpoint_interval": 0}

    def project_of(name: str) -> Path:
        root = tmp_path / name
        (root / "config").mkdir(parents=True)
        for section, values in {**CONFIGS, "train": train}.items():
            (root / "config" / f"{section}.yaml").write_text(json.dumps(values))
        write_resume_data(root / "data", {"train": 60, "test": 20}, seed=7)
        shutil.copy(empty_store, root / "mlflow.db")
        return root / "config"

    alone = sweep(project_of("alone"), ["train.checkpoint_interval=600"])
    config_dir = project_of("interrupted")
    folder = config_dir.parent / "outputs"
    process = start(config_dir, "sweep")
    # Folders of older checkpoints go while this looks, so it looks into none.
    wait_for(lambda: list(folder.glob("*/trial-*/fold-*/checkpoints/checkpoint-30")))
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143, stderr
    assert list(folder.rglob("checkpoint-*/tensors.safetensors"))
    result = sweep(config_dir)
    assert len(result.best.folds[0].curve) == 30
    assert result.best.folds[0].curve == alone.best.folds[0].curve
    assert result.best.value == alone.best.value
