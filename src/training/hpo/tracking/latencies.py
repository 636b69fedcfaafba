"""Latencies of refitted models: kept with their runs, for each machine and way of measuring."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from infrastructure.config.schema.hpo import Latency
from infrastructure.naming import tags
from infrastructure.naming.exec_fingerprint import machine
from infrastructure.naming.keys import hash_document
from infrastructure.tracking.mlflow import queries, runs
from infrastructure.tracking.mlflow.runs import MetricPoint, RunContent
from training.hpo.records import TrialRecord
from training.hpo.tracking.model_runs import REFIT


@dataclass(frozen=True)
class Conditions:
    """With what latencies are measured that may be compared: on this machine, with so many threads."""

    latency: Latency
    threads: int

    @property
    def document(self) -> Mapping[str, JsonValue]:
        """The conditions as they are kept beside what was measured."""
        return {**self.latency.model_dump(mode="json"), "threads": self.threads, "machine": machine()}

    @property
    def tag(self) -> str:
        """The key of the tag that keeps a latency measured so."""
        return f"{tags.LATENCY}.{hash_document(self.document)[:8]}"


def stored_latency(trial: TrialRecord, conditions: Conditions) -> float | None:
    """Return the seconds an example of a trial's refitted model, or None if it isn't measured under these conditions.

    A refit of the same key has the same model, in whichever run: the newest measurement counts.
    """
    found = queries.find_runs({tags.REFIT_KEY: REFIT.key_hash(trial.trial_key_hash), tags.STAGE: REFIT.stage})
    kept = [run.tags[conditions.tag] for run in found if conditions.tag in run.tags]
    return float(json.loads(kept[-1])["seconds"]) if kept else None


def keep_latency(run_id: str, seconds: float, conditions: Conditions) -> None:
    """Keep a latency, in seconds an example, with the run of the refit."""
    text = json.dumps({**conditions.document, "seconds": seconds})
    runs.write_run(run_id, RunContent(metrics=[MetricPoint("latency", seconds)], tags={conditions.tag: text}))


def keep_reason(run_id: str, reason: str) -> None:
    """Keep with the run of a refit why its trial was chosen."""
    runs.set_tag(run_id, tags.SELECTION, reason)
