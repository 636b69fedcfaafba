"""The parameter types of a search space in `hpo.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from infrastructure.config.schema.base import ConfigModel
from infrastructure.redaction import is_credential_name, without_credentials

Scalar = str | int | float | bool | None


class _Parameter(ConfigModel):
    """What every parameter has: `when` names the choices of another parameter under which this one exists."""

    when: dict[str, Scalar] | None = Field(default=None, min_length=1)


class Choice(_Parameter):
    """One of the listed values."""

    type: Literal["choice"]
    values: Annotated[tuple[Scalar, ...], Field(min_length=1, strict=False)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.values)) < len(self.values):  # 1, 1.0 and True are one value to a sampler
            raise ValueError(f"values holds a value twice: {list(self.values)}")
        return self


class Constant(_Parameter):
    """Always the same value, recorded with every trial."""

    type: Literal["constant"]
    value: Scalar


class _FloatRange(_Parameter):
    low: float
    high: float

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        return self


class Uniform(_FloatRange):
    """A real number between low and high, both included."""

    type: Literal["uniform"]


class LogUniform(_FloatRange):
    """A positive real number, uniform in its logarithm."""

    type: Literal["loguniform"]
    low: float = Field(gt=0)


class Stepped(_FloatRange):
    """A real number out of low, low + step, …, high."""

    type: Literal["stepped"]
    step: float = Field(gt=0)


class _IntRange(_Parameter):
    low: int
    high: int

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")
        return self


class Int(_IntRange):
    """A whole number out of low, low + step, …, high."""

    type: Literal["int"]
    step: int = Field(default=1, ge=1)


class IntLog(_IntRange):
    """A positive whole number, uniform in its logarithm."""

    type: Literal["int-log"]
    low: int = Field(ge=1)


Parameter = Annotated[Choice | Constant | Uniform | LogUniform | Stepped | Int | IntLog, Field(discriminator="type")]


def ordered_names(space: Mapping[str, Parameter]) -> list[str]:
    """Return the parameters' names in the order in which they are sampled, whatever order they were written in.

    A choice comes before the parameters whose `when` names it; otherwise the order is alphabetical. Raises
    ValueError if a `when` names something that isn't a choice of the space, a value that it hasn't, or a circle.
    """
    for name, parameter in space.items():
        for parent_name, value in (parameter.when or {}).items():
            parent = space.get(parent_name)
            if not isinstance(parent, Choice):
                raise ValueError(f"{name}: when names {parent_name!r}, which is not a choice of this search space")
            if value not in parent.values:
                raise ValueError(
                    f"{name}: when asks for {parent_name}={value!r}; allowed: {', '.join(map(repr, parent.values))}"
                )
    sorter = TopologicalSorter({name: sorted(space[name].when or {}) for name in sorted(space)})
    names: list[str] = []
    try:
        sorter.prepare()
    except CycleError as error:
        raise ValueError(f"when goes in a circle: {' → '.join(error.args[1])}") from error
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        names += ready
        sorter.done(*ready)
    return names


def check_conditions(space: dict[str, Parameter]) -> dict[str, Parameter]:
    """Return the space if all its conditions can be met and nothing in it is a credential; raise ValueError otherwise.

    What is sampled is kept with the runs to the last bit, which a credential can't be.
    """
    ordered_names(space)
    for name, parameter in space.items():
        values = _texts(parameter)
        if values and (is_credential_name(name) or without_credentials({"": values})[""] != values):
            raise ValueError(
                f"{name}: looks like a credential, which no run keeps; give the hyperparameter another name"
            )
    return space


def _texts(parameter: Parameter) -> list[str]:
    """Return the texts that a parameter may be."""
    values = parameter.values if isinstance(parameter, Choice) else ()
    values = (parameter.value,) if isinstance(parameter, Constant) else values
    return [value for value in values if isinstance(value, str)]
