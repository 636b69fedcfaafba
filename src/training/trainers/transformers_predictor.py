"""Predicts with a saved Hugging Face model; goes with the model, so it imports nothing of Assay."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    Pipeline,
    pipeline,
)


def predict(model_dir: Path, frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each text of the first column.

    Token classification: the column `entities`, a list of `{"start", "end", "label", "text", "score"}` each, start
    and end in characters. Text classification: the columns `prediction` and `score`.
    """
    task, classify = _load(model_dir)
    texts = [str(text) for text in frame.iloc[:, 0]]
    if task == "token_classification":
        return pd.DataFrame({"entities": [_entities(text, classify(text)) for text in texts]})
    answers = classify(texts)
    return pd.DataFrame(
        {"prediction": [answer["label"] for answer in answers], "score": [float(answer["score"]) for answer in answers]}
    )


def _entities(text: str, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "start": int(group["start"]),
            "end": int(group["end"]),
            "label": str(group["entity_group"]),
            "text": text[group["start"] : group["end"]],
            "score": float(group["score"]),
        }
        for group in groups
    ]


@lru_cache(maxsize=4)
def _load(model_dir: Path) -> tuple[str, Pipeline]:
    """Return the task and Hugging Face's pipeline for it; long texts are read in overlapping windows."""
    description = json.loads((model_dir / "assay_model.json").read_text())
    task, length = description["task"], description["max_length"]
    tokenizer = AutoTokenizer.from_pretrained(model_dir, local_files_only=True, model_max_length=length)
    loading = {"local_files_only": True, "use_safetensors": True}
    if task == "token_classification":
        model = AutoModelForTokenClassification.from_pretrained(model_dir, **loading)
        overlap = (length - tokenizer.num_special_tokens_to_add()) // 4
        options: dict[str, Any] = {"aggregation_strategy": "simple", "stride": overlap}
        return task, pipeline("token-classification", model=model, tokenizer=tokenizer, **options)
    model = AutoModelForSequenceClassification.from_pretrained(model_dir, **loading)
    return task, pipeline("text-classification", model=model, tokenizer=tokenizer, truncation=True)
