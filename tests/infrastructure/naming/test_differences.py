"""What differs between two documents."""

from __future__ import annotations

import pytest
from pydantic import JsonValue

from infrastructure.naming.differences import differences


@pytest.mark.parametrize(
    ("old", "new"),
    [([0, 1], [False, True]), (1, True), ("1", 1), ("absent", None), ({"a": [1, {"b": 1}]}, {"a": [1, {"b": "1"}]})],
)
def test_what_makes_another_key_differs(old: JsonValue, new: JsonValue) -> None:
    """Values that Python calls equal and a key doesn't are told apart, inside lists too."""
    assert [d.field.partition(".")[0] for d in differences({"x": old}, {"x": new})] == ["x"]
    assert list(differences({"x": old}, {"x": old})) == []


def test_absent_is_no_text() -> None:
    """A field that is absent differs from one that says so."""
    (found,) = differences({"x": "absent"}, {})
    assert found.field == "x"


def test_long_values_are_shown_where_they_differ() -> None:
    """Of long values the place of the first difference is shown."""
    columns: list[JsonValue] = [f"column{index}" for index in range(30)]
    (found,) = differences({"x": columns}, {"x": [*columns[:20], "other", *columns[21:]]})
    old, _, new = str(found).partition(" → ")
    assert "column20" in old
    assert "other" in new
    assert len(str(found)) < 160
