"""What a study tells while it runs; a display overrides what it wants to show."""

from __future__ import annotations

from collections.abc import Sequence

from training.hpo.records import TrialRecord


class Progress:
    """Hears of everything that happens and shows none of it."""

    def study_opened(self, name: str, done: Sequence[TrialRecord], max_trials: int, fold_count: int) -> None:
        """A study begins, or goes on with `done` trials behind it."""

    def trial_started(self, record: TrialRecord) -> None:
        """A trial was proposed."""

    def fold_started(self, number: int, fold_idx: int) -> None:
        """A fold was handed to a worker."""

    def fold_reported(self, number: int, fold_idx: int, step: int, value: float) -> None:
        """A fold reported its objective after a step."""

    def fold_finished(self, number: int, fold_idx: int, value: float, seconds: float) -> None:
        """A fold ended with this objective."""

    def trial_finished(self, record: TrialRecord, best: TrialRecord | None) -> None:
        """A trial ended, and this is the best one now."""

    def training_started(self, what: str) -> None:
        """A refit or a final training begins."""

    def message(self, text: str) -> None:
        """Say one line."""
