"""The search space as Optuna's distributions: what is suggested, and what every value could have been."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial
from pydantic import JsonValue

from infrastructure.config.schema.search_space import (
    Choice,
    Constant,
    Int,
    IntLog,
    LogUniform,
    Parameter,
    Scalar,
    Stepped,
    Uniform,
    ordered_names,
)
from infrastructure.errors import ConfigError

SearchSpace = Mapping[str, Parameter]


def distribution(parameter: Parameter) -> BaseDistribution | None:
    """Return the distribution of a parameter, or None for a constant, which is never suggested."""
    match parameter:
        case Choice():
            return CategoricalDistribution(parameter.values)
        case Uniform():
            return FloatDistribution(parameter.low, parameter.high)
        case LogUniform():
            return FloatDistribution(parameter.low, parameter.high, log=True)
        case Stepped():
            return FloatDistribution(parameter.low, parameter.high, step=parameter.step)
        case Int():
            return IntDistribution(parameter.low, parameter.high, step=parameter.step)
        case IntLog():
            return IntDistribution(parameter.low, parameter.high, log=True)
        case Constant():
            return None


def is_active(parameter: Parameter, chosen: Mapping[str, JsonValue]) -> bool:
    """Tell whether a parameter exists, given what was chosen for those that come before it."""
    return all(name in chosen and chosen[name] == value for name, value in (parameter.when or {}).items())


def suggest(trial: Trial, space: SearchSpace) -> dict[str, JsonValue]:
    """Return the hyperparameters that Optuna suggests for a trial, constants included."""
    chosen: dict[str, JsonValue] = {}
    for name in ordered_names(dict(space)):
        parameter = space[name]
        if not is_active(parameter, chosen):
            continue
        possible = distribution(parameter)
        if possible is None:
            assert isinstance(parameter, Constant)
            chosen[name] = parameter.value
        else:
            chosen[name] = trial._suggest(name, possible)
    return chosen


def suggested_distributions(space: SearchSpace, params: Mapping[str, JsonValue]) -> dict[str, BaseDistribution]:
    """Return the distribution of each hyperparameter that was suggested, constants excluded."""
    possible = {name: distribution(space[name]) for name in params}
    return {name: found for name, found in possible.items() if found is not None}


def parsed_params(space: SearchSpace, texts: Mapping[str, str]) -> dict[str, JsonValue]:
    """Return the hyperparameters of the space that were written as text, as MLflow keeps them.

    One that can't be read stays the text that it is.
    """
    return {name: _parsed(parameter, texts[name]) for name, parameter in space.items() if name in texts}


def _parsed(parameter: Parameter, text: str) -> JsonValue:
    if isinstance(parameter, (Choice, Constant)):
        values = parameter.values if isinstance(parameter, Choice) else (parameter.value,)
        return next((value for value in values if str(value) == text), text)
    try:
        return int(text) if isinstance(parameter, (Int, IntLog)) else float(text)
    except ValueError:
        return text


def with_constants(space: SearchSpace, params: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return hyperparameters with the constants of the search space, which who began elsewhere knows nothing of."""
    constants = {
        name: parameter.value
        for name, parameter in space.items()
        if isinstance(parameter, Constant) and is_active(parameter, params)
    }
    return {**constants, **params}


def check_params(space: SearchSpace, params: Mapping[str, JsonValue]) -> list[str]:
    """Return a message for each hyperparameter that is missing, superfluous or outside the search space."""
    problems = [f"{name}: not in the search space; it has {', '.join(space)}" for name in params if name not in space]
    for name in ordered_names(dict(space)):
        parameter = space[name]
        if not is_active(parameter, params):
            if name in params:
                problems.append(f"{name}: exists only when {parameter.when}")
        elif name not in params:
            problems.append(f"{name}: missing; give {name}=VALUE")
        elif not _contains(parameter, params[name]):
            problems.append(f"{name}: {params[name]!r} is outside {parameter!r}")
    return problems


def _contains(parameter: Parameter, value: JsonValue) -> bool:
    if isinstance(parameter, Constant):
        return value == parameter.value
    if isinstance(parameter, Choice):
        return any(type(value) is type(allowed) and value == allowed for allowed in parameter.values)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    if isinstance(parameter, (Int, IntLog)) and not isinstance(value, int):
        return False
    possible = distribution(parameter)
    assert possible is not None
    return possible._contains(float(value))


def grid(space: SearchSpace) -> dict[str, list[Scalar]]:
    """Return every value of every parameter. Raises ConfigError for a parameter with endlessly many."""
    values: dict[str, list[Scalar]] = {}
    for name, parameter in space.items():
        match parameter:
            case Choice():
                values[name] = list(parameter.values)
            case Int():
                values[name] = list(range(parameter.low, parameter.high + 1, parameter.step))
            case Stepped():
                count = floor((parameter.high - parameter.low) / parameter.step + 1e-9)
                values[name] = [parameter.low + index * parameter.step for index in range(count + 1)]
            case Constant():
                continue
            case _:
                raise ConfigError(
                    [
                        f"hpo.search_space.{name}: sampler grid needs a finite space, got type {parameter.type}; "
                        "allowed: choice, int, stepped, constant"
                    ]
                )
    return values
