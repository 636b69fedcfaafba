"""`data.yaml`: which examples there are, and how they are read."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from infrastructure.config.schema.base import NOT_IDENTITY, ConfigModel
from infrastructure.config.schema.names import Column, PathText

Task = Literal["token_classification", "text_classification", "classification", "regression", "custom"]


class MaxSamples(ConfigModel):
    """How many rows of each split are used: the first ones after a shuffle seeded with `seed`."""

    train: int | None = Field(default=None, ge=1)
    validation: int | None = Field(default=None, ge=1)
    test: int | None = Field(default=None, ge=1)
    seed: int = 0


class DataConfig(ConfigModel):
    """`data.yaml`.

    `path` is one file, or a folder that holds `train` and, where they exist, `validation` and `test` files;
    relative paths start at the project root. Data that is elsewhere gives `content_hash` in place of `path`.
    """

    task: Task
    path: Annotated[PathText | None, NOT_IDENTITY] = None
    content_hash: Annotated[str | None, NOT_IDENTITY] = Field(default=None, min_length=8)
    text_column: Column = "text"
    spans_column: Column | None = None
    tokens_column: Column | None = None
    tags_column: Column | None = None
    label_column: Column = "label"
    feature_columns: Annotated[tuple[Column, ...], Field(strict=False)] = ()
    max_samples: MaxSamples = MaxSamples()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.path is None) == (self.content_hash is None):
            raise ValueError("exactly one of path and content_hash is needed")
        if self.path is None and self.task != "custom":
            raise ValueError("content_hash without a path is for task custom, whose function reads its own data")
        if (self.tokens_column is None) != (self.tags_column is None):
            raise ValueError("tokens_column and tags_column go together")
        if self.task == "token_classification" and (self.spans_column is None) == (self.tokens_column is None):
            raise ValueError("token_classification needs either spans_column, or tokens_column with tags_column")
        return self
