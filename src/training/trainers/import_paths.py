"""Imports what a configuration names: `module:name` or `package.module.name`."""

from __future__ import annotations

import difflib
import importlib

from infrastructure.errors import ConfigError


def import_object(path: str, key: str) -> object:
    """Import the object of a path; `key` is where the path was configured, for messages.

    Modules of the project are found if its root is on `sys.path`. Raises ConfigError if the module can't be
    imported or hasn't that name; what else a module raises while it is imported passes.
    """
    module_name, separator, name = path.partition(":") if ":" in path else path.rpartition(".")
    if not separator or not module_name or not name:
        raise ConfigError([f"{key}: {path!r} is no import path; allowed: module:name, package.module.name"])
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError([f"{key}: {path!r} can't be imported ({error}); is it in the project root?"]) from error
    try:
        value: object = getattr(module, name)
    except AttributeError as error:
        near = difflib.get_close_matches(name, dir(module), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError([f"{key}: module {module_name!r} has no {name!r}{hint}"]) from error
    return value
