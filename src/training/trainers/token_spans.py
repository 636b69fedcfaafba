"""Between spans of characters and BIO tags of tokens: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from training.data.spans import OUTSIDE, Span, bio_spans

Offset = tuple[int, int]
"""Start and end of a token in characters, the end excluded."""


def bio_tags(labels: Iterable[str]) -> list[str]:
    """Return the tags for entity labels: `O`, then `B-` and `I-` for each label in its order."""
    return [OUTSIDE, *(f"{prefix}-{label}" for label in labels for prefix in ("B", "I"))]


def align_spans(spans: Sequence[Span], offsets: Sequence[Offset]) -> list[str]:
    """Tag tokens by the spans they overlap.

    `spans` are in order and don't overlap; `offsets` are in order. A token that reaches into two spans belongs to
    the first. A token without characters is `O`.
    """
    tags = []
    current, begun = 0, False
    for start, end in offsets:
        while current < len(spans) and spans[current][1] <= start:
            current, begun = current + 1, False
        inside = current < len(spans) and start < end and spans[current][0] < end
        tags.append(f"{'I' if begun else 'B'}-{spans[current][2]}" if inside else OUTSIDE)
        begun = begun or inside
    return tags


def decode_tags(tags: Sequence[str], offsets: Sequence[Offset]) -> list[Span]:
    """Read the spans that tags spell; an `I-` that continues nothing begins one."""
    return bio_spans(tags, offsets)


def trimmed(offset: Offset, text: str) -> Offset:
    """Take the white space off both ends of a token, which some tokenizers count to it."""
    start, end = offset
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def owned_ranges(lengths: Sequence[int], overlap: int) -> list[range]:
    """Share out the tokens of one text's windows, so that each token is in exactly one range.

    `lengths` are the windows' tokens in order, each window sharing its first `overlap` tokens with the one before.
    Either window gets the half of the shared tokens that is farther from its edge, so that they are tagged where
    there is more context.
    """
    last = len(lengths) - 1
    return [
        range(0 if index == 0 else overlap - overlap // 2, length - (0 if index == last else overlap // 2))
        for index, length in enumerate(lengths)
    ]
