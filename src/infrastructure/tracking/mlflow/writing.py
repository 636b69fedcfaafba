"""Whether the configured store can be written to."""

from __future__ import annotations

import datetime

from mlflow.exceptions import MlflowException

from infrastructure.errors import TrackingError, one_line
from infrastructure.naming import tags
from infrastructure.tracking.mlflow.session import current_session


def try_to_write() -> None:
    """Write the time to a tag of the experiment; raises TrackingError with what the store has against it."""
    session = current_session()
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    try:
        session.client.set_experiment_tag(session.experiment_id, tags.CHECKED_AT, now)
    except MlflowException as error:
        raise TrackingError(f"the tracking store can't be written to: {one_line(error)}") from error
