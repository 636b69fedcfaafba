"""Reading and checking data files."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pandas as pd
import pytest

from infrastructure.config.schema import DataConfig
from infrastructure.config.schema.data import MaxSamples
from infrastructure.errors import DataError
from training.data.datasets import label_names, load_dataset, row_labels

SPANS = DataConfig(task="token_classification", path="data", spans_column="spans")
TOKENS = DataConfig(task="token_classification", path="data", tokens_column="tokens", tags_column="tags")
TEXTS = DataConfig(task="text_classification", path="data")
TABLE = DataConfig(task="classification", path="data")
NUMBERS = DataConfig(task="regression", path="data")


def write(root: Path, name: str, content: str | bytes) -> None:
    """Write a file into the data folder."""
    path = root / "data" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def train_rows(root: Path, config: DataConfig) -> list[dict[str, object]]:
    """Load the training split as plain rows."""
    frame = load_dataset(config, root).train
    assert frame is not None
    return [{str(key): value for key, value in row.items()} for row in frame.to_dict("records")]


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "parquet"])
def test_formats_hold_the_same_rows(tmp_path: Path, suffix: str) -> None:
    """Each format gives the same table."""
    rows = [{"text": "a, b\u2028c", "label": "x"}, {"text": "NA", "label": "y"}]
    frame = pd.DataFrame(rows)
    write(tmp_path, "other.txt", "not a split")
    path = tmp_path / "data" / f"train.{suffix}"
    if suffix == "csv":
        frame.to_csv(path, index=False)
    elif suffix == "parquet":
        frame.to_parquet(path)
    else:
        text = json.dumps(rows) if suffix == "json" else "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        path.write_text(text, encoding="utf-8")
    assert train_rows(tmp_path, TEXTS) == rows


def test_one_file_is_all_train(tmp_path: Path) -> None:
    """A path to a file gives a training split alone."""
    write(tmp_path, "rows.csv", "x,label\n1,2\n")
    dataset = load_dataset(NUMBERS.model_copy(update={"path": "data/rows.csv"}), tmp_path)
    assert dataset.train is not None
    assert (dataset.validation, dataset.test) == (None, None)


def test_no_path_has_no_rows(tmp_path: Path) -> None:
    """Data that only the user's function reads has no splits."""
    assert load_dataset(DataConfig(task="custom", content_hash="12345678"), tmp_path).train is None


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], "doesn't exist"),
        (["test.csv"], "no train file"),
        (["train.csv", "train.jsonl"], "train.jsonl and train.csv are one split twice"),
    ],
)
def test_split_files_are_checked(tmp_path: Path, names: list[str], expected: str) -> None:
    """A missing or doubled split is refused."""
    for name in names:
        write(tmp_path, name, "x,label\n1,2\n")
    with pytest.raises(DataError, match=expected):
        load_dataset(NUMBERS, tmp_path)


def test_spans_have_one_form(tmp_path: Path) -> None:
    """Lists and mappings become sorted tuples, and Parquet's arrays too."""
    mapping = {"start": 0, "end": 1, "label": "x"}
    write(tmp_path, "train.jsonl", json.dumps({"text": "abc", "spans": [[1, 3, "y"], mapping]}))
    assert train_rows(tmp_path, SPANS) == [{"text": "abc", "spans": [(0, 1, "x"), (1, 3, "y")]}]
    (tmp_path / "data" / "train.jsonl").unlink()
    pd.DataFrame({"text": ["abc", "d"], "spans": [[mapping], []]}).to_parquet(tmp_path / "data" / "train.parquet")
    assert [row["spans"] for row in train_rows(tmp_path, SPANS)] == [[(0, 1, "x")], []]


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        (["B-x", "I-x", "B-x", "O"], [(0, 5, "x"), (6, 8, "x")]),
        (["I-x", "I-y", "O", "I-y"], [(0, 2, "x"), (3, 5, "y"), (9, 11, "y")]),
        (["x", "x", "y", "O"], [(0, 5, "x"), (6, 8, "y")]),
        (["O", "O", "O", "O"], []),
    ],
)
def test_tags_become_spans(tmp_path: Path, tags: list[str], spans: list[object]) -> None:
    """BIO and plain tags are merged into spans over the joined tokens."""
    write(tmp_path, "train.jsonl", json.dumps({"tokens": ["aa", "bb", "cc", "dd"], "tags": tags}))
    assert train_rows(tmp_path, TOKENS) == [{"text": "aa bb cc dd", "spans": spans}]


@pytest.mark.parametrize(
    ("config", "rows", "expected"),
    [
        (SPANS, [{"text": "abc", "span": []}], "no column 'spans'; did you mean 'span'"),
        (SPANS, [{"text": "abc", "spans": []}, {"text": "abc", "spans": [[0, 4, "x"]]}], "row 2: .*outside the text"),
        (SPANS, [{"text": "abc", "spans": [[1, 1, "x"]]}], "row 1: .*is empty"),
        (SPANS, [{"text": "abc", "spans": [[0, 2, "x"], [1, 3, "y"]]}], "row 1: .*overlap"),
        (SPANS, [{"text": "abc", "spans": [[0, 2, 7]]}], "row 1: .*label"),
        (SPANS, [{"text": "abc", "spans": [[True, 2, "x"]]}], "row 1: .*whole numbers"),
        (SPANS, [{"text": "abc", "spans": [[0, 2]]}], "row 1: a span is"),
        (SPANS, [{"text": "abc", "spans": "none"}], "row 1: spans must be a list"),
        (SPANS, [{"text": "abc", "spans": []}, {"text": "abc"}], "row 2: the spans are missing"),
        (SPANS, [{"text": 5, "spans": []}], "row 1: the text must be a string, got 5"),
        (SPANS, [{"text": "a\0b", "spans": []}], "row 1: .*NUL"),
        (SPANS, [{"text": "a\ud800", "spans": []}], "surrogate"),
        (TOKENS, [{"tokens": ["a"], "tags": ["O", "O"]}], "row 1: 1 tokens but 2 tags"),
        (TOKENS, [{"tokens": ["a", ""], "tags": ["O", "O"]}], "row 1: a token is empty"),
        (TOKENS, [{"tokens": ["a", "b"], "tags": ["B-x", "y"]}], "row 1: tag 'y' isn't BIO"),
        (TEXTS, [{"text": "a", "label": "x"}, {"text": "b", "label": None}], "row 2: the label is missing"),
        (TEXTS, [{"text": "a", "label": "x"}, {"text": "b", "label": 1}], "row 2: .*whole number.*string"),
        (TEXTS, [{"text": "a", "label": 0.5}], "row 1: the label must be"),
        (NUMBERS, [{"x": 1, "label": "much"}], "row 1: the label must be a finite number"),
        (NUMBERS, [{"x": 1, "label": float("inf")}], "line 1 is not JSON that can be read: Infinity is no number"),
        (NUMBERS, [{"x": float("nan"), "label": 1}], "NaN is no number of JSON; write null"),
        (NUMBERS, [{"x": 1, "label": 10**400}], "row 1: the label must be a finite number, got 1000"),
        (TEXTS, [{"text": "a", "label": "x"}, {"text": "b", "label": ""}], "row 2: the label '' is empty"),
        (TEXTS, [{"text": "a", "label": " "}], "row 1: the label ' ' is empty"),
        (TEXTS, [{"text": "a", "label": ["x"]}], "row 1: the label must be a string"),
        (TEXTS, [{"text": "a", "label": "x\x1b[2J"}], r"row 1: the label .* has the character U\+001B"),
        (TABLE, [{"x\0": 1, "label": 1}], r"column .* has the character U\+0000; rename it"),
        (SPANS, [{"text": "abc", "spans": [[0, 1, "a\0"]]}], r"row 1: the label .* has the character U\+0000"),
        (SPANS, [{"text": "abc", "spans": [[0, 1, ""]]}], "row 1: a span's label is a text other than ''"),
        (SPANS, [{"text": "abc", "spans": [[-1, 1, "x"]]}], "row 1: .*outside the text of 3"),
        (SPANS, [{"text": "abc", "spans": [[0, 10**30, "x"]]}], "row 1: .*outside the text of 3"),
        (SPANS, [{"text": "abc" * 9, "spans": [[0, 27, "x"]] * 50_000}], "row 1: .*overlap"),
        (TOKENS, [{"tokens": ["a"], "tags": ["B-"]}], "row 1: a tag must be a string such as 'B-person'"),
        (TOKENS, [{"tokens": ["a"], "tags": ["x\n"]}], r"row 1: the label .* has the character U\+000A"),
        (TEXTS, [{"text": "a" * 10**6, "label": "x"}, {"text": "b", "label": {}}], "row 2: the label must be a string"),
        (NUMBERS, [{"x": 1, "label": True}], "row 1: the label must be a finite number"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, config: DataConfig, rows: list[object], expected: str) -> None:
    """A row that can't be used is named with its number and the reason, in one line."""
    write(tmp_path, "train.jsonl", "\n".join(json.dumps(row) for row in rows))
    with pytest.raises(DataError, match=expected) as caught:
        load_dataset(config, tmp_path)
    assert "train.jsonl" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("train.csv", "x,label\n1,2\n3\n", "row 2 .*has 1 fields, the header has 2"),
        ("train.csv", "x,label\n1,2,3\n", "row 1 .*has 3 fields"),
        ("train.csv", "x,x\n1,2\n", "column 'x' is there twice"),
        ("train.csv", "", "first line must name the columns"),
        ("train.csv", "x,label\n", "no rows"),
        ("train.csv", b"x,label\n1,2\n\xff,3\n", "line 3 is not UTF-8"),
        ("train.csv", "x,label\n1,\0\n", "line 2 has a NUL"),
        ("train.jsonl", '{"x": 1, "label": 2}\n{"x": ', "line 2 is not JSON"),
        ("train.jsonl", "[1]", "line 1 is not a JSON object"),
        ("train.jsonl", "[" * 100_000, "line 1 is not JSON"),
        ("train.json", '{"x": 1}', "holds a list of objects"),
        ("train.parquet", "not parquet", "is not a Parquet file"),
        ("train.parquet", b"PAR1" + b"\xff" * 500 + b"PAR1", "is not a Parquet file"),
        ("train.parquet", b"", "is not a Parquet file"),
        ("train.jsonl", '{"x": 1, "label": 2, "x": 3}', "the key 'x' is there twice"),
        ("train.jsonl", '{"x": {"a": 1, "a": 2}, "label": 2}', "the key 'a' is there twice"),
        ("train.jsonl", '{"x": 1e999, "label": 2}', "row 1: 'x' is infinite"),
        ("train.jsonl", '\ufeff\ufeff{"x": 1}', "line 1 is not JSON: Unexpected UTF-8 BOM"),
        ("train.jsonl", '{"x": 1, "label": 2}\r{"x": 1, "label": 2}', "line 1 is not JSON: Extra data"),
        ("train.jsonl", '{"x": ' * 50_000, "line 1 is not JSON"),
        ("train.jsonl", '{"x": 1, "label": ' + "9" * 5_000 + "}", "line 1 is not JSON that can be read"),
        ("train.json", '[{"x": 1, "label": 2}] x', "is not JSON: Extra data"),
        ("train.csv", "x,label\n1,2\n-inf,2\n", "row 2: 'x' is infinite"),
        ("train.csv", "x,label\n1," + "9" * 400 + "\n", "row 1: the label must be a finite number"),
        ("train.csv", 'x,label\n"' + "a,b\n" * 200_000, "is not CSV: unexpected end of data"),
        ("train.csv", 'x,label\n"a"b,2\n', "line 2 is not CSV"),
        ("train.csv", "x\x1b,label\n1,2\n", r"column .* has the character U\+001B"),
        ("train.csv", "x,label\n1,2\n".encode("utf-16"), "line 1 is not UTF-8"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: str | bytes, expected: str) -> None:
    """A file that can't be read is named with the line and the reason, in one line."""
    write(tmp_path, name, content)
    began = time.monotonic()
    with pytest.raises(DataError, match=expected) as caught:
        load_dataset(NUMBERS, tmp_path)
    assert time.monotonic() - began < 5
    assert f"data/{name}" in str(caught.value)
    assert str(caught.value).isprintable()


def test_kinds_of_line_ends_may_be_mixed(tmp_path: Path) -> None:
    """A byte-order mark and line ends of two systems change nothing of a table."""
    write(tmp_path, "train.csv", "\ufefftext,label\r\na,x\nb,y\r\n\n")
    assert train_rows(tmp_path, TEXTS) == [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
    (tmp_path / "data" / "train.csv").unlink()
    write(tmp_path, "train.jsonl", '\ufeff{"text": "a", "label": "x"}\r\n\n{"text": "b", "label": "y"}\n')
    assert train_rows(tmp_path, TEXTS) == [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]


def test_max_samples_keeps_order_and_seed(tmp_path: Path) -> None:
    """A sample is the same every time, in the file's order, and numbered from 0; another seed gives another."""
    write(tmp_path, "train.csv", "x,label\n" + "".join(f"{n},1\n" for n in range(100)))

    def sample(seed: int) -> list[int]:
        config = NUMBERS.model_copy(update={"max_samples": MaxSamples(train=20, seed=seed)})
        frame = load_dataset(config, tmp_path).train
        assert frame is not None
        assert list(frame.index) == list(range(20))
        return [int(value) for value in frame["x"]]

    assert sample(0) == sorted(sample(0)) == sample(0)
    assert len(set(sample(0))) == 20
    assert sample(0) != sample(1)


def test_row_labels_are_the_rarest_of_each_row(tmp_path: Path) -> None:
    """A row with several entity labels is stratified by the one that the fewest rows have."""
    spans = [[[0, 1, "often"], [1, 2, "seldom"]], [[0, 1, "often"]], [[0, 1, "often"]], []]
    write(tmp_path, "train.jsonl", "\n".join(json.dumps({"text": "abc", "spans": row}) for row in spans))
    frame = load_dataset(SPANS, tmp_path).train
    assert frame is not None
    assert row_labels(frame, SPANS) == ["seldom", "often", "often", "O"]
    assert label_names(frame, SPANS) == ["often", "seldom"]


def test_whole_number_labels_have_one_spelling(tmp_path: Path) -> None:
    """The label 1 is spelt alike whether it was read as 1 or 1.0."""
    frame = pd.DataFrame({"label": [1.0, 0.0]})
    assert label_names(frame, TABLE) == ["0", "1"]
