"""Checks the rows of a table for their task, and brings them into the one form that trainers know."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral, Real
from typing import TypeVar

import numpy as np
import pandas as pd

from infrastructure.config.schema import DataConfig
from infrastructure.errors import DataError
from training.data.spans import OUTSIDE, Span, bio_spans, check_label, is_bio, joined_tokens, normal_spans, plain_spans

DEFAULT_SPANS_COLUMN = "spans"

_Value = TypeVar("_Value")


def spans_column(config: DataConfig) -> str:
    """Return the column in which a loaded table has its spans, as lists of (start, end, label)."""
    return config.spans_column or DEFAULT_SPANS_COLUMN


def normal_rows(frame: pd.DataFrame, config: DataConfig, place: str) -> pd.DataFrame:
    """Check every row for the task and return the table in its one form.

    Rows for token classification have `text_column` and `spans_column(config)`: tokens are joined by single spaces
    and their tags become spans in characters. `place` is the file's name in messages. Raises DataError naming it,
    the row (from 1) and the reason.
    """
    if config.task == "custom":
        return frame
    check_columns(frame, _needed_columns(config), place)
    if config.task == "token_classification":
        return _normal_token_rows(frame, config, place)
    if config.task == "text_classification":
        _each_row(place, _checked_text, frame[config.text_column])
    if config.task == "regression":
        _each_row(place, _check_number, frame[config.label_column])
    else:
        _check_labels(place, frame[config.label_column])
    if config.task != "text_classification":
        _check_features(place, frame)
    return frame


def _check_features(place: str, frame: pd.DataFrame) -> None:
    """Raise DataError for an infinite number, as `1e999` is read, which no estimator takes."""
    for name in frame.select_dtypes("float").columns:
        infinite = np.isinf(frame[name].to_numpy())
        if infinite.any():
            row = int(infinite.argmax()) + 1
            raise DataError(
                f"{place}: row {row}: {str(name)!r:.60} is infinite; write a finite number, or leave it out"
            )


def check_columns(frame: pd.DataFrame, names: Sequence[str], place: str) -> None:
    """Raise DataError naming the first column that is missing, and the nearest one that is there."""
    present = [str(column) for column in frame.columns]
    for name in names:
        if name not in present:
            near = difflib.get_close_matches(name, present, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise DataError(f"{place}: no column {name!r}; {hint}columns: {', '.join(present)}")


def _needed_columns(config: DataConfig) -> list[str]:
    if config.task == "token_classification":
        if config.tokens_column and config.tags_column:
            return [config.tokens_column, config.tags_column]
        return [config.text_column, spans_column(config)]
    text = [config.text_column] if config.task == "text_classification" else []
    return [*text, config.label_column, *config.feature_columns]


def _each_row(place: str, check: Callable[..., _Value], *columns: Iterable[object]) -> list[_Value]:
    """Apply a check to every row; its ValueError becomes a DataError that names the row."""
    results = []
    for number, values in enumerate(zip(*columns, strict=True), start=1):
        try:
            results.append(check(*(_plain(value) for value in values)))
        except ValueError as error:
            raise DataError(f"{place}: row {number}: {error}") from error
    return results


def _plain(value: object) -> object:
    """Turn the arrays that Parquet gives into lists, at every depth."""
    if isinstance(value, np.ndarray | list | tuple):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def _is_missing(value: object) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _checked_text(value: object) -> str:
    if _is_missing(value):
        raise ValueError("the text is missing; remove the row or fill it in")
    if not isinstance(value, str):
        raise ValueError(f"the text must be a string, got {value!r:.60}")
    if "\0" in value:
        raise ValueError(f"the text has a NUL character at {value.index(chr(0))}; remove it")
    return value


def _check_number(value: object) -> None:
    if _is_missing(value):
        raise ValueError("the label is missing; remove the row or fill it in")
    if not isinstance(value, Real) or isinstance(value, bool) or not _is_finite(value):
        raise ValueError(f"the label must be a finite number, got {value!r:.60}")


def _is_finite(value: Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond the floats
        return False


def _check_labels(place: str, column: Iterable[object]) -> None:
    kinds = _each_row(place, _label_kind, column)
    for number, kind in enumerate(kinds, start=1):
        if kind != kinds[0]:
            raise DataError(f"{place}: row {number}: the label is a {kind}, the first row's is a {kinds[0]}; use one")


def _label_kind(value: object) -> str:
    if _is_missing(value):
        raise ValueError("the label is missing; remove the row or fill it in")
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, Integral) or (isinstance(value, float) and value.is_integer()):
        return "whole number"
    if isinstance(value, str):
        check_label(value)
        return "string"
    raise ValueError(f"the label must be a string, a whole number or a boolean, got {value!r:.60}")


def _normal_token_rows(frame: pd.DataFrame, config: DataConfig, place: str) -> pd.DataFrame:
    frame = frame.copy(deep=False)
    if config.tokens_column and config.tags_column:
        tags = _each_row(place, _checked_tags, frame[config.tokens_column], frame[config.tags_column])
        read = bio_spans if any(is_bio(tag) for row in tags for tag in row) else plain_spans
        if read is bio_spans:
            _check_bio(place, tags)
        joined = [joined_tokens(_plain_strings(tokens)) for tokens in frame[config.tokens_column]]
        frame = frame.drop(columns=[config.tokens_column, config.tags_column])
        frame[config.text_column] = [text for text, _ in joined]
        spans = [read(row, offsets) for row, (_, offsets) in zip(tags, joined, strict=True)]
    else:
        spans = _each_row(place, _checked_spans, frame[config.text_column], frame[spans_column(config)])
    frame[spans_column(config)] = pd.Series(spans, index=frame.index, dtype=object)
    return frame


def _checked_spans(text: object, spans: object) -> list[Span]:
    text = _checked_text(text)
    if _is_missing(spans):
        raise ValueError("the spans are missing; a text without any has []")
    return normal_spans(spans, text)


def _checked_tags(tokens: object, tags: object) -> list[str]:
    if not isinstance(tokens, list) or not isinstance(tags, list):
        raise ValueError("tokens and tags must be lists of strings")
    if len(tokens) != len(tags):
        raise ValueError(f"{len(tokens)} tokens but {len(tags)} tags; each token needs one tag")
    for token in tokens:
        if not _checked_text(token):
            raise ValueError("a token is empty; remove it and its tag")
    for tag in tags:
        if not isinstance(tag, str) or tag in {"", "B-", "I-"}:
            raise ValueError(f"a tag must be a string such as 'B-person' or 'O', got {tag!r:.60}")
        check_label(tag)
    return [str(tag) for tag in tags]


def _check_bio(place: str, tags: Sequence[Sequence[str]]) -> None:
    for number, row in enumerate(tags, start=1):
        for tag in row:
            if tag != OUTSIDE and not is_bio(tag):
                raise DataError(
                    f"{place}: row {number}: tag {tag!r} isn't BIO as others of this file are; "
                    "allowed: 'O', 'B-label', 'I-label'"
                )


def _plain_strings(tokens: object) -> list[str]:
    """Return a checked list of tokens, whichever kind of sequence the file's format gave."""
    plain = _plain(tokens)
    assert isinstance(plain, list)
    return [str(token) for token in plain]
