"""Loads the examples that `data.yaml` names."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from infrastructure.config.schema import DataConfig
from infrastructure.errors import DataError
from infrastructure.paths.utils import configured_path
from training.data.reading import SUFFIXES, read_table
from training.data.rows import normal_rows, spans_column
from training.data.spans import OUTSIDE

SPLITS: Final = ("train", "validation", "test")


@dataclass(frozen=True)
class Dataset:
    """The splits of a data set, each numbered from 0.

    `train` is absent only where the user's own function reads its data (`data.yaml` without a path).
    """

    train: pd.DataFrame | None
    validation: pd.DataFrame | None = None
    test: pd.DataFrame | None = None


def load_dataset(config: DataConfig, root_dir: Path) -> Dataset:
    """Read, check and sample the splits.

    Texts for token classification come in one form, whatever the file had: `text_column` and
    `spans_column(config)` with lists of (start, end, label) in characters. All rows are checked before
    `max_samples` picks some. Raises DataError naming file, row and reason.
    """
    if config.path is None:
        return Dataset(train=None)
    files = split_files(config, root_dir)
    frames = {split: _load_split(path, split, config) for split, path in files.items()}
    return Dataset(frames["train"], frames.get("validation"), frames.get("test"))


def split_files(config: DataConfig, root_dir: Path) -> dict[str, Path]:
    """Return the file of each split that there is. Raises DataError if `train` is missing or a split has two."""
    if config.path is None:
        return {}
    path = configured_path(root_dir, config.path, "data.yaml path")
    if path.is_file():
        return {"train": path}
    if not path.is_dir():
        raise DataError(f"data.yaml path: {path} doesn't exist; name a file, or a folder with a train file")
    files: dict[str, Path] = {}
    for split in SPLITS:
        found = [path / f"{split}{suffix}" for suffix in SUFFIXES if (path / f"{split}{suffix}").is_file()]
        if len(found) > 1:
            raise DataError(f"{path}: {found[0].name} and {found[1].name} are one split twice; remove one of them")
        if found:
            files[split] = found[0]
    if "train" not in files:
        raise DataError(f"{path}: no train file; one of {', '.join('train' + suffix for suffix in SUFFIXES)} is needed")
    return files


def label_names(frame: pd.DataFrame, config: DataConfig) -> list[str]:
    """Return the labels that occur, sorted, as text; for spans those of the entities."""
    if config.task == "token_classification":
        return sorted({label for spans in frame[spans_column(config)] for _, _, label in spans})
    return sorted(set(label_texts(frame, config)))


def label_texts(frame: pd.DataFrame, config: DataConfig) -> list[str]:
    """Return each row's label as text."""
    return [label_text(label) for label in frame[config.label_column]]


def label_text(label: object) -> str:
    """Spell a label as text: the whole number 1 is `1`, whether it was read as 1 or as 1.0."""
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def row_labels(frame: pd.DataFrame, config: DataConfig) -> list[str]:
    """Return one label for each row, to stratify by.

    For token classification it is that of the row's entity labels which the fewest rows have, `O` without any.
    Raises DataError for a task without labels.
    """
    if config.task in {"classification", "text_classification"}:
        return label_texts(frame, config)
    if config.task == "custom" and config.label_column in frame.columns:
        return label_texts(frame, config)
    if config.task != "token_classification":
        raise DataError(f"data.yaml task {config.task} has no labels to stratify by; use cv type kfold in hpo.yaml")
    rows = [{label for _, _, label in spans} for spans in frame[spans_column(config)]]
    rows_with = Counter(label for row in rows for label in row)
    return [min(row, key=lambda label: (rows_with[label], label), default=OUTSIDE) for row in rows]


def _load_split(path: Path, split: str, config: DataConfig) -> pd.DataFrame:
    frame = normal_rows(read_table(path, _text_columns(config)), config, str(path))
    limits = {"train": config.max_samples.train, "validation": config.max_samples.validation}
    limit = limits.get(split, config.max_samples.test)
    if limit is not None and limit < len(frame):
        kept = np.random.default_rng(config.max_samples.seed).permutation(len(frame))[:limit]
        frame = frame.iloc[np.sort(kept)]
    return frame.reset_index(drop=True)


def _text_columns(config: DataConfig) -> tuple[str, ...]:
    """Name the columns that a CSV file has as text, even if they look like numbers."""
    if config.task == "text_classification":
        return (config.text_column, config.label_column)
    return (config.text_column,) if config.task == "token_classification" else ()
