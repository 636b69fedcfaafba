"""What a person sees while a study runs."""

from __future__ import annotations

import io
import time

import pytest
from rich.console import Console

from training.cli.display import LineProgress, duration
from training.hpo.records import TrialRecord


def trial(number: int) -> TrialRecord:
    """Return a trial that is complete."""
    return TrialRecord(number=number, trial_key_hash="", params={}, state="complete", value=0.5)


def test_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is taken to last as long as what this command has done; at the end nothing is said of it."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    printed = io.StringIO()
    progress = LineProgress(Console(file=printed, width=200))
    progress.study_opened("study", [trial(0), trial(1)], max_trials=5, fold_count=2)
    for number in (2, 3, 4):
        now[0] += {2: 60, 3: 300, 4: 1}[number]
        progress.trial_finished(trial(number), None)
    lines = printed.getvalue().splitlines()[1:]
    assert [line.rpartition("; ")[2] for line in lines[:2]] == ["about 2 min left", "about 3 min left"]
    assert "left" not in lines[2]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (40, "40 s"), (89, "89 s"), (100, "2 min"), (5000, "83 min"), (12_600, "3.5 h")]
)
def test_duration(seconds: float, text: str) -> None:
    """Short and long times in the unit that fits."""
    assert duration(seconds) == text
