"""Data files as tables: JSON Lines, JSON, CSV and Parquet, in UTF-8 only."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections import Counter
from collections.abc import Collection
from pathlib import Path

import pandas as pd

from infrastructure.config.schema.names import CONTROL
from infrastructure.config.yaml_scalars import describe_character
from infrastructure.errors import DataError

SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
MISSING_IN_CSV = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")


def read_table(path: Path, text_columns: Collection[str]) -> pd.DataFrame:
    """Read one data file.

    In CSV the `text_columns` are kept as text, of which only the empty one is missing; elsewhere `NA` and the like
    are missing too. Raises DataError naming the file, and the line where there is one.
    """
    if path.suffix not in SUFFIXES:
        raise DataError(f"{path}: files of type {path.suffix!r} can't be read; allowed: {', '.join(SUFFIXES)}")
    if path.suffix == ".parquet":
        frame = _read_parquet(path)
    else:
        text = _read_text(path)
        if path.suffix == ".csv":
            frame = _read_csv(path, text, text_columns)
        elif path.suffix == ".jsonl":
            frame = pd.DataFrame(_json_lines(path, text))
        else:
            frame = pd.DataFrame(_json_list(path, text))
    if frame.empty:
        raise DataError(f"{path}: there are no rows; at least one is needed")
    for column in frame.columns:
        if found := CONTROL.search(str(column)):
            raise DataError(f"{path}: column {str(column)!r:.60} has {describe_character(found.group())}; rename it")
    return frame


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror})") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}: line {line} is not UTF-8; save the file as UTF-8") from error


def _json_lines(path: Path, text: str) -> list[dict[str, object]]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            rows.append(_json_object(_parse_json(f"{path}: line {number}", line), f"{path}: line {number}"))
    return rows


def _json_list(path: Path, text: str) -> list[dict[str, object]]:
    value = _parse_json(str(path), text)
    if not isinstance(value, list):
        raise DataError(f"{path}: a .json file holds a list of objects; for one object a line name it .jsonl")
    return [_json_object(item, f"{path}: row {number}") for number, item in enumerate(value, start=1)]


def _parse_json(place: str, text: str) -> object:
    try:
        value: object = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise DataError(f"{place} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except (RecursionError, ValueError) as error:  # nested too deep; thousands of digits; what the two below refuse
        raise DataError(f"{place} is not JSON that can be read: {error}") from error
    _check_surrogates(place, text, value)
    return value


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r:.60} is there twice; keep one of them")
    return value


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no number of JSON; write null for a value that is missing")


def _check_surrogates(place: str, text: str, value: object) -> None:
    if "\\ud" not in text.lower():
        return
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{place} has half a surrogate pair (\\ud800 to \\udfff), which is no character; remove it"
        ) from error


def _json_object(value: object, place: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise DataError(f"{place} is not a JSON object, got {value!r:.60}")
    return value


def _read_csv(path: Path, text: str, text_columns: Collection[str]) -> pd.DataFrame:
    header = _check_csv(path, text)
    missing = {name: ("",) if name in text_columns else MISSING_IN_CSV for name in header}
    return pd.read_csv(
        io.StringIO(text),
        dtype={name: str for name in header if name in text_columns},
        na_values=missing,
        keep_default_na=False,
        skip_blank_lines=True,
        low_memory=False,
    )


def _check_csv(path: Path, text: str) -> list[str]:
    """Return the header; raise DataError if a row hasn't as many fields, which pandas would fill up silently."""
    if "\0" in text:
        raise DataError(f"{path}: line {text.count(chr(10), 0, text.index(chr(0))) + 1} has a NUL character; remove it")
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        if not header:
            raise DataError(f"{path}: the first line must name the columns")
        if len(set(header)) < len(header):
            twice = next(name for name in header if header.count(name) > 1)
            raise DataError(f"{path}: column {twice!r} is there twice; columns need different names")
        number = 0
        for row in reader:
            number += bool(row)
            if row and len(row) != len(header):
                raise DataError(
                    f"{path}: row {number} (line {reader.line_num}) has {len(row)} fields, the header has "
                    f"{len(header)}; quote fields that hold a comma"
                )
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num} is not CSV: {error}") from error
    return header


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's errors are kinds of these two
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: is not a Parquet file that can be read: {reason}") from error
