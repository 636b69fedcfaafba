"""Batches of similar length."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.trainers.length_batches import LengthBatches

LENGTHS = np.random.default_rng(0).lognormal(3, 0.5, 407).astype(int) + 3


def epoch(lengths: list[int], batch_size: int) -> list[list[int]]:
    """Return an epoch's batches, as a loader would cut them."""
    indices = list(LengthBatches(lengths, batch_size))
    return [indices[begin : begin + batch_size] for begin in range(0, len(indices), batch_size)]


@pytest.mark.parametrize(("count", "batch_size"), [(407, 16), (16, 16), (7, 16), (1, 1), (33, 32)])
def test_every_text_once(count: int, batch_size: int) -> None:
    """An epoch has every text once, whatever is left over."""
    torch.manual_seed(0)
    drawn = epoch(LENGTHS[:count].tolist(), batch_size)
    assert sorted(index for batch in drawn for index in batch) == list(range(count))


def test_little_is_padding() -> None:
    """About a tenth of the whole batches is padding, where batches at random have two fifths."""
    torch.manual_seed(0)
    drawn = [LENGTHS[batch] for batch in epoch(LENGTHS.tolist(), 16)]
    at_random = [LENGTHS[part] for part in torch.randperm(400).reshape(-1, 16).numpy()]
    share = [1 - sum(b.sum() for b in some) / sum(b.max() * len(b) for b in some) for some in (drawn[:-1], at_random)]
    assert share[0] < 0.12
    assert share[1] > 0.4


def test_batches_are_in_no_order_and_others_each_time() -> None:
    """Long and short batches come mixed, and two epochs have neither the same order nor the same batches."""
    torch.manual_seed(0)
    one, two = epoch(LENGTHS.tolist(), 16), epoch(LENGTHS.tolist(), 16)
    longest = [LENGTHS[batch].max() for batch in one[:-1]]
    assert abs(np.corrcoef(longest, range(len(longest)))[0, 1]) < 0.5
    assert not {frozenset(batch) for batch in one[:-1]} & {frozenset(batch) for batch in two[:-1]}


def test_seed_decides() -> None:
    """The same seed draws the same epoch."""
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        drawn.append(epoch(LENGTHS.tolist(), 16))
    assert drawn[0] == drawn[1]
