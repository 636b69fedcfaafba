"""Reproduction: a training of the tracking store done again from what the store has, and compared."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from infrastructure.errors import ExecutionError
from infrastructure.naming.differences import Difference, differences
from infrastructure.naming.keys import parse_document, study_identity
from infrastructure.paths.layout import TaskPaths
from infrastructure.paths.utils import resolve_project_paths_with_fallback
from infrastructure.storage.files import write_bytes_atomic
from infrastructure.tracking.mlflow.setup import setup_mlflow
from training.execution.mlflow_setup import worker_environment
from training.execution.result import TrainingResult
from training.execution.task import TrainingTask
from training.hpo.execution.local.workers import executor_here, train_alone
from training.hpo.execution.progress import Progress
from training.hpo.tracking.environments import environment_now
from training.hpo.tracking.recorded import WHOLE, RecordedTraining, recorded_training


@dataclass(frozen=True)
class MetricPair:
    """A metric as it was recorded and as it is reproduced; `fold_idx` is absent for a refit or final training."""

    name: str
    fold_idx: int | None
    recorded: float
    reproduced: float

    @property
    def is_identical(self) -> bool:
        """Whether the two are the same to the last bit."""
        return self.recorded == self.reproduced

    def is_within(self, tolerance: float) -> bool:
        """Tell whether the two differ by no more than a share of the recorded value, or of 1 if that is smaller."""
        return abs(self.recorded - self.reproduced) <= tolerance * max(1.0, abs(self.recorded))


@dataclass(frozen=True)
class Reproduction:
    """What came of doing a training again; `environment` is in what software and machine differ from then.

    It is None if nobody kept what the training was executed with.
    """

    name: str
    metrics: tuple[MetricPair, ...]
    environment: tuple[Difference, ...] | None


def reproduce(
    reference: str, config_dir: str | Path | None = None, *, progress: Progress | None = None
) -> Reproduction:
    """Do a trial, fold, refit or final training again, and compare its metrics with those of the tracking store.

    The configuration comes from the store alone; of the project only its store, data, code and credentials are used,
    which no run keeps. Nothing is written to the store. Raises RunNotFoundError if the store lacks the run, and
    ExecutionError if the data isn't what it was or the training fails.
    """
    root_dir, found = resolve_project_paths_with_fallback(config_dir=config_dir)
    setup_mlflow(config_dir=found)
    recorded = recorded_training(reference, found)
    _check_identity(recorded, root_dir)
    show = progress or Progress()
    pairs: list[MetricPair] = []
    device = ""
    with tempfile.TemporaryDirectory(prefix="assay-") as folder:
        for fold_idx in recorded.metrics:
            what = recorded.name if fold_idx == WHOLE else f"{recorded.name}, fold {fold_idx}"
            show.training_started(f"{what}: training again")
            result = _train(recorded, fold_idx, root_dir, Path(folder), show)
            device = result.device
            pairs += _pairs(recorded.metrics[fold_idx], result, fold_idx)
    before = recorded.environment
    now = {**environment_now(root_dir), **({"device": device} if "device" in before else {})}
    return Reproduction(recorded.name, tuple(pairs), tuple(differences(before, now)) if before else None)


def _check_identity(recorded: RecordedTraining, root_dir: Path) -> None:
    """Raise ExecutionError, naming the fields, if the recorded configuration is another study with the data here."""
    here = study_identity(recorded.data, recorded.hpo, recorded.train, recorded.backbone, root_dir)
    if found := list(differences(recorded.document, parse_document(here.document))):
        shown = "; ".join(map(str, found))
        raise ExecutionError(f"{recorded.name} can't be reproduced in {root_dir}, since here {shown}")


def _train(
    recorded: RecordedTraining, fold_idx: int, root_dir: Path, folder: Path, progress: Progress
) -> TrainingResult:
    folds_file = folder / "folds.json"
    write_bytes_atomic(folds_file, recorded.folds.encode())
    task = TrainingTask(
        task_id=f"reproduce/{fold_idx}",
        key_hash="reproduction",
        root_dir=root_dir,
        folder=folder / f"training-{fold_idx}",
        data=recorded.data,
        train=recorded.train,
        objective=recorded.hpo.objective,
        params=dict(recorded.params),
        folds_file=folds_file,
        fold_idx=None if fold_idx == WHOLE else fold_idx,
        include_validation=recorded.include_validation,
    )
    own_store = worker_environment(f"sqlite:///{folder / 'mlflow.db'}")
    result, reason = train_alone(task, executor_here(recorded.train.trainer, own_store), progress)
    if result is None:
        raise ExecutionError(f"{recorded.name} failed this time: {reason}{_last_lines(task.paths)}")
    return result


def _last_lines(paths: TaskPaths, count: int = 3) -> str:
    lines = paths.log.read_text(errors="replace").splitlines() if paths.log.is_file() else []
    return f" (it printed: {' / '.join(lines[-count:])})" if lines else ""


def _pairs(recorded: Mapping[str, float], result: TrainingResult, fold_idx: int) -> list[MetricPair]:
    now = {f"valid_{name}": value for name, value in result.valid.items()}
    now |= {f"test_{name}": value for name, value in result.test.items()}
    fold = None if fold_idx == WHOLE else fold_idx
    return [MetricPair(name, fold, value, now.get(name, math.nan)) for name, value in sorted(recorded.items())]
