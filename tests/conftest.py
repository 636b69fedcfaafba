"""What all tests share: a tracking store of their own, and small projects that run."""

from __future__ import annotations

import json
import os
import shutil
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from server.postgres import PostgresError, programs

from infrastructure import redaction
from infrastructure.naming import tags
from infrastructure.tracking.mlflow.session import set_session
from tests.faults.servers import Database, postgres_running

REPOSITORY = Path(__file__).parent.parent
WNUT17 = REPOSITORY.parent / "shared" / "data" / "wnut17"

MakeProject = Callable[..., Path]

FUNCTION = textwrap.dedent(
    '''
    """A training function whose best point is x = 0.3; it notes every call."""
    import json, os
    from pathlib import Path

    def train(params, train, valid, seed, report, model_dir):
        with open(Path(__file__).parent / "calls.jsonl", "a") as log:
            log.write(json.dumps({**params, "rows": len(train), "run_id": os.environ.get("MLFLOW_RUN_ID")}) + "\\n")
        if params.get("mode") == "crash":
            os.kill(os.getpid(), 9)
        if params.get("mode") == "raise":
            raise RuntimeError("the function gave up")
        loss = (params["x"] - 0.3) ** 2 + len(train) * 1e-6
        for step in (1, 2):
            report(step, {"loss": loss + 1 / step})
        if model_dir is not None:
            (model_dir / "x.json").write_text(json.dumps(params["x"]))
        return {"loss": float("nan") if params.get("mode") == "nan" else loss, "test_loss": loss * 2}

    def predict(model_dir, frame):
        x = json.loads((Path(model_dir) / "x.json").read_text())
        return [x * value for value in frame["value"]]
    '''
)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store file with MLflow's schema and nothing in it; making one costs seconds, copying it nothing."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(scope="session")
def database() -> Iterator[Database]:
    """Yield PostgreSQL, where it can run; with `NO_SKIPS` in the environment, as in CI, it has to."""
    try:
        programs()
    except PostgresError as error:
        if "NO_SKIPS" in os.environ:
            raise
        pytest.skip(str(error))
    with postgres_running() as database:
        yield database


@pytest.fixture(autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a cache folder of its own, and leave the user's alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin each test without the credentials that another one planted: they are taken out of every text."""
    monkeypatch.setattr(redaction._Remembered, "values", frozenset())


@pytest.fixture(autouse=True)
def fresh_mlflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Begin each test with MLflow unconfigured, and leave its process-wide settings as they were."""
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "AZUREML_"))]:
        monkeypatch.delenv(name)
    set_session(None)
    mlflow.set_tracking_uri("")
    yield
    set_session(None)
    mlflow.end_run()
    mlflow.set_tracking_uri("")
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "AZUREML_"))]:
        os.environ.pop(name)


@pytest.fixture
def make_project(tmp_path: Path, empty_store: Path) -> MakeProject:
    """Return a function that makes a project with a training function of its own and an empty store."""
    return project_maker(tmp_path, empty_store)


def project_maker(folder: Path, empty_store: Path) -> MakeProject:
    """Return what `make_project` is, for projects in any folder."""

    def make(name: str = "project", hpo: Mapping[str, object] | None = None, **train: object) -> Path:
        root = folder / name
        (root / "config").mkdir(parents=True)
        (root / "objective.py").write_text(FUNCTION)
        rows = [{"value": float(index), "label": float(index % 3)} for index in range(12)]
        (root / "data").mkdir()
        for split, count in (("train", 12), ("test", 4)):
            (root / "data" / f"{split}.jsonl").write_text("\n".join(json.dumps(row) for row in rows[:count]))
        configs: dict[str, Mapping[str, object]] = {
            "data": {"task": "custom", "path": "data"},
            "hpo": {
                "study_name": "quadratic",
                "objective": {"metric": "loss", "direction": "minimize"},
                "search_space": {"x": {"type": "uniform", "low": 0.0, "high": 1.0}},
                "sampler": {"type": "random"},
                "pruner": {"type": "none"},
                "fold_pruner": {"type": "none"},
                "cv": {"type": "kfold", "folds": 2},
                "max_trials": 3,
                **(hpo or {}),
            },
            "train": {"trainer": "function", "backbone": "objective:train", "predict": "objective:predict", **train},
        }
        for section, values in configs.items():
            # JSON is YAML too.
            (root / "config" / f"{section}.yaml").write_text(json.dumps(values))
        shutil.copy(empty_store, root / "mlflow.db")
        return root / "config"

    return make


def calls(config_dir: Path) -> list[dict[str, object]]:
    """Return the calls that a project's training function noted."""
    log = config_dir.parent / "calls.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def unsent_folds(config_dir: Path) -> int:
    """Return how many folds had ended whose runs the tracking store hasn't got yet."""
    count = 0
    for journal in (config_dir.parent / "outputs").glob("*/outbox-*.jsonl"):
        position = journal.with_suffix(".position")
        sent = int(position.read_text() or 0) if position.exists() else 0
        lines = journal.read_bytes()[sent:].splitlines()
        count += sum(b'"kind":"end"' in line and tags.FOLD_RECORD.encode() in line for line in lines)
    return count
