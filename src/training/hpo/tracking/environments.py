"""What runs were executed with, kept once for each environment with the run of their study."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from pydantic import JsonValue

from infrastructure.naming import tags
from infrastructure.naming.exec_fingerprint import exec_fingerprint
from infrastructure.tracking.mlflow import runs


def environment_tags(root_dir: Path, keep: Callable[[str, str], None]) -> dict[str, str]:
    """Return the tags of a run that is executed here and now.

    What they stand for goes to `keep`, as a text and the name of the file that it is to be with the study's run.
    """
    fingerprint = exec_fingerprint(root_dir)
    keep(fingerprint.document, _file(fingerprint.key_hash))
    return fingerprint.tags


def environment_now(root_dir: Path) -> dict[str, JsonValue]:
    """Return what a run here and now is executed with."""
    document: dict[str, JsonValue] = json.loads(exec_fingerprint(root_dir).document)
    return document


def _file(key_hash: str) -> str:
    return f"environments/{key_hash[:16]}.json"


def environment_of(run_tags: dict[str, str], study_run_id: str) -> dict[str, JsonValue]:
    """Return what a run with these tags was executed with; empty if the study's run doesn't keep it.

    A trial's device isn't known: its folds may have had several.
    """
    text = runs.read_text(study_run_id, _file(run_tags.get(tags.EXEC_FINGERPRINT, "")))
    found: dict[str, JsonValue] = json.loads(text) if text else {}
    device: dict[str, JsonValue] = {"device": run_tags[tags.DEVICE]} if tags.DEVICE in run_tags else {}
    return {**found, **device} if found else {}
