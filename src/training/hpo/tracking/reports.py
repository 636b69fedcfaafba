"""What people read of a study in MLflow's UI: descriptions, the report, and which columns come first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from infrastructure.naming import tags
from infrastructure.naming.run_names import RunLabels, run_name
from infrastructure.tracking.mlflow import pages, runs
from infrastructure.tracking.mlflow.models import ModelNotes
from infrastructure.tracking.mlflow.pages import TableView
from training.hpo.records import TrialRecord
from training.hpo.tracking.context import HpoContext

REPORT: Final = "report/index.html"
"""The page about a study, as an artifact of its run."""


def keep_report(study_run_id: str, page: Path) -> None:
    """Keep a page with a study's run, below the name of its folder."""
    runs.log_artifacts(study_run_id, page.parent, page.parent.name)


def study_note(context: HpoContext, study_run_id: str) -> str:
    """Return the description of a study's run."""
    return f"The study `{context.study_name}` of `{context.backbone}`. {_report_link(study_run_id)}"


def model_notes(
    context: HpoContext, study_run_id: str, record: TrialRecord, test_metrics: dict[str, float]
) -> ModelNotes:
    """Return the descriptions of a registered model, which several studies may share, and of its version."""
    scores = ", ".join(f"test {name} {value:.4f}" for name, value in sorted(test_metrics.items()))
    study = f"the study [{context.study_name}]({pages.run_page(study_run_id)})"
    return ModelNotes(
        model=f"Models of `{context.study_name}`; `champion` is the one that `assay serve` serves. "
        f"The first is of {study}. {_report_link(study_run_id)}",
        version=f"Trial {record.number}, objective {record.value:.4f}{scores and f', {scores}'}; of {study}. "
        f"{_report_link(study_run_id)}",
    )


def _report_link(study_run_id: str) -> str:
    page = pages.run_page(study_run_id, REPORT)
    return f"[Report of the study]({page}), as of the last `assay run` or `assay report`."


def save_study_view(context: HpoContext, metric: str, params: Sequence[str]) -> str:
    """Keep with the experiment in which columns the study's runs are shown, and return the key of this view.

    What a trial is judged by comes first, then its spread over the folds, the test score and the hyperparameters.
    """
    key = f"assay-{context.study_key_hash[:8]}"
    labels = RunLabels(context.backbone, context.study_key_hash)
    view = TableView(
        title=f"{context.study_name}: trials",
        metrics=(f"valid_{metric}", f"valid_{metric}_std", f"test_{metric}", "best_value"),
        params=params,
        name_length=len(run_name(context.naming, tags.STAGE_FOLD, labels)),
    )
    pages.save_view(key, view)
    return key
