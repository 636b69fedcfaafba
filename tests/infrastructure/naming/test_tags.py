"""Tag keys and long values."""

from __future__ import annotations

import json
import random

from hypothesis import given
from hypothesis import strategies as st

from infrastructure.naming import tags


@given(st.text(max_size=3 * tags.CHUNK) | st.text(min_size=tags.PLAIN, max_size=tags.PLAIN + 9))
def test_long_texts_survive_in_chunks(text: str) -> None:
    """Any text comes back whole, and no single tag is longer than a store keeps."""
    written = tags.split_long("key", text)
    assert tags.join_long("key", written) == text
    assert max(len(value) for value in written.values()) <= tags.CHUNK


def test_missing_chunk_is_noticed() -> None:
    """A text of which a part is missing is not there at all."""
    written = tags.split_long("key", "x" * (2 * tags.CHUNK))
    del written["key.1"]
    assert tags.join_long("key", written) is None
    assert tags.join_long("other", written) is None


def test_long_records_fit() -> None:
    """A record of many folds and epochs takes fewer tags than Azure ML gives a run beside the others."""
    curves = [[{"loss": random.Random(i * 50 + j).random()} for j in range(50)] for i in range(10)]
    text = json.dumps(curves)
    written = tags.split_long("record", text)
    assert len(text) > tags.PLAIN
    assert len(written) < 20
    assert tags.join_long("record", written) == text


def test_no_key_is_declared_twice() -> None:
    """Every constant has a value of its own."""
    values = [value for name, value in vars(tags).items() if name.isupper() and isinstance(value, str)]
    assert len(values) == len(set(values)) > 20


def test_very_long_records_are_whole() -> None:
    """A record that takes several calls to write is the old or the new one, wherever a kill falls."""
    before, after = (random.Random(seed).randbytes(100_000).hex() for seed in (1, 2))
    old, new = tags.split_long("record", before), tags.split_long("record", after)
    assert len(new) > tags.MANY
    for count in range(len(new)):
        kept = {**old, **dict(list(new.items())[:count])}
        assert tags.join_long("record", kept) == before
    assert tags.join_long("record", {**old, **new}) == after
    short = tags.split_long("record", "s")
    assert tags.join_long("record", {**new, **short}) == "s"
