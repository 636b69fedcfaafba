"""Splits rows into folds, the same ones every time, and keeps them in a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from pydantic import TypeAdapter, ValidationError
from sklearn.model_selection import (
    GroupKFold,
    RepeatedKFold,
    ShuffleSplit,
    StratifiedKFold,
    StratifiedShuffleSplit,
)
from sklearn.model_selection import KFold as PlainKFold

from infrastructure.config.schema import DataConfig
from infrastructure.config.schema.hpo import CrossValidation, FoldsFile, GroupedKFold, Holdout, KFold
from infrastructure.config.schema.hpo import RepeatedKFold as RepeatedKFoldConfig
from infrastructure.errors import DataError
from infrastructure.paths.utils import configured_path
from infrastructure.storage.files import write_json_atomic
from training.data.datasets import Dataset, row_labels
from training.data.rows import check_columns

_Splits = Iterable[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Fold:
    """The rows, from 0, of the training split that a fold learns from, and those it is measured on.

    With `uses_validation_split` it is measured on the data set's own validation split, and `validation` is empty.
    """

    train: tuple[int, ...]
    validation: tuple[int, ...]
    uses_validation_split: bool = False


FOLDS: Final[TypeAdapter[tuple[Fold, ...]]] = TypeAdapter(tuple[Fold, ...])


def make_folds(cv: CrossValidation, dataset: Dataset, data: DataConfig, root_dir: Path) -> tuple[Fold, ...]:
    """Split the training rows as `cv` says; the same input gives the same folds.

    Holdout without a validation split keeps the shares of the labels where each label has rows enough for it.
    Raises DataError if there are too few rows, groups, or rows of a label.
    """
    train = dataset.train
    if train is None:
        if isinstance(cv, Holdout):
            return (Fold((), (), uses_validation_split=True),)
        raise DataError(f"hpo.yaml cv type {cv.type} needs rows, and data.yaml has no path; use cv type holdout")
    if isinstance(cv, FoldsFile):
        return _folds_of_file(configured_path(root_dir, cv.folds_file, "hpo.yaml cv.folds_file"), len(train))
    if isinstance(cv, Holdout):
        if dataset.validation is not None:
            return (Fold(tuple(range(len(train))), (), uses_validation_split=True),)
        return _as_folds(_holdout_splits(cv, train, data))
    if len(train) < cv.folds:
        raise DataError(
            f"hpo.yaml cv.folds: {cv.folds} folds need as many rows, there are {len(train)}; use fewer folds"
        )
    if isinstance(cv, GroupedKFold):
        return _as_folds(_grouped_splits(cv, train, data))
    if isinstance(cv, RepeatedKFoldConfig):
        repeated = RepeatedKFold(n_splits=cv.folds, n_repeats=cv.repeats, random_state=cv.seed)
        return _as_folds(repeated.split(np.arange(len(train))))
    if cv.type == "stratified":
        return _as_folds(_stratified_splits(cv, train, data))
    plain = PlainKFold(n_splits=cv.folds, shuffle=True, random_state=cv.seed)
    return _as_folds(plain.split(np.arange(len(train))))


def count_folds(cv: CrossValidation, root_dir: Path) -> int:
    """Return how many folds `cv` makes of any data. Raises DataError for a folds file that can't be read."""
    match cv:
        case Holdout():
            return 1
        case FoldsFile():
            return len(read_folds(configured_path(root_dir, cv.folds_file, "hpo.yaml cv.folds_file")))
        case RepeatedKFoldConfig():
            return cv.folds * cv.repeats
        case _:
            return cv.folds


def fold_frames(fold: Fold, dataset: Dataset) -> tuple[pd.DataFrame | None, pd.DataFrame | None]:
    """Return the rows that a fold learns from and those it is measured on, each numbered from 0.

    Either is None only if the user's own function reads its data.
    """
    if dataset.train is None:
        return None, None
    train = dataset.train.iloc[list(fold.train)].reset_index(drop=True)
    if fold.uses_validation_split:
        return train, dataset.validation
    return train, dataset.train.iloc[list(fold.validation)].reset_index(drop=True)


def write_folds(path: Path, folds: Sequence[Fold]) -> None:
    """Write folds as JSON, whole or not at all."""
    write_json_atomic(path, [asdict(fold) for fold in folds])


def read_folds(path: Path) -> tuple[Fold, ...]:
    """Read folds that `write_folds` or the user wrote.

    Raises DataError if the file isn't a list of `{"train": [rows], "validation": [rows]}`.
    """
    try:
        folds = FOLDS.validate_json(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: the folds can't be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DataError(
            f"{path}: {place + ': ' if place else ''}{first['msg']}; "
            'a folds file is a JSON list with {"train": [rows], "validation": [rows]} for each fold'
        ) from error
    if not folds:
        raise DataError(f"{path}: there are no folds; at least one is needed")
    return folds


def _as_folds(splits: _Splits) -> tuple[Fold, ...]:
    return tuple(
        Fold(tuple(np.sort(train).tolist()), tuple(np.sort(validation).tolist())) for train, validation in splits
    )


def _holdout_splits(cv: Holdout, train: pd.DataFrame, data: DataConfig) -> _Splits:
    rows = len(train)
    held_out = max(1, round(rows * cv.validation_fraction))
    if rows - held_out < 1:
        raise DataError(
            f"hpo.yaml cv.validation_fraction: {cv.validation_fraction} of {rows} rows leaves none to learn from; "
            "give more rows or a smaller fraction"
        )
    if data.task in {"classification", "text_classification", "token_classification"}:
        labels = row_labels(train, data)
        labels = _merged(labels, 2) if data.task == "token_classification" else labels
        counts = Counter(labels)
        if min(counts.values()) >= 2 and len(counts) <= min(held_out, rows - held_out):
            stratified = StratifiedShuffleSplit(n_splits=1, test_size=held_out, random_state=cv.seed)
            return stratified.split(np.arange(rows), labels)  # type: ignore[no-any-return]  # sklearn is untyped
    plain = ShuffleSplit(n_splits=1, test_size=held_out, random_state=cv.seed)
    return plain.split(np.arange(rows))  # type: ignore[no-any-return]  # sklearn is untyped


def _grouped_splits(cv: GroupedKFold, train: pd.DataFrame, data: DataConfig) -> _Splits:
    check_columns(train, [cv.group_column], "hpo.yaml cv.group_column")
    if data.task in {"classification", "regression"} and cv.group_column in (data.feature_columns or [cv.group_column]):
        raise DataError(
            f"hpo.yaml cv.group_column: {cv.group_column!r} would be a feature too; "
            "list the features without it as feature_columns in data.yaml"
        )
    groups = train[cv.group_column]
    if groups.isna().any():
        row = int(groups.isna().to_numpy().argmax()) + 1
        raise DataError(f"hpo.yaml cv.group_column: row {row} has no {cv.group_column!r}; fill it in")
    if (count := groups.nunique()) < cv.folds:
        raise DataError(f"hpo.yaml cv.folds: {cv.folds} folds need as many groups, there are {count}; use fewer folds")
    # Groups are numbered as they first appear, so that neither their names nor their types decide anything.
    numbers = pd.factorize(groups)[0]
    splitter = GroupKFold(n_splits=cv.folds, shuffle=True, random_state=cv.seed)
    return splitter.split(np.arange(len(train)), groups=numbers)  # type: ignore[no-any-return]  # sklearn is untyped


def _stratified_splits(cv: KFold, train: pd.DataFrame, data: DataConfig) -> _Splits:
    labels = row_labels(train, data)
    if data.task == "token_classification":
        labels = _merged(labels, cv.folds)
    label, count = min(Counter(labels).items(), key=lambda item: (item[1], item[0]))
    if count < cv.folds:
        raise DataError(
            f"hpo.yaml cv.folds: label {label!r} has {count} rows, {cv.folds} stratified folds need as many of each; "
            "use fewer folds, or cv type kfold"
        )
    splitter = StratifiedKFold(n_splits=cv.folds, shuffle=True, random_state=cv.seed)
    return splitter.split(np.arange(len(train)), labels)  # type: ignore[no-any-return]  # sklearn is untyped


def _merged(labels: Sequence[str], least: int) -> list[str]:
    """Put labels of fewer than `least` rows into one bucket, with the most frequent label if it is still too small."""
    counts = Counter(labels)
    bucket = {label for label, count in counts.items() if count < least}
    if 0 < sum(counts[label] for label in bucket) < least:
        bucket.add(max(counts, key=lambda label: (counts[label], label)))
    return ["" if label in bucket else label for label in labels]


def _folds_of_file(path: Path, rows: int) -> tuple[Fold, ...]:
    folds = read_folds(path)
    for number, fold in enumerate(folds):
        place = f"{path}: fold {number}"
        if fold.uses_validation_split:
            raise DataError(f"{place}: uses_validation_split isn't for folds of your own; list the rows as validation")
        for part, indices in (("train", fold.train), ("validation", fold.validation)):
            _check_indices(f"{place}: {part}", indices, rows)
        if both := set(fold.train) & set(fold.validation):
            raise DataError(f"{place}: row {min(both)} is in train and in validation; keep it in one of them")
    return folds


def _check_indices(place: str, indices: Sequence[int], rows: int) -> None:
    if not indices:
        raise DataError(f"{place} has no rows; at least one is needed")
    for index in indices:
        if not 0 <= index < rows:
            raise DataError(f"{place} has row {index}; the training split has rows 0 to {rows - 1}")
    if len(set(indices)) < len(indices):
        twice = next(index for index, count in Counter(indices).items() if count > 1)
        raise DataError(f"{place} has row {twice} twice; list each row once")
