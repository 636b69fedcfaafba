"""Models as they are asked for by name."""

from __future__ import annotations

from pydantic import JsonValue

from infrastructure.tracking.mlflow import models


def find_model(reference: str, name: str) -> str:
    """Return the URI of a model: `reference` itself if it is one, otherwise of that alias or version of `name`.

    Raises RunNotFoundError if the registry hasn't got it.
    """
    if reference.startswith("runs:/"):
        return reference
    separator = "/" if reference.isdecimal() else "@"
    uri = reference if reference.startswith("models:/") else f"models:/{name}{separator}{reference}"
    models.find_version(uri)
    return uri


def example_row(uri: str) -> dict[str, JsonValue]:
    """Return the first row of the input example that a model carries, or nothing if it carries none."""
    return models.example_row(uri)
