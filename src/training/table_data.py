"""Data sets of new projects that scikit-learn carries, as CSV files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.model_selection import train_test_split

TARGET = "target"


def write_tumours(folder: Path) -> list[Path]:
    """Write `train.csv` and `test.csv` of Breast Cancer Wisconsin, with the classes by name; return their paths."""
    loaded = load_breast_cancer(as_frame=True)
    table = loaded.frame.assign(**{TARGET: loaded.target_names[loaded.target]})
    return _write_splits(folder, table.rename(columns=lambda name: name.replace(" ", "_")), stratify=table[TARGET])


def write_diabetes(folder: Path) -> list[Path]:
    """Write `train.csv` and `test.csv` of the progression of diabetes, with the features unscaled."""
    return _write_splits(folder, load_diabetes(as_frame=True, scaled=False).frame)


def _write_splits(folder: Path, table: pd.DataFrame, stratify: pd.Series | None = None) -> list[Path]:
    """Write four fifths of a table for training, and the rest to test with."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    train, test = train_test_split(table, test_size=0.2, random_state=42, stratify=stratify)
    for name, rows in (("train", train), ("test", test)):
        path = folder / f"{name}.csv"
        rows.to_csv(path, index=False, lineterminator="\n")
        paths.append(path)
    return paths
