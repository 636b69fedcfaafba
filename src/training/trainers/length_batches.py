"""Batches of texts that are about as long as each other, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import torch
from torch.utils.data import Sampler

SPREAD: Final = 0.05
"""By how much of its length a text may be taken for longer or shorter, so that batches are others in each epoch."""


class LengthBatches(Sampler[int]):  # type: ignore[misc]  # torch is not followed
    """Yields the indices of an epoch, drawn with PyTorch's global generator.

    Each `batch_size` in a row are of similar length, and the batches come in random order. What is left over, less than
    a batch, is drawn from all texts and comes last, since the loader cuts the indices into batches as they come.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int) -> None:
        self._lengths = torch.tensor(lengths, dtype=torch.float64)
        self._batch_size = batch_size

    def __len__(self) -> int:
        """Return how many texts there are."""
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        """Draw an epoch."""
        shuffled = torch.randperm(len(self))
        left_over = len(self) % self._batch_size
        rest, whole = shuffled[:left_over], shuffled[left_over:]
        taken_for = self._lengths[whole] * (1 + SPREAD * (2 * torch.rand(len(whole)) - 1))
        batches = whole[torch.argsort(taken_for, stable=True)].reshape(-1, self._batch_size)
        mixed = batches[torch.randperm(len(batches))].reshape(-1)
        return iter(torch.cat([mixed, rest]).tolist())
