"""Every file that a study writes, as properties of one object."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

OWN_FOLDERS: Final = ("trial-", "fold-", "refit-", "latency-", "final-")
"""How the folders below a study's begin that are ours; what is in others belongs to the trainer."""


@dataclass(frozen=True)
class TaskPaths:
    """The files of one training: a fold, a refit or a final training."""

    folder: Path

    @property
    def result(self) -> Path:
        """What came of the training, written whole by the worker before anybody is told."""
        return self.folder / "result.json"

    @property
    def log(self) -> Path:
        """What the worker printed."""
        return self.folder / "worker.log"

    @property
    def work(self) -> Path:
        """The trainer's own folder."""
        return self.folder / "work"

    @property
    def checkpoints(self) -> Path:
        """What the training goes on from when it was cut short."""
        return self.folder / "checkpoints"

    @property
    def model(self) -> Path:
        """The trained model."""
        return self.folder / "model"

    @property
    def example(self) -> Path:
        """Some rows and what the saved model predicts for them, for its signature."""
        return self.folder / "example.json"


@dataclass(frozen=True)
class StudyPaths:
    """The files of one study, below `<output_dir>/<first 16 digits of its key>`, with `-2` for a second variant."""

    output_dir: Path
    study_key_hash: str
    variant: int = 1

    @property
    def folder(self) -> Path:
        """The study's own folder; its name is of its key alone, so no configured name can lead elsewhere."""
        name = self.study_key_hash[:16]
        return self.output_dir / (name if self.variant == 1 else f"{name}-{self.variant}")

    @property
    def report(self) -> Path:
        """The page that `assay report` writes."""
        return self.folder / "report" / "index.html"

    @property
    def folds(self) -> Path:
        """The study's folds, the same for every trial."""
        return self.folder / "folds.json"

    def fold(self, trial_number: int, fold_idx: int) -> TaskPaths:
        """Return the files of one fold of one trial."""
        return TaskPaths(self.folder / f"trial-{trial_number:04d}" / f"fold-{fold_idx}")

    def refit(self, refit_key_hash: str) -> TaskPaths:
        """Return the files of a refit."""
        return TaskPaths(self.folder / f"refit-{refit_key_hash[:8]}")

    def latency(self, refit_key_hash: str) -> TaskPaths:
        """Return the files of the measurement of a refit's latency."""
        return TaskPaths(self.folder / f"latency-{refit_key_hash[:8]}")

    def final(self, final_key_hash: str) -> TaskPaths:
        """Return the files of a final training."""
        return TaskPaths(self.folder / f"final-{final_key_hash[:8]}")
