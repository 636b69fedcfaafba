"""Writing and reading runs, in a real store."""

from __future__ import annotations

import pytest
from tests.conftest import MakeProject

from infrastructure.errors import MlflowNotConfiguredError, RunNotFoundError, TrackingError
from infrastructure.naming import tags
from infrastructure.tracking.mlflow import queries, runs
from infrastructure.tracking.mlflow.runs import MetricPoint, RunContent
from infrastructure.tracking.mlflow.session import current_session, set_session
from infrastructure.tracking.mlflow.setup import setup_mlflow


@pytest.fixture(autouse=True)
def store(make_project: MakeProject) -> None:
    """Set MLflow up on an empty store."""
    setup_mlflow("e", make_project())


def test_long_content_is_not_cut() -> None:
    """More metrics, params and tags than one batch takes all arrive, exact to the last bit."""
    run_id = runs.create_run("e", "big", {}, None).info.run_id
    content = RunContent(
        params={f"p{index}": repr(0.1 + index) for index in range(250)},
        metrics=[MetricPoint("m", 1 / (step + 3), step) for step in range(2_300)],
        tags={f"t{index}": "x" * 3_000 for index in range(150)},
    )
    runs.complete_run(run_id, content)
    record = queries.get_run(run_id)
    assert record.params == content.params
    assert record.metrics == {"m": 1 / 2_302}
    assert len(current_session().client.get_metric_history(run_id, "m")) == 2_300
    assert {key: value for key, value in record.tags.items() if key.startswith("t")} == content.tags
    assert (record.is_done, record.status) == (True, "FINISHED")


def test_done_is_written_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose content can't be written is neither done nor finished."""
    run_id = runs.create_run("e", "cut", {}, None).info.run_id

    def no_batch(*args: object, **keywords: object) -> None:
        raise ConnectionError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(current_session().client, "log_batch", no_batch)
        with pytest.raises(ConnectionError):
            runs.complete_run(run_id, RunContent(params={"a": "1"}))
    record = queries.get_run(run_id)
    assert (record.is_done, record.status) == (False, "RUNNING")


def test_empty_name_is_an_error() -> None:
    """A run without a name is refused, so MLflow never makes one up."""
    with pytest.raises(TrackingError, match="run_name is empty"):
        runs.create_run("e", "  ", {}, None)


def test_unknown_experiment_says_what_to_do() -> None:
    """A run for an experiment that wasn't set up names the call that is missing."""
    with pytest.raises(TrackingError, match=r"call setup_mlflow\(experiment_name='other'\) first"):
        runs.create_run("other", "run", {}, None)


def test_unknown_run_is_an_error() -> None:
    """A run id that the store doesn't have is named, with the store."""
    with pytest.raises(RunNotFoundError, match="no run 'nope' in sqlite"):
        runs.reopen_run("nope")


def test_every_run_carries_its_writers_tag() -> None:
    """Two runs have two tags of their writer's, by which a doubled creation could be told."""
    made = [runs.create_run("e", "same", {}, None).info.run_id for _ in range(2)]
    assert len({queries.get_run(run_id).tags[tags.WRITER] for run_id in made}) == 2


def test_finding_reads_every_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are found beyond the first page, the oldest first."""
    monkeypatch.setattr(queries, "PAGE", 3)
    made = [runs.create_run("e", f"run {index}", {tags.STAGE: "x"}, None).info.run_id for index in range(8)]
    runs.create_run("e", "other", {tags.STAGE: "y"}, None)
    assert [run.run_id for run in queries.find_runs({tags.STAGE: "x"})] == made


def test_texts_kept_with_a_run_come_back() -> None:
    """A text that was kept is read again; one that wasn't is absent."""
    run_id = runs.create_run("e", "run", {}, None).info.run_id
    runs.log_text(run_id, "[1]", "folds.json")
    assert runs.read_text(run_id, "folds.json") == "[1]"
    assert runs.read_text(run_id, "other.json") is None


def test_workers_inherit_no_run() -> None:
    """A worker's environment names the store and no run, whatever is set here."""
    environment = runs.worker_environment(
        {"PATH": "/bin", "MLFLOW_RUN_ID": "stray", "MLFLOW_EXPERIMENT_NAME": "stray", "MLFLOW_TRACKING_URI": "stray"}
    )
    assert environment["MLFLOW_TRACKING_URI"] == current_session().tracking_uri
    assert environment["PATH"] == "/bin"
    assert "MLFLOW_RUN_ID" not in environment
    assert "MLFLOW_EXPERIMENT_NAME" not in environment


def test_nothing_without_setup() -> None:
    """Before setup_mlflow() a run can neither be made nor read."""
    set_session(None)
    for call in (lambda: runs.create_run("e", "run", {}, None), lambda: queries.find_runs({"a": "b"})):
        with pytest.raises(MlflowNotConfiguredError, match=r"call .*setup_mlflow\(\) first"):
            call()
