"""Hashes: given, then from the run, then computed."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from tests.conftest import MakeProject

from infrastructure.errors import IdentityError
from infrastructure.naming import tags
from infrastructure.tracking.mlflow import hash_utils, runs
from infrastructure.tracking.mlflow.setup import setup_mlflow

DATA = {"content_hash": "0123456789abcdef"}
HPO = {"search_space": {"x": {"type": "uniform", "low": 0.0, "high": 1.0}}}
TRAIN = {"epochs": 2}


@pytest.fixture
def run_with(make_project: MakeProject) -> object:
    """Return a function that makes a run with tags and returns its id."""
    setup_mlflow("e", make_project())
    return lambda **run_tags: runs.create_run("e", "run", run_tags, None).info.run_id


def test_given_comes_first(run_with: object) -> None:
    """A hash that is given is returned, whatever the run says."""
    run_id = run_with(**{tags.STUDY_KEY: "from run", tags.TRIAL_KEY: "from run"})  # type: ignore[operator]
    assert hash_utils.get_or_compute_study_key_hash("given", run_id, DATA, HPO, TRAIN, "b") == "given"
    assert hash_utils.get_or_compute_trial_key_hash("given", run_id, "s", {"x": 1}) == "given"


def test_tags_come_second(run_with: object) -> None:
    """Without a given hash the run's tag is returned, whatever could be computed."""
    run_id = run_with(**{tags.STUDY_KEY: "from run", tags.TRIAL_KEY: "trial from run"})  # type: ignore[operator]
    assert hash_utils.get_or_compute_study_key_hash(None, run_id, DATA, HPO, TRAIN, "b") == "from run"
    assert hash_utils.get_or_compute_trial_key_hash(None, run_id, "s", {"x": 1}) == "trial from run"


def test_legacy_tag_is_read(run_with: object) -> None:
    """A study that was tagged under the legacy key is known by it."""
    run_id = run_with(**{"code.grouping.study_key_hash": "old"})  # type: ignore[operator]
    assert hash_utils.get_study_key_hash_from_run(run_id) == "old"
    assert hash_utils.get_trial_key_hash_from_run(run_id) is None


def test_computed_comes_last(run_with: object) -> None:
    """A run without the tag, or no run at all, leaves it to the configurations."""
    computed = hash_utils.compute_study_key_hash_v2(DATA, HPO, TRAIN, "b")
    assert hash_utils.get_or_compute_study_key_hash(None, run_with(), DATA, HPO, TRAIN, "b") == computed  # type: ignore[operator]
    assert hash_utils.get_or_compute_study_key_hash(None, "no such run", DATA, HPO, TRAIN, "b") == computed
    trial = hash_utils.get_or_compute_trial_key_hash(study_key_hash=computed, hyperparameters={"x": 0.5})
    assert len(trial) == len(computed) == 64


def test_without_train_config_it_is_v1(run_with: object, caplog: pytest.LogCaptureFixture) -> None:
    """Without train_config another key is computed, with a warning."""
    with caplog.at_level(logging.WARNING):
        v1 = hash_utils.get_or_compute_study_key_hash(None, None, DATA, HPO, None, "b")
    assert "v1" in caplog.text
    assert v1 != hash_utils.compute_study_key_hash_v2(DATA, HPO, TRAIN, "b")


def test_error_lists_what_is_missing(run_with: object) -> None:
    """When no hash can be had, the error says everything that was missing."""
    with pytest.raises(IdentityError, match=r"study_key_hash was not given.*hpo_config, backbone is missing"):
        hash_utils.get_or_compute_study_key_hash(data_config=DATA)
    run_id = run_with()  # type: ignore[operator]
    with pytest.raises(IdentityError, match=f"run {run_id} has no tag code.study_key_hash"):
        hash_utils.get_or_compute_study_key_hash(hpo_parent_run_id=run_id)
    with pytest.raises(IdentityError, match="trial_run_id was not given, and to compute it study_key_hash, hyper"):
        hash_utils.get_or_compute_trial_key_hash()


def test_data_path_starts_at_the_project(tmp_path: Path) -> None:
    """A relative data path is looked for in the project of config_dir."""
    (tmp_path / "data.jsonl").write_text("{}")
    config_dir = tmp_path / "config"
    hash_utils.compute_study_key_hash_v2({"path": "data.jsonl"}, HPO, TRAIN, "b", config_dir=config_dir)
    with pytest.raises(IdentityError, match="no data at"):
        hash_utils.compute_study_key_hash_v2({"path": "data.jsonl"}, HPO, TRAIN, "b", config_dir=tmp_path / "x" / "c")
