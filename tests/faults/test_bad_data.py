"""Data that can't be used, as a whole command meets it."""

from __future__ import annotations

import pytest

from infrastructure.errors import DataError
from infrastructure.naming import tags
from infrastructure.tracking.mlflow import queries
from infrastructure.tracking.mlflow.setup import setup_mlflow
from tests.conftest import MakeProject, calls
from training.hpo.execution.local.cv import cv
from training.hpo.execution.local.sweep import sweep


@pytest.mark.parametrize("content", [b'{"value": 1, "value": 2}', b"\xff", b'{"value": 1}'])
def test_bad_data_is_told_before_any_run_exists(make_project: MakeProject, content: bytes) -> None:
    """A row that can't be read, or too few of them, ends the command with 2 and one line, and the store stays empty."""
    config_dir = make_project()
    train = config_dir.parent / "data" / "train.jsonl"
    good = train.read_bytes()
    train.write_bytes(content)
    for work in (lambda: sweep(config_dir), lambda: cv({"x": 0.5}, config_dir)):
        with pytest.raises(DataError) as caught:
            work()
        assert caught.value.exit_code == 2
        assert str(caught.value).isprintable()
    setup_mlflow(config_dir=config_dir)
    assert queries.search("") == []
    assert calls(config_dir) == []
    assert not (config_dir.parent / "outputs").exists()
    train.write_bytes(good)
    assert len(sweep(config_dir).trials) == 3
    assert len(queries.find_runs({tags.STAGE: tags.STAGE_SWEEP})) == 1
