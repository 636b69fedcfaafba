"""Conventions that no linter knows."""

from __future__ import annotations

import ast

from infrastructure.naming import tags
from tests.conftest import REPOSITORY

KEYS = {
    value
    for name, value in vars(tags).items()
    if name.isupper() and isinstance(value, str) and value.startswith("code.")
}


def spelled_by_hand(source: str) -> list[str]:
    """Return a message for each tag key that a piece of code spells as a text, with what to use in its place."""
    advice = {
        tags.STUDY_KEY: "call infrastructure.tracking.mlflow.hash_utils.get_or_compute_study_key_hash()",
        tags.TRIAL_KEY: "call infrastructure.tracking.mlflow.hash_utils.get_or_compute_trial_key_hash()",
    }
    return [
        f"line {node.lineno}: tag key {node.value!r} is spelled by hand; "
        f"{advice.get(node.value, 'use the constant of infrastructure.naming.tags')}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in KEYS
    ]


def test_tag_keys_are_spelled_in_one_module() -> None:
    """No module but `infrastructure.naming.tags` spells a tag key."""
    checked = 0
    for path in (REPOSITORY / "src").rglob("*.py"):
        if path != REPOSITORY / "src" / "infrastructure" / "naming" / "tags.py":
            assert spelled_by_hand(path.read_text()) == [], path
            checked += 1
    assert checked > 60
