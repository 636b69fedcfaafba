"""Labelled stretches of text, and the BIO tags that spell them over tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from numbers import Integral

from infrastructure.config.schema.names import CONTROL
from infrastructure.config.yaml_scalars import describe_character

Span = tuple[int, int, str]
"""Start and end in characters, the end excluded, and the label."""

OUTSIDE = "O"


def bio_spans(tags: Iterable[str], offsets: Iterable[tuple[int, int]]) -> list[Span]:
    """Read the spans that BIO tags spell over tokens.

    `offsets` are each token's start and end in characters. A span reaches from the start of its first token to the
    end of its last one. An `I-` tag that continues nothing begins a span, as in the CoNLL 2000 evaluation script.
    """
    spans: list[Span] = []
    open_label = OUTSIDE
    for tag, (start, end) in zip(tags, offsets, strict=True):
        prefix, _, label = tag.partition("-")
        if tag == OUTSIDE:
            open_label = OUTSIDE
        elif prefix == "I" and label == open_label:
            spans[-1] = (spans[-1][0], end, label)
        else:
            spans.append((start, end, label))
            open_label = label
    return spans


def plain_spans(tags: Iterable[str], offsets: Iterable[tuple[int, int]]) -> list[Span]:
    """Read the spans that plain labels spell over tokens: neighbours of one label are one span."""
    spans: list[Span] = []
    previous = OUTSIDE
    for tag, (start, end) in zip(tags, offsets, strict=True):
        if tag != OUTSIDE:
            spans.append((spans.pop()[0] if tag == previous else start, end, tag))
        previous = tag
    return spans


def is_bio(tag: str) -> bool:
    """Tell whether a tag is spelt as in BIO: `B-label` or `I-label`."""
    return len(tag) > 2 and tag[:2] in {"B-", "I-"}


def joined_tokens(tokens: Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """Join tokens by single spaces; return the text and each token's start and end in it."""
    offsets: list[tuple[int, int]] = []
    position = 0
    for token in tokens:
        offsets.append((position, position + len(token)))
        position += len(token) + 1
    return " ".join(tokens), offsets


def normal_spans(value: object, text: str) -> list[Span]:
    """Return the spans of one row in their one form, in order of their start.

    A span may be written `[start, end, label]` or `{"start": …, "end": …, "label": …}`. Raises ValueError with the
    reason if one is malformed, empty, outside the text, or overlaps another.
    """
    if not isinstance(value, list | tuple):
        raise ValueError(f"spans must be a list of [start, end, label], got {value!r:.60}")
    spans = sorted(_normal_span(item, text) for item in value)
    for (start, end, label), (next_start, next_end, next_label) in pairwise(spans):
        if next_start < end:
            raise ValueError(
                f"spans [{start}, {end}, {label!r}] and [{next_start}, {next_end}, {next_label!r}] overlap; "
                "keep one of them"
            )
    return spans


def _normal_span(item: object, text: str) -> Span:
    if isinstance(item, Mapping) and {"start", "end", "label"} <= item.keys():
        start, end, label = item["start"], item["end"], item["label"]
    elif isinstance(item, list | tuple) and len(item) == 3:
        start, end, label = item
    else:
        raise ValueError(f"a span is [start, end, label] or has the keys start, end and label, got {item!r:.60}")
    if not _is_whole(start) or not _is_whole(end):
        raise ValueError(f"a span's start and end are whole numbers, got {start!r} and {end!r}")
    if not isinstance(label, str) or not label or label == OUTSIDE:
        raise ValueError(f"a span's label is a text other than '' and 'O', got {label!r:.60}")
    check_label(label)
    if start >= end:
        raise ValueError(f"span [{start}, {end}, {label!r}] is empty; its end must be after its start")
    if start < 0 or end > len(text):
        raise ValueError(f"span [{start}, {end}, {label!r}] is outside the text of {len(text)} characters")
    return int(start), int(end), label


def check_label(label: str) -> None:
    """Raise ValueError for a label that is empty or holds a control character."""
    if not label.strip():
        raise ValueError(f"the label {label!r:.60} is empty; remove the row or fill it in")
    if found := CONTROL.search(label):
        raise ValueError(f"the label {label!r:.60} has {describe_character(found.group())}; remove it")


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
