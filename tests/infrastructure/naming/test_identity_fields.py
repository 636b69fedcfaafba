"""Every field of every configuration model: identity fields change the key, the others don't."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, TypeAdapter
from tests.identity_walk import EXAMPLES, FIELD_NAMES, FIELDS, MODELS, OUTSIDE_IDENTITY, before_and_after

from infrastructure.config.schema.base import is_identity
from infrastructure.naming.keys import SCHEMA_V2, hash_document, identity_document


def test_every_model_has_an_example() -> None:
    """No model that a configuration may hold is left out."""
    assert set(MODELS) == set(EXAMPLES)


def test_what_is_no_identity_is_known() -> None:
    """The fields that don't count are these and no others; a new one has to be thought about here."""
    assert {(model, name) for model, name in FIELDS if not is_identity(model.model_fields[name])} == OUTSIDE_IDENTITY


@pytest.mark.parametrize(("model", "name"), FIELDS, ids=FIELD_NAMES)
def test_each_field(model: type[BaseModel], name: str) -> None:
    """Changing one field changes the key if it is identity, and leaves it if it isn't."""
    before, after = (hash_document(identity_document(model, each)) for each in before_and_after(model, name))
    assert (before != after) is ((model, name) not in OUTSIDE_IDENTITY)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_mapping_and_model_have_one_key(model: type[BaseModel]) -> None:
    """A plain mapping, the same with its keys in another order, and the validated model are the same."""
    values = EXAMPLES[model]
    validated = TypeAdapter(model).validate_python(values)
    backwards = dict(reversed(list(values.items())))
    keys = {hash_document(identity_document(model, each)) for each in (values, backwards, validated)}
    assert len(keys) == 1


GOLDEN = {2: "cfaedaf4b9a4240e75ddd62c8ac9f44c6a69108eed2c9594e9022a80a00a0211"}
"""By schema version: the hash of the identity of every example above, defaults included."""


def test_what_keys_are_computed_from_is_frozen() -> None:
    """A field that is added, dropped, or given another default changes keys, and so needs a new schema version."""
    documents = {model.__name__: identity_document(model, EXAMPLES[model]) for model in MODELS}
    assert hash_document(documents) == GOLDEN[SCHEMA_V2], "old studies would not be found: this is a new schema version"
