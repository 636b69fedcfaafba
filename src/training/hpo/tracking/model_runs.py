"""The runs of refits and final trainings: linked to their trial and study, holding a model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

import pandas as pd
from pydantic import JsonValue

from infrastructure.config.schema import TrainConfig
from infrastructure.config.schema.train import FinalTraining
from infrastructure.naming import tags
from infrastructure.naming.fingerprints import fingerprint
from infrastructure.naming.keys import refit_key_hash
from infrastructure.naming.run_names import RunLabels, run_name
from infrastructure.paths.layout import TaskPaths
from infrastructure.redaction import without_credentials
from infrastructure.tracking.mlflow import models, queries, runs
from infrastructure.tracking.mlflow.models import CHAMPION, ModelSource
from infrastructure.tracking.mlflow.runs import RunContent, RunStatus
from infrastructure.tracking.mlflow.session import current_session
from training.execution.mlflow_setup import (
    complete_training_run,
    create_training_mlflow_run,
    fail_training_run,
)
from training.execution.result import TrainingResult
from training.hpo.tracking.context import HpoContext
from training.hpo.tracking.environments import environment_tags
from training.hpo.tracking.reports import model_notes
from training.hpo.tracking.study_runs import TrialRun, common_tags, end_running
from training.trainers.predictors import predictor_of

Stage = Literal["hpo_refit", "final_training"]
TEST_PREFIX: Final = "test_"


@dataclass(frozen=True)
class Protocol:
    """How a training differs from its trial: its stage, hyperparameters that go over the trial's, and its data."""

    stage: Stage
    params: Mapping[str, JsonValue]
    include_validation: bool

    @classmethod
    def of_final(cls, final: FinalTraining) -> Protocol:
        """Return the protocol of a final training."""
        return cls("final_training", final.params, final.include_validation)

    @property
    def document(self) -> dict[str, JsonValue]:
        """What the key of a training under this protocol is computed from, beside its trial; it holds no credential."""
        differing: dict[str, JsonValue] = {"stage": self.stage, "include_validation": self.include_validation}
        return without_credentials({**differing, "params": dict(self.params)})

    def key_hash(self, trial_key_hash: str) -> str:
        """Return the key of this training of a trial."""
        return refit_key_hash(trial_key_hash, self.document)


REFIT: Final = Protocol(stage="hpo_refit", params={}, include_validation=False)
"""A refit is the trial as it was, on the whole training split."""


@dataclass(frozen=True)
class ModelRun:
    """A run that makes a model, or has made it if `is_done`."""

    run_id: str
    name: str
    trial_key_hash: str
    variant: int
    is_done: bool


class ModelRuns:
    """Writes and reads the runs of a study's trainings under one protocol."""

    def __init__(self, context: HpoContext, config: TrainConfig, protocol: Protocol, study_run_id: str) -> None:
        self._context = context
        self._predictor = predictor_of(config, context.root_dir)
        self._protocol = protocol
        self._study_run_id = study_run_id

    def find(self, trial: TrialRun) -> ModelRun | None:
        """Return the run of a trial's training: of the newest variant the one that is done, else one that was begun."""
        wanted = {
            tags.REFIT_KEY: self._protocol.key_hash(trial.record.trial_key_hash),
            tags.STAGE: self._protocol.stage,
            tags.LINEAGE_STUDY_RUN: self._study_run_id,
        }
        found = queries.find_runs(wanted)
        if not found:
            return None
        run = max(found, key=lambda run: (run.variant, run.is_done))
        return ModelRun(run.run_id, run.name, run.tags[tags.TRIAL_KEY], run.variant, run.is_done)

    def begin(self, trial: TrialRun, variant: int) -> ModelRun:
        """Create the run, linked to its trial and study."""
        record = trial.record
        labels = RunLabels(
            backbone=self._context.backbone,
            study_key_hash=self._context.study_key_hash,
            trial_number=record.number,
            trial_key_hash=record.trial_key_hash,
        )
        name = run_name(self._context.naming, self._protocol.stage, labels)
        run_id, _ = create_training_mlflow_run(
            current_session().experiment_name,
            name,
            tags={
                **common_tags(self._context),
                **self._environment(),
                **tags.split_long(tags.CONFIG, self._context.configs),
                **tags.split_long(tags.REFIT_PROTOCOL, json.dumps(self._protocol.document, ensure_ascii=False)),
                tags.STAGE: self._protocol.stage,
                tags.REFIT_KEY: self._protocol.key_hash(record.trial_key_hash),
                tags.VARIANT: str(variant),
                tags.TRIAL_KEY: record.trial_key_hash,
                tags.REFIT_OF_TRIAL: trial.run_id,
                tags.LINEAGE_STUDY_RUN: self._study_run_id,
            },
            parent_run_id=self._study_run_id if self._protocol.stage == tags.STAGE_REFIT else None,
            trial_number=record.number,
        )
        self._end_others(run_id)
        return ModelRun(run_id, name, record.trial_key_hash, variant, is_done=False)

    def resume(self, run: ModelRun) -> None:
        """Take up a run that was begun and not done."""
        create_training_mlflow_run(
            current_session().experiment_name, run.name, tags=self._environment(), run_id=run.run_id
        )
        self._end_others(run.run_id)

    def _end_others(self, run_id: str) -> None:
        """End what a killed command left RUNNING, of this trial or of one that isn't the best any more."""
        end_running({tags.LINEAGE_STUDY_RUN: self._study_run_id, tags.STAGE: self._protocol.stage}, but=run_id)

    def _environment(self) -> dict[str, str]:
        return environment_tags(self._context.root_dir, partial(runs.log_text, self._study_run_id))

    def complete(self, run: ModelRun, result: TrainingResult, params: Mapping[str, object], paths: TaskPaths) -> None:
        """Keep the model with its run, then what came of the training, then that it is done."""
        runs.write_run(run.run_id, RunContent(tags={tags.MODEL_FINGERPRINT: fingerprint(paths.model)}))
        if self._predictor is None or not paths.example.exists():  # nothing to ask, or nothing to ask about
            runs.log_artifacts(run.run_id, paths.model, models.ARTIFACT_PATH)
        else:
            example = json.loads(paths.example.read_text())
            models.log_model(
                run.run_id,
                ModelSource(
                    folder=paths.model,
                    predictor=self._predictor.function,
                    code=self._predictor.code,
                    package=self._predictor.package,
                    requirements=self._predictor.requirements,
                    example=pd.DataFrame(example["input"]),
                    example_output=pd.DataFrame(example["output"]),
                ),
            )
        complete_training_run(run.run_id, result, params)

    def fail(self, run: ModelRun, reason: str, status: RunStatus) -> None:
        """End a run whose training came to nothing."""
        fail_training_run(run.run_id, reason, status)

    def register(self, run: ModelRun, trial: TrialRun, name: str) -> str:
        """Make the run's model the champion and return its version; empty if the run keeps no servable model."""
        if not models.is_servable(run.run_id):
            return ""
        version_tags = {tags.STUDY_KEY: self._context.study_key_hash, tags.TRIAL_KEY: run.trial_key_hash}
        notes = model_notes(self._context, self._study_run_id, trial.record, self.test_metrics(run))
        return models.register_model(run.run_id, name, CHAMPION, version_tags, notes)

    def test_metrics(self, run: ModelRun) -> dict[str, float]:
        """Return the metrics on the test split, by their names."""
        metrics = queries.get_run(run.run_id).metrics
        return {
            name.removeprefix(TEST_PREFIX): value for name, value in metrics.items() if name.startswith(TEST_PREFIX)
        }


def fetch_model(run_id: str, folder: Path) -> None:
    """Write the model's own files, as a run keeps them, to a folder that isn't there yet, whole or not at all."""
    models.fetch_model(run_id, folder)
