"""One page about a study: what was tried, what came of it, what was saved, and how to get the best again."""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from statistics import fmean, median
from typing import Final

import yaml
from jinja2 import Environment
from plotly.offline import get_plotlyjs
from pydantic import JsonValue

from infrastructure.errors import ExecutionError
from infrastructure.naming.keys import parse_document
from infrastructure.redaction import redacted
from infrastructure.storage.files import write_bytes_atomic
from training.hpo.execution.project import Project, open_project
from training.hpo.execution.status import StudyStatus, status_of
from training.hpo.figures import confidence, study_figures, top_trials
from training.hpo.records import TrialRecord
from training.hpo.tracking.reports import keep_report

SHOWN_FAILURES: Final = 20
PLOTLY: Final = "PLOTLY_GOES_HERE"
"""What Plotly's own code is put in place of: nothing in it is to be escaped or redacted."""


@dataclass(frozen=True)
class Savings:
    """What wasn't trained: folds that pruning denied, trials that another one answered, and the seconds of both.

    The seconds of pruned folds are estimated by the mean of the trained ones; what a fold that was stopped in the
    middle was spared isn't counted.
    """

    folds_trained: int
    folds_pruned: int
    trials_answered: int
    seconds_trained: float
    seconds_pruned: float
    seconds_answered: float


@dataclass(frozen=True)
class Row:
    """One of the best trials: its folds' values, and half the width of the confidence interval of their mean."""

    number: int
    value: float
    half: float | None
    folds: tuple[float, ...]
    params: dict[str, JsonValue]


def write_report(config_dir: str | Path | None = None, overrides: Sequence[str] = ()) -> Path:
    """Write the page of the project's study, keep it with the study's run, and return where it is.

    Raises ExecutionError for a study that isn't begun.
    """
    project = open_project(config_dir, overrides)
    status = status_of(project)
    if not status.trials:
        raise ExecutionError(f"{status.name} has no trials yet: run `assay sweep` first")
    page = project.paths.report
    page.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(page, render(project, status).encode())
    keep_report(status.run_id, page)
    return page


def render(project: Project, status: StudyStatus) -> str:
    """Return the page, which needs nothing but itself."""
    objective = status.objective
    own = [record for record in status.trials if not record.imported_from]
    figures = study_figures(own, project.config.hpo, status.study_key_hash)
    document = [json.loads(figure.to_json()) for figure in figures.values()]  # in the order of their titles
    best = status.best
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        (resources.files("training.hpo.execution") / "report.html.j2").read_text(encoding="utf-8")
    )
    text = template.render(
        status=status,
        states=Counter(record.state for record in own),
        rows=[_row(record, objective.metric) for record in top_trials(own, objective.direction)],
        best=best,
        half=None if best is None else _row(best, objective.metric).half,
        best_run_id="" if best is None else status.trial_run_ids[status.trials.index(best)],
        best_yaml="" if best is None else yaml.safe_dump({"params": best.params}, sort_keys=False),
        savings=savings(own),
        typical_seconds=median(record.training_seconds for record in own),
        failures=[record for record in own if record.state == "failed"][:SHOWN_FAILURES],
        identity=project.context.identity,
        key_document=yaml.safe_dump(parse_document(project.context.identity.document), sort_keys=False),
        titles=list(figures),
        figures=document,
        plotly=PLOTLY,
    )
    packed = base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()
    return redacted(text).replace(PLOTLY, packed)


def _row(record: TrialRecord, metric: str) -> Row:
    values = tuple(fold.metrics[metric] for _, fold in sorted(record.folds.items()) if metric in fold.metrics)
    return Row(record.number, record.value or 0.0, confidence(values), values, record.params)


def savings(records: Sequence[TrialRecord]) -> Savings:
    """Return what pruning and reuse saved over these trials."""
    by_number = {record.number: record for record in records}
    trained = [record for record in records if record.answered_by is None]
    whole = [fold.seconds for record in trained for fold in record.folds.values() if fold.metrics]
    fold_count = max((len(record.folds) for record in trained if record.state == "complete"), default=0)
    denied = sum(max(0, fold_count - len(record.folds)) for record in trained if record.state == "pruned")
    answered = [by_number[record.answered_by] for record in records if record.answered_by is not None]
    return Savings(
        folds_trained=len(whole),
        folds_pruned=denied,
        trials_answered=len(answered),
        seconds_trained=sum(record.training_seconds for record in records),
        seconds_pruned=denied * fmean(whole) if whole else 0.0,
        seconds_answered=sum(record.training_seconds for record in answered),
    )
