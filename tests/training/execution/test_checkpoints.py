"""What goes with a training's checkpoints."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from training.execution.checkpoints import TaskCheckpoints


def test_what_was_done_comes_back(tmp_path: Path) -> None:
    """Metrics after each step, NaN and infinities among them, and the seconds are there again."""
    with TaskCheckpoints(tmp_path, "key", 0.0) as checkpoints:
        assert checkpoints.restore() is None
        checkpoints.done.curve[1] = {"loss": 0.1 + 0.2, "auc": math.nan, "perplexity": math.inf}
        time.sleep(0.2)
        assert checkpoints.is_due
        checkpoints.save(lambda folder: (folder / "step").write_text("1"))
    with TaskCheckpoints(tmp_path, "key", 600.0) as checkpoints:
        folder = checkpoints.restore()
        assert folder is not None
        assert (folder / "step").read_text() == "1"
        assert not checkpoints.is_due
        assert checkpoints.seconds >= 0.2
        metrics = checkpoints.done.curve[1]
    assert metrics["loss"] == 0.1 + 0.2
    assert math.isnan(metrics["auc"])
    assert metrics["perplexity"] == math.inf


def test_other_work_begins_at_its_beginning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What work of another key left in the folder isn't gone on from, and is told."""
    with TaskCheckpoints(tmp_path, "key", 0.0) as checkpoints:
        checkpoints.save(lambda folder: (folder / "step").write_text("1"))
    with TaskCheckpoints(tmp_path, "another", 0.0) as checkpoints:
        assert checkpoints.restore() is None
        assert checkpoints.done.curve == {}
    assert "it is of other work" in caplog.text
