"""Folds: no leakage, even shares, the same every time."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from infrastructure.config.schema import DataConfig
from infrastructure.config.schema.hpo import CrossValidation
from infrastructure.errors import DataError
from training.data.datasets import Dataset
from training.data.folds import Fold, fold_frames, make_folds, read_folds, write_folds

TABLE = DataConfig(task="classification", path="data", feature_columns=("x",))
SPANS = DataConfig(task="token_classification", path="data", spans_column="spans")
ROOT = Path("/nowhere")


def cv_of(**settings_: object) -> CrossValidation:
    """Make a cross-validation setting."""
    cv: CrossValidation = TypeAdapter(CrossValidation).validate_python(settings_)
    return cv


def table(rows: int, labels: int = 2, groups: int = 7) -> Dataset:
    """Make a table whose labels and groups go round."""
    numbers = range(rows)
    return Dataset(
        pd.DataFrame(
            {"x": numbers, "label": [n % labels for n in numbers], "group": [f"g{n % groups}" for n in numbers]}
        )
    )


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["kfold", "stratified", "grouped", "repeated", "holdout"]),
    rows=st.integers(30, 80),
    folds=st.integers(2, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_row_or_group_leaks(kind: str, rows: int, folds: int, seed: int) -> None:
    """In each fold of each kind train and validation are disjoint and all rows; folds cover all; groups stay whole."""
    extra: dict[str, object] = {"folds": folds}
    if kind == "holdout":
        extra = {}
    if kind == "grouped":
        extra["group_column"] = "group"
    dataset = table(rows)
    made = make_folds(cv_of(type=kind, seed=seed, **extra), dataset, TABLE, ROOT)
    for fold in made:
        assert not set(fold.train) & set(fold.validation)
        assert sorted(fold.train + fold.validation) == list(range(rows))
        train, valid = fold_frames(fold, dataset)
        assert train is not None
        assert valid is not None
        if kind == "grouped":
            assert not set(train["group"]) & set(valid["group"])
    validated = Counter(row for fold in made for row in fold.validation)
    if kind != "holdout":
        assert validated == dict.fromkeys(range(rows), 2 if kind == "repeated" else 1)


def test_stratified_folds_keep_shares() -> None:
    """Each stratified fold has each label's share, give or take a row."""
    frame = pd.DataFrame({"x": range(100), "label": ["a"] * 70 + ["b"] * 20 + ["c"] * 10})
    for fold in make_folds(cv_of(type="stratified", folds=5), Dataset(frame), TABLE, ROOT):
        assert Counter(frame["label"].iloc[list(fold.validation)]) == {"a": 14, "b": 4, "c": 2}


def test_stratified_folds_of_spans_keep_rare_entities_apart() -> None:
    """Rows with a rare entity are spread over the folds, and labels rarer than the folds don't stop the split."""
    spans = [[(0, 1, "rare"), (1, 2, "common")]] * 5 + [[(0, 1, "common")]] * 40 + [[]] * 54 + [[(0, 1, "once")]]
    frame = pd.DataFrame({"text": ["abc"] * 100, "spans": spans})
    for fold in make_folds(cv_of(type="stratified", folds=5), Dataset(frame), SPANS, ROOT):
        rows = [spans[row] for row in fold.validation]
        assert sum(any(label == "rare" for _, _, label in row) for row in rows) == 1


def test_folds_are_the_same_every_time_and_change_with_the_seed() -> None:
    """Folds depend on the seed alone; these indices never change."""
    made = make_folds(cv_of(type="kfold", folds=3, seed=1), table(9), TABLE, ROOT)
    assert [fold.validation for fold in made] == [(2, 6, 8), (0, 1, 7), (3, 4, 5)]
    assert made == make_folds(cv_of(type="kfold", folds=3, seed=1), table(9), TABLE, ROOT)
    assert made != make_folds(cv_of(type="kfold", folds=3, seed=2), table(9), TABLE, ROOT)


def test_holdout_takes_the_validation_split() -> None:
    """Where the data set has a validation split, holdout measures on it and learns from all training rows."""
    valid = pd.DataFrame({"x": [5], "label": [1]})
    dataset = Dataset(table(10).train, validation=valid)
    (fold,) = make_folds(cv_of(type="holdout"), dataset, TABLE, ROOT)
    train, measured = fold_frames(fold, dataset)
    assert train is not None
    assert len(train) == 10
    assert measured is valid


def test_holdout_sets_a_stratified_share_aside() -> None:
    """Without one, a share of the training rows is set aside with even labels."""
    dataset = table(50)
    (fold,) = make_folds(cv_of(type="holdout", validation_fraction=0.2), dataset, TABLE, ROOT)
    _, valid = fold_frames(fold, dataset)
    assert valid is not None
    assert Counter(valid["label"]) == {0: 5, 1: 5}


def test_data_of_the_functions_own_has_one_fold() -> None:
    """Data without a path can only be held out."""
    custom = DataConfig(task="custom", content_hash="12345678")
    (fold,) = make_folds(cv_of(type="holdout"), Dataset(None), custom, ROOT)
    assert fold_frames(fold, Dataset(None)) == (None, None)
    with pytest.raises(DataError, match="use cv type holdout"):
        make_folds(cv_of(type="kfold"), Dataset(None), custom, ROOT)


@pytest.mark.parametrize(
    ("cv", "dataset", "config", "expected"),
    [
        (cv_of(type="kfold", folds=5), table(4), TABLE, "5 folds need as many rows, there are 4"),
        (cv_of(type="stratified", folds=5), table(12, labels=6), TABLE, "label '0' has 2 rows"),
        (cv_of(type="grouped", group_column="group", folds=5), table(40, groups=3), TABLE, "there are 3"),
        (cv_of(type="grouped", group_column="grup"), table(40), TABLE, "did you mean 'group'"),
        (cv_of(type="grouped", group_column="x"), table(40), TABLE, "would be a feature too"),
        (cv_of(type="holdout", validation_fraction=0.9), table(1), TABLE, "leaves none to learn from"),
        (cv_of(type="stratified"), table(40), DataConfig(task="regression", path="d"), "no labels to stratify by"),
    ],
)
def test_impossible_folds_are_refused(cv: CrossValidation, dataset: Dataset, config: DataConfig, expected: str) -> None:
    """Too few rows, groups or rows of a label are an error of one line that says what to do."""
    with pytest.raises(DataError, match=expected) as caught:
        make_folds(cv, dataset, config, ROOT)
    assert "\n" not in str(caught.value)


def test_written_folds_are_read_back(tmp_path: Path) -> None:
    """A file of folds gives the folds that were written, and is usable as the user's own."""
    folds = make_folds(cv_of(type="kfold", folds=3), table(10), TABLE, ROOT)
    write_folds(tmp_path / "folds.json", folds)
    assert read_folds(tmp_path / "folds.json") == folds
    assert make_folds(cv_of(type="file", folds_file="folds.json"), table(10), TABLE, tmp_path) == folds
    special = (Fold((0,), (), uses_validation_split=True),)
    write_folds(tmp_path / "special.json", special)
    assert read_folds(tmp_path / "special.json") == special


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([{"train": [0, 1], "validation": [10]}], "fold 0: validation has row 10; .*rows 0 to 9"),
        ([{"train": [0, 1], "validation": [-1]}], "has row -1"),
        ([{"train": [0, 1], "validation": [1]}], "row 1 is in train and in validation"),
        ([{"train": [0, 0], "validation": [1]}], "train has row 0 twice"),
        ([{"train": [0], "validation": []}], "validation has no rows"),
        ([{"train": [0], "valid": [1]}], "0.validation: Field required"),
        ([], "there are no folds"),
        ("folds", "is a JSON list"),
    ],
)
def test_bad_folds_files_are_refused(tmp_path: Path, content: object, expected: str) -> None:
    """A folds file with a fault is refused with the fold, the part and the row."""
    (tmp_path / "folds.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=expected) as caught:
        make_folds(cv_of(type="file", folds_file="folds.json"), table(10), TABLE, tmp_path)
    assert "\n" not in str(caught.value)


def test_missing_folds_file_is_refused(tmp_path: Path) -> None:
    """A folds file that isn't there is named."""
    with pytest.raises(DataError, match=r"folds\.json"):
        make_folds(cv_of(type="file", folds_file="folds.json"), table(10), TABLE, tmp_path)
