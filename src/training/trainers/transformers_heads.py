"""The two things a transformer is trained for here: tagging tokens, and labelling texts.

Long texts to be tagged are split into windows of at most `max_length` tokens, each sharing a quarter with the one
before. Every token is learned and predicted in exactly one window, and predicted spans are joined across windows, so
every gold span counts, wherever it is. Long texts to be labelled are cut at `max_length`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np
import pandas as pd
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from infrastructure.config.schema import DataConfig
from infrastructure.errors import DataError
from training.data.datasets import label_names, label_texts
from training.data.rows import spans_column
from training.data.spans import Span
from training.metrics import compute
from training.trainers.token_spans import Offset, align_spans, bio_tags, decode_tags, owned_ranges, trimmed

IGNORED = -100  # what torch's cross entropy leaves out

Feature = dict[str, list[int] | int]


@dataclass(frozen=True)
class Window:
    """One input of the model.

    `row` is the text it is of; `positions` are the tokens that this window decides, `offsets` where they are in the
    text. Both are empty for texts that are labelled as a whole.
    """

    row: int
    input_ids: list[int]
    positions: list[int] = field(default_factory=list)
    offsets: list[Offset] = field(default_factory=list)

    @property
    def feature(self) -> Feature:
        """The window as the model takes it, without labels."""
        return {"input_ids": self.input_ids, "attention_mask": [1] * len(self.input_ids)}


class Head(Protocol):
    """What differs between the tasks. `names` are the model's outputs in order."""

    model_class: ClassVar[type[PreTrainedModel]]
    names: tuple[str, ...]

    def windows(self, frame: pd.DataFrame) -> list[Window]:
        """Tokenize the texts."""
        ...

    def training_features(self, frame: pd.DataFrame) -> list[Feature]:
        """Tokenize the texts and label them; what has nothing to learn from is left out."""
        ...

    def outputs(self, logits: torch.Tensor, windows: Sequence[Window]) -> list[np.ndarray]:
        """Reduce a batch's logits to what `evaluate` needs of each window."""
        ...

    def evaluate(
        self, frame: pd.DataFrame, windows: Sequence[Window], outputs: Sequence[np.ndarray], metrics: Sequence[str]
    ) -> dict[str, float]:
        """Compute metrics from every window's outputs."""
        ...

    def collator(self) -> object:
        """Return what pads a batch of training features to its longest."""
        ...


class TokenHead:
    """Tags tokens in BIO."""

    model_class: ClassVar[type[PreTrainedModel]] = AutoModelForTokenClassification

    def __init__(self, train: pd.DataFrame, data: DataConfig, tokenizer: PreTrainedTokenizerBase, length: int) -> None:
        labels = label_names(train, data)
        if not labels:
            raise DataError("the training rows have no spans at all; at least one is needed to learn from")
        self.names = tuple(bio_tags(labels))
        self._data, self._tokenizer, self._length = data, tokenizer, length

    def windows(self, frame: pd.DataFrame) -> list[Window]:
        """Tokenize the texts into overlapping windows, in the order of the rows."""
        texts = frame[self._data.text_column].tolist()
        overlap = (self._length - self._tokenizer.num_special_tokens_to_add()) // 4
        encoded = self._tokenizer(
            texts,
            truncation=True,
            max_length=self._length,
            stride=overlap,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        by_row: list[list[int]] = [[] for _ in texts]
        for index, row in enumerate(encoded["overflow_to_sample_mapping"]):
            by_row[row].append(index)
        windows = []
        for row, indices in enumerate(by_row):
            content = [np.flatnonzero(np.equal(encoded["special_tokens_mask"][index], 0)) for index in indices]
            owned = owned_ranges([len(positions) for positions in content], overlap)
            for index, positions, mine in zip(indices, content, owned, strict=True):
                offsets = encoded["offset_mapping"][index]
                tokens = [(int(positions[at]), trimmed(offsets[positions[at]], texts[row])) for at in mine]
                kept = [(position, offset) for position, offset in tokens if offset[0] < offset[1]]
                windows.append(
                    Window(
                        row,
                        encoded["input_ids"][index],
                        [position for position, _ in kept],
                        [offset for _, offset in kept],
                    )
                )
        return windows

    def training_features(self, frame: pd.DataFrame) -> list[Feature]:
        """Label the tokens that each window owns; a span that goes on from the window before goes on as `I-`."""
        number = {name: index for index, name in enumerate(self.names)}
        windows = self.windows(frame)
        spans = frame[spans_column(self._data)].tolist()
        by_row: list[list[Window]] = [[] for _ in spans]
        for window in windows:
            by_row[window.row].append(window)
        features = []
        for row_windows, row_spans in zip(by_row, spans, strict=True):
            tags = iter(align_spans(row_spans, [offset for window in row_windows for offset in window.offsets]))
            for window in row_windows:
                labels = [IGNORED] * len(window.input_ids)
                for position in window.positions:
                    labels[position] = number[next(tags)]
                if window.positions:
                    features.append({**window.feature, "labels": labels})
        return features

    def outputs(self, logits: torch.Tensor, windows: Sequence[Window]) -> list[np.ndarray]:
        """Return the number of each owned token's best tag."""
        best = logits.argmax(dim=-1).cpu().numpy()
        return [tags[window.positions] for tags, window in zip(best, windows, strict=True)]

    def evaluate(
        self, frame: pd.DataFrame, windows: Sequence[Window], outputs: Sequence[np.ndarray], metrics: Sequence[str]
    ) -> dict[str, float]:
        """Join the tags of each text's windows, read the spans and compare them with all gold spans."""
        tags: list[list[str]] = [[] for _ in range(len(frame))]
        offsets: list[list[Offset]] = [[] for _ in range(len(frame))]
        for window, numbers in zip(windows, outputs, strict=True):
            tags[window.row] += [self.names[number] for number in numbers]
            offsets[window.row] += window.offsets
        predicted: list[list[Span]] = [decode_tags(*row) for row in zip(tags, offsets, strict=True)]
        return compute(metrics, self._data.task, frame[spans_column(self._data)].tolist(), predicted)

    def collator(self) -> object:
        """Pad inputs and labels to the batch's longest."""
        return DataCollatorForTokenClassification(self._tokenizer)


class TextHead:
    """Labels texts."""

    model_class: ClassVar[type[PreTrainedModel]] = AutoModelForSequenceClassification

    def __init__(self, train: pd.DataFrame, data: DataConfig, tokenizer: PreTrainedTokenizerBase, length: int) -> None:
        self.names = tuple(label_names(train, data))
        if len(self.names) < 2:
            raise DataError(f"the training rows have only the label {self.names[0]!r}; at least two are needed")
        self._data, self._tokenizer, self._length = data, tokenizer, length

    def windows(self, frame: pd.DataFrame) -> list[Window]:
        """Tokenize the texts, one window for each, cut at the greatest length."""
        texts = frame[self._data.text_column].tolist()
        encoded = self._tokenizer(texts, truncation=True, max_length=self._length)
        return [Window(row, ids) for row, ids in enumerate(encoded["input_ids"])]

    def training_features(self, frame: pd.DataFrame) -> list[Feature]:
        """Give each text the number of its label."""
        number = {name: index for index, name in enumerate(self.names)}
        labels = label_texts(frame, self._data)
        return [{**window.feature, "labels": number[labels[window.row]]} for window in self.windows(frame)]

    def outputs(self, logits: torch.Tensor, windows: Sequence[Window]) -> list[np.ndarray]:  # noqa: ARG002  # see Head
        """Return each text's probabilities."""
        return list(logits.double().softmax(dim=-1).cpu().numpy())

    def evaluate(
        self, frame: pd.DataFrame, windows: Sequence[Window], outputs: Sequence[np.ndarray], metrics: Sequence[str]
    ) -> dict[str, float]:
        """Compare the likeliest labels, and the probabilities, with the rows' labels."""
        scores = np.empty((len(frame), len(self.names)))
        for window, probabilities in zip(windows, outputs, strict=True):
            scores[window.row] = probabilities
        predicted = [self.names[index] for index in scores.argmax(axis=1)]
        return compute(metrics, self._data.task, label_texts(frame, self._data), predicted, scores, self.names)

    def collator(self) -> object:
        """Pad inputs to the batch's longest."""
        return DataCollatorWithPadding(self._tokenizer)


def balanced_weights(features: Sequence[Feature], classes: int) -> torch.Tensor:
    """Weigh each class by the inverse of its share: rows / (classes × rows of the class), float32.

    Source: scikit-learn's `class_weight="balanced"`. A class that doesn't occur has weight 1.
    """
    counts: Counter[int] = Counter()
    for feature in features:
        labels = feature["labels"]
        counts.update([labels] if isinstance(labels, int) else labels)
    counts.pop(IGNORED, None)
    total, occurring = counts.total(), len(counts)
    return torch.tensor(
        [total / (occurring * counts[index]) if counts[index] else 1.0 for index in range(classes)],
        dtype=torch.float32,
    )
