"""Spans to tags and back."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from training.data.spans import Span
from training.trainers.token_spans import Offset, align_spans, bio_tags, decode_tags, owned_ranges, trimmed


@st.composite
def tokens_with_spans(draw: st.DrawFn) -> tuple[list[Offset], list[Span]]:
    """Draw tokens with or without gaps, and spans that begin and end with tokens."""
    offsets: list[Offset] = []
    position = 0
    for gap, length in draw(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 4)), max_size=20)):
        offsets.append((position + gap, position + gap + length))
        position = offsets[-1][1]
    spans: list[Span] = []
    token = draw(st.integers(0, 3))
    while token < len(offsets):
        last = draw(st.integers(token, min(token + 3, len(offsets) - 1)))
        spans.append((offsets[token][0], offsets[last][1], draw(st.sampled_from(["x", "y", "a-b"]))))
        token = last + 1 + draw(st.integers(0, 2))
    return offsets, spans


@given(tokens_with_spans())
def test_spans_on_token_boundaries_come_back(case: tuple[list[Offset], list[Span]]) -> None:
    """Tagging spans and reading the tags gives the same spans, neighbours of one label included."""
    offsets, spans = case
    assert decode_tags(align_spans(spans, offsets), offsets) == spans


@given(
    st.lists(st.sampled_from(["O", "B-x", "I-x", "B-y", "I-y"]), max_size=20),
)
def test_any_tags_can_be_read(tags: list[str]) -> None:
    """Whatever tags a model gives, the spans are in order, don't overlap, and cover every tagged token."""
    offsets = [(2 * index, 2 * index + 1) for index in range(len(tags))]
    spans = decode_tags(tags, offsets)
    covered = {at for start, end, _ in spans for at in range(start, end, 2)}
    assert covered == {offsets[index][0] for index, tag in enumerate(tags) if tag != "O"}
    assert all(first[1] <= second[0] for first, second in pairwise(spans))


def test_tokens_wider_than_spans() -> None:
    """A token that reaches over a span's edge belongs to it; one that reaches into two belongs to the first."""
    assert align_spans([(1, 3, "x"), (3, 6, "y")], [(0, 2), (2, 4), (4, 4), (4, 6)]) == ["B-x", "I-x", "O", "B-y"]


def test_inside_without_begin_begins() -> None:
    """An I- tag after O or after another label begins a span."""
    assert decode_tags(["I-x", "I-x", "I-y", "O", "I-y"], [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]) == [
        (0, 2, "x"),
        (2, 3, "y"),
        (4, 5, "y"),
    ]


def test_tags_of_labels() -> None:
    """Each label has two tags, after O."""
    assert bio_tags(["x", "y"]) == ["O", "B-x", "I-x", "B-y", "I-y"]


def test_white_space_is_trimmed() -> None:
    """White space that a tokenizer counts to a token isn't part of a span."""
    assert trimmed((1, 6), "a  bc d") == (3, 5)
    assert trimmed((1, 3), "a  bc d")[0] == trimmed((1, 3), "a  bc d")[1]


@given(st.integers(0, 200), st.integers(1, 20), st.integers(0, 40))
def test_every_token_is_owned_once(tokens: int, extra: int, overlap: int) -> None:
    """However a text is split into windows, each of its tokens is in exactly one range, in order."""
    size = overlap + extra
    starts, lengths = [0], [min(size, tokens)]
    while starts[-1] + lengths[-1] < tokens:
        starts.append(starts[-1] + size - overlap)
        lengths.append(min(size, tokens - starts[-1]))
    owned = owned_ranges(lengths, overlap)
    assert [start + at for start, mine in zip(starts, owned, strict=True) for at in mine] == list(range(tokens))
