"""`${env:NAME}` and `${env:NAME:default}` inside the texts of a configuration.

A variable that isn't set takes the default; one that is set and empty is empty. What comes of a reference is always
a text, never a number: environment variables are for places and secrets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue

from infrastructure.config.yaml_reader import KeyPath
from infrastructure.config.yaml_scalars import FORBIDDEN
from infrastructure.redaction import is_credential_name, remember_credentials

_REFERENCE: Final = re.compile(r"\$\{env:(?:([A-Za-z_][A-Za-z0-9_]*)(?::([^}]*))?\})?")


@dataclass
class Substitution:
    """Puts the values of environment variables into texts, and remembers where, so that no message shows one.

    `written` has the text as it was written for each key that had a reference, `values` what stands in its place,
    and `problems` a message for each reference that can't be followed. With `is_kept` the texts are kept with runs, and
    a variable with the name of a credential may stand only under a key with such a name.
    """

    environ: Mapping[str, str]
    is_kept: bool = False
    written: dict[KeyPath, str] = field(default_factory=dict)
    values: dict[KeyPath, str] = field(default_factory=dict)
    problems: dict[KeyPath, str] = field(default_factory=dict)

    def apply(self, value: JsonValue, path: KeyPath = ()) -> JsonValue:
        """Return a value with all references in it followed."""
        if isinstance(value, dict):
            return {key: self.apply(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self.apply(item, (*path, index)) for index, item in enumerate(value)]
        if isinstance(value, str) and "${env:" in value:
            self.written[path] = value
            self.values[path] = _REFERENCE.sub(lambda found: self._follow(found, path), value)
            return self.values[path]
        return value

    def hide(self, message: str, path: KeyPath) -> str:
        """Return a validator's message about a key, without anything that came from the environment."""
        if path in self.written:
            return f"the value of {self.written[path]!r} is not allowed here"
        for key_path in sorted(self.values, key=lambda key: -len(self.values[key])):
            value = self.values[key_path]
            if key_path[: len(path)] == path and value:
                message = message.replace(repr(value), repr(self.written[key_path]))
                if len(value) > 3:
                    message = message.replace(value, self.written[key_path])
        return message

    def _follow(self, found: re.Match[str], path: KeyPath) -> str:
        name, default = found.group(1), found.group(2)
        if name is None:
            self.problems[path] = "a reference is incomplete; write ${env:NAME} or ${env:NAME:default}"
            return found.group()
        value = self.environ.get(name, default)
        if value is None:
            self.problems[path] = (
                f"the environment variable {name} is not set; set it, or write ${{env:{name}:default}}"
            )
            return found.group()
        if is_credential_name(name):
            remember_credentials({name: value})
            if self.is_kept and not any(is_credential_name(str(key)) for key in path):
                self.problems[path] = (
                    f"the environment variable {name} has the name of a credential, and what stands here is kept with "
                    "the runs; give the key such a name too, like hub_token"
                )
        if FORBIDDEN.search(value):
            self.problems[path] = f"the environment variable {name} holds a control character; allowed: printable text"
        return value
