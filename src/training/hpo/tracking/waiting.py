"""What waits on disk for the tracking store, of whichever study."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from infrastructure.errors import RunNotFoundError
from infrastructure.naming import tags
from infrastructure.storage.own_files import check_own
from infrastructure.tracking.mlflow import queries
from infrastructure.tracking.mlflow.outbox import Outbox, journals
from infrastructure.tracking.mlflow.session import current_session
from training.hpo.tracking.claims import claim_if_served
from training.hpo.tracking.study_runs import study_lease


def send_waiting(output_dir: Path) -> Iterator[tuple[str, int]]:
    """Send what waits below an output folder, and yield the name of each study with the count of its records.

    Raises StoreUnreachableError if the store doesn't answer, StudyHeldError for a study that is being worked on, and
    RunNotFoundError for one that the store hasn't got.
    """
    for journal, study_run_id in journals(output_dir):
        check_own(journal.parent)
        try:
            study = queries.get_run(study_run_id)
        except RunNotFoundError as error:
            raise RunNotFoundError(f"{error}; what waits in {journal} belongs to it: choose its store") from error
        with study_lease(journal.parent.name, study.name, journal.parent), ExitStack() as undo:
            claim = claim_if_served((study.tags.get(tags.STUDY_KEY, ""), study.variant), study_run_id)
            if claim is not None:
                undo.callback(claim.release)
            outbox = Outbox(journal.parent, study_run_id)
            if claim is not None:
                claim.keep(outbox.fail)
            count = outbox.waiting
            outbox.close(current_session().client.patience)
        yield study.name, count
