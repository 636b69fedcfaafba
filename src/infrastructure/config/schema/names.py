"""Which texts may be names and paths: one line, one spelling, and nothing that a store or a search trips over.

A name is refused rather than changed, so that two names which are accepted are two names everywhere.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from typing import Annotated, Final

from pydantic import AfterValidator

from infrastructure.config.yaml_scalars import describe_character, shorten

CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""What no path, column or label holds: control characters, ends of lines and halves of surrogate pairs."""

LONGEST_PATH: Final = 4_000
"""Bytes of a path; Linux takes 4,096."""

_RECORDED: Final = re.compile(r"[\w\-. :/]{1,200}")
_NOT_IN_MODEL_NAMES: Final = "/:@?#\\'\"`"
"""What would divide `models:/NAME@ALIAS`, a URL, or a text of MLflow's search."""


def check_name(name: str) -> str:
    """Return a name if it is printable, on one line, without space around it, and in Unicode's composed form.

    So no two names look alike that differ only in what can't be seen. Raises ValueError otherwise.
    """
    if not name.strip():
        raise ValueError("a name can't be empty; write at least one letter or digit")
    if (found := next((c for c in name if not c.isprintable()), None)) is not None:
        raise ValueError(f"{describe_character(found)} is not allowed in a name; use characters that can be seen")
    if name != name.strip():
        raise ValueError(f"the name {shorten(name)!r} begins or ends with a space; remove it")
    if unicodedata.normalize("NFC", name) != name:
        raise ValueError(f"the name {shorten(name)!r} has combining characters; write it in Unicode's form NFC")
    return name


def check_model_name(name: str) -> str:
    """Return a name that can be a registered model's, `models:/NAME`, and be searched for; raise ValueError."""
    check_name(name)
    if found := next((c for c in name if c in _NOT_IN_MODEL_NAMES), None):
        raise ValueError(f"{found!r} is not allowed in {shorten(name)!r}, which models are registered as; remove it")
    if name.startswith("."):
        raise ValueError(f"the name {shorten(name)!r} begins with a dot; begin it with a letter or digit")
    return name


def check_experiment_name(name: str) -> str:
    """Return a name that an experiment may have; folders in it, separated by `/`, lead nowhere else. Raises ValueError.

    Source: MLflow takes any text here; what it refuses in the keys of tags is refused in names too.
    """
    check_name(name)
    if "\\" in name or posixpath.normpath(name) != name or name.startswith(("..", "//")) or name in {".", "/"}:
        raise ValueError(
            f"{shorten(name)!r} isn't a plain name; allowed: words separated by '/', without '.', '..', '\\'"
        )
    return name


def check_recorded_name(name: str) -> str:
    """Return the name of a parameter or metric if MLflow's stores take it as it is; raise ValueError otherwise."""
    if not _RECORDED.fullmatch(name) or unicodedata.normalize("NFC", name) != name:
        raise ValueError(f"name {shorten(name)!r}: allowed are 1 to 200 letters, digits, spaces and _ - . / :")
    if name != name.strip() or posixpath.normpath(name) != name or name.startswith(("..", "/")) or name == ".":
        raise ValueError(f"name {shorten(name)!r} isn't plain: no space around it, and no '.', '..' or '' between '/'")
    return name


def check_path(path: str) -> str:
    """Return the text of a path if there may be a file of that name; raise ValueError otherwise."""
    if not path.strip():
        raise ValueError("a path can't be empty; write '.' for the project's own folder")
    if found := CONTROL.search(path):
        raise ValueError(f"{describe_character(found.group())} is not allowed in a path; rename the file or folder")
    if len(path.encode()) > LONGEST_PATH:
        raise ValueError(f"a path of {len(path.encode()):,} bytes is too long; allowed: {LONGEST_PATH:,}")
    return path


def check_column(column: str) -> str:
    """Return the name of a column of the data; raise ValueError if it is empty or holds a control character."""
    if not column:
        raise ValueError("a column's name can't be empty; write the name that the data file has")
    if found := CONTROL.search(column):
        raise ValueError(f"{describe_character(found.group())} is not allowed in a column's name; rename the column")
    return column


Name = Annotated[str, AfterValidator(check_name)]
ModelName = Annotated[str, AfterValidator(check_model_name)]
ExperimentName = Annotated[str, AfterValidator(check_experiment_name)]
RecordedName = Annotated[str, AfterValidator(check_recorded_name)]
PathText = Annotated[str, AfterValidator(check_path)]
Column = Annotated[str, AfterValidator(check_column)]
