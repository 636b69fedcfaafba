"""What a credential looks like, and texts, configurations and files without any; see SECURITY.md.

A text is a credential by its name (`api_token`), by its shape (`ghp_…`, the password of an address), or because it
stood elsewhere under such a name: in an environment variable, or in what `remember_credentials` was told of. The first
two depend on nothing but what is looked at, so what counts for a key goes by them alone.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final, TextIO, TypeVar, cast
from urllib.parse import quote, quote_plus, unquote

V = TypeVar("V")

REDACTED: Final = "***"
"""Stands where a credential was."""
SHORTEST, STRONG, STRONG_WORD = 6, 8, 12
"""Characters from which on a value is looked for in texts, inside longer words too, and if it is a plain word.

Below, it would be found in every other text.
"""
STRONG_USER: Final = 16
"""Characters from which on the user of an address without a password is a token rather than a name."""
SEARCH_SPACE: Final = "search_space"
"""The mapping whose names are those of hyperparameters, which are no credentials."""

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_CREDENTIAL: Final = re.compile(
    r"key|.*passwords?|(?:.*_)?(?:token|secrets?|passwd|passphrase|pwd|credentials?|sas|authorization|access_?signature"
    r"|(?:access|account|api|auth|encryption|master|private|secret|service|signing|storage|subscription)_?keys?"
    r"|(?:access|api|auth|refresh)_?tokens?|conn(?:ection)?_?str(?:ing)?)"
)
_OTHER_TOKEN: Final = re.compile(
    r"(?:.*_)?(?:pad|padding|eos|bos|unk|unknown|oov|mask|sep|separator|cls|start|begin|end|stop|blank|delimiter|special"
    r"|prefix|suffix|image|audio|video|next|page|continuation|first|last)_token"
)
"""Tokens that models read, and that pages of results are asked for by."""
_VARIABLES: Final = frozenset({"PWD"})
"""Environment variables that are something else than their names say."""

_PLAIN: Final = re.compile(r"(?:[a-z]+|[A-Z]+|[A-Z][a-z]+|[0-9]+)")
_NO_TEXT: Final = re.compile(r"[-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?|[-+]?(?i:true|false|none|null|nan|inf)")

_USER_INFO: Final = re.compile(
    r"(?<![A-Za-z0-9+.\-])(?!(?:abfss?|wasbs?)://[^\s/:@]*@)([A-Za-z][A-Za-z0-9+.\-]{0,30}://)"
    r"([^\s/:@'\"<>]{0,500}:(?!\d{1,5}/)[^\s'\"<>]{0,500}|[^\s/?#'\"<>]{1,1000})@"
)
"""User and password of an address; Azure's data lakes have the name of a container there."""
_NAME: Final = re.compile(
    r"(?<![\w.\-])(?P<name>[A-Za-z_][\w.\-]{0,80})(?P<to>\\?[\"']?\s{0,5}[=:]\s{0,5}(?:(?i:bearer|basic)\s)?)"
)
_VALUE: Final = re.compile(
    r"\\\"(?P<escaped>[^\"\\]*)\\\"|\"(?P<double>(?:[^\"\\]|\\.)*)\"|'(?P<single>(?:[^'\\]|\\.)*)'"
    r"|(?P<bare>\*\*\*(?!\w)|[^\s&;,\"'<>(){}\[\]\\]+)"
)
_SHAPES: Final = tuple(
    re.compile(shape)
    for shape in (
        r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----"
        r"(?:(?:Proc-Type|DEK-Info): [^\s\\]+|[A-Za-z0-9+/=]|\s|\\[nr])*(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?",
        r"\beyJ[A-Za-z0-9_\-]{5,}\.[A-Za-z0-9_\-]{5,}\.[A-Za-z0-9_\-]*",  # JSON web tokens
        r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",  # Amazon
        r"\b(?:gh[pousr]|github_pat)_[A-Za-z0-9_]{20,}",
        r"\bglpat-[A-Za-z0-9_\-]{20,}",  # GitLab
        r"\bhf_[A-Za-z0-9]{30,}",  # Hugging Face
        r"(?<![\w\-])sk-(?=[\w\-]*[0-9])(?=[\w\-]*[A-Z])[A-Za-z0-9_\-]{20,}",  # OpenAI and others
        r"\bxox[abeoprs]-[A-Za-z0-9\-]{10,}",  # Slack
        r"\bAIza[A-Za-z0-9_\-]{35}",  # Google
        r"(?<=\b[Bb]earer )[A-Za-z0-9._~+/\-]{16,}=*",
    )
)


@lru_cache(maxsize=4096)
def is_credential_name(name: str) -> bool:
    """Tell whether a text that stands under this name is a credential.

    It goes by whole words, divided by `_`, `-`, `.` and capitals, and by the last of them: `api_token` and `AccountKey`
    are such names, `token_pattern` and `primary_key` aren't. `key` is one only where it is the whole name.
    """
    words = [word.lower() for word in _WORD.findall(name.rpartition(".")[2])]
    while words and words[-1].isdigit():
        words.pop()
    plain = "_".join(words)
    return bool(_CREDENTIAL.fullmatch(plain)) and not _OTHER_TOKEN.fullmatch(plain)


def redacted(text: str) -> str:
    """Return a text without credentials: those of a known shape or name, and those that were remembered."""
    return _without_known(text, _known())


def redacted_fields(fields: Mapping[str, str]) -> dict[str, str]:
    """Return texts by name without credentials; what reads like a number is none, whatever its name is."""
    known = _known()
    return {
        name: REDACTED if is_credential_name(name) and _is_secret(value) else _without_known(value, known)
        for name, value in fields.items()
    }


def _known() -> re.Pattern[str] | None:
    """Return what finds the credentials that were remembered, and those in the environment as it is now."""
    return _compiled(_Remembered.values.union(_of_environment()))


def _without_known(text: str, known: re.Pattern[str] | None) -> str:
    return _by_shape(text if known is None else known.sub(REDACTED, text))


def _is_secret(value: str) -> bool:
    return bool(value) and not _NO_TEXT.fullmatch(value)


def without_credentials(document: Mapping[str, V]) -> dict[str, V]:
    """Return a document in which `***` stands for each credential that its name or its shape tells.

    All texts in a mapping or list of such a name are credentials. The same document gives the same one everywhere.
    """
    return cast("dict[str, V]", _without(document, is_named=False))


def _without(value: object, *, is_named: bool | None) -> object:
    """Return a value without credentials; `is_named` is None where names mean nothing."""
    if isinstance(value, Mapping):
        return {name: _without(item, is_named=_is_named(name, is_named)) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without(item, is_named=is_named) for item in value]
    if isinstance(value, str):
        return REDACTED if is_named and value else _by_shape(value)
    return value


def _is_named(name: str, holder: bool | None) -> bool | None:
    return None if holder is None or name == SEARCH_SPACE else holder or is_credential_name(name)


def credential_fields(document: Mapping[str, object]) -> list[str]:
    """Return the fields of a document, as `section.key`, that hold a credential by their name or its shape."""
    return [
        path
        for path, text, is_named in _texts(document, is_named=False)
        if text != REDACTED and _without(text, is_named=is_named) != text
    ]


def _texts(value: object, path: str = "", *, is_named: bool | None) -> Iterator[tuple[str, str, bool | None]]:
    """Yield each text of a document with its path, and whether it stands under the name of a credential."""
    prefix = f"{path}." if path else ""
    if isinstance(value, str):
        yield path, value, is_named
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _texts(item, f"{prefix}{name}", is_named=_is_named(name, is_named))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _texts(item, f"{prefix}{index}", is_named=is_named)


class _Remembered:
    """The credentials that this process has met in configurations."""

    values: frozenset[str] = frozenset()


def remember_credentials(document: Mapping[str, object]) -> None:
    """Take the credentials out of every text from now on that a document holds by their names or in addresses."""
    found: set[str] = set()
    for _, text, is_named in _texts(document, is_named=False):
        found.update((text,) if is_named else _parts(text))
    _Remembered.values |= found - {REDACTED}


def _of_environment() -> Iterator[str]:
    """Yield the credentials in the environment variables."""
    for name in os.environ:
        value = os.environ.get(name, "")
        if name not in _VARIABLES and is_credential_name(name):
            yield value
        else:
            yield from _parts(value)


@lru_cache(maxsize=1024)
def _parts(text: str) -> tuple[str, ...]:
    """Return the passwords of the addresses in a text, and the values of its `name=value` pairs that are credentials.

    A long user without a password is a token.
    """
    users = [found.group(2).partition(":") for found in _USER_INFO.finditer(text)]
    written = [password or user for user, _, password in users if password or len(user) >= STRONG_USER]
    written += [text[place] for place in _pairs(text)]
    return tuple({*written, *map(unquote, written)} - {REDACTED})


@lru_cache(maxsize=8)
def _compiled(values: frozenset[str]) -> re.Pattern[str] | None:
    """Return what finds these values in a text, however they are written, or None for nothing to look for."""
    forms: set[str] = set()
    for value in values:
        lines = [line.strip() for line in value.splitlines()]
        for part in {value, *lines}:
            if len(part) >= (STRONG_WORD if _PLAIN.fullmatch(part) else SHORTEST):
                forms.update(_forms(part))
    return re.compile("|".join(sorted(forms, key=lambda form: (-len(form), form)))) if forms else None


def _forms(value: str) -> Iterator[str]:
    """Yield the patterns of a value as it stands in texts, JSON, addresses and base64.

    In base64 it looks otherwise at each of three places. Source: the secret masker of GitHub's Actions runner.
    """
    ends = ("", "") if len(value) >= STRONG else (r"(?<![^\W_])", r"(?![^\W_])")
    spellings = {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1]}
    raw = value.encode("utf-8", "surrogateescape")
    for spelling in {*spellings, quote(raw), quote(raw, safe=""), quote_plus(raw)}:
        yield f"{ends[0]}{re.escape(spelling)}{ends[1]}"
    for before in range(3):
        kept = slice((0, 2, 3)[before], (before + len(raw)) * 4 // 3)
        if kept.stop - kept.start > SHORTEST:
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                yield re.escape(encode(b"\0" * before + raw).decode()[kept])


def _by_shape(text: str) -> str:
    """Return a text without what is a credential by what it looks like or is called there."""
    text = _USER_INFO.sub(rf"\1{REDACTED}@", text)
    parts, end = [], 0
    for place in _pairs(text):
        parts += [text[end : place.start], REDACTED]
        end = place.stop
    text = "".join([*parts, text[end:]])
    for shape in _SHAPES:
        text = shape.sub(REDACTED, text)
    return text


def _pairs(text: str) -> Iterator[slice]:
    """Yield where the values are in a text whose names, before `=` or `:`, are those of credentials."""
    end = 0
    for found in _NAME.finditer(text):
        last = found.group("name").rpartition(".")[2]
        if found.start() < end or last == "key" or not (last == "sig" or is_credential_name(last)):
            continue
        value = _VALUE.match(text, found.end())
        if value is not None and _is_pair(last, found.group("to"), value):
            end = value.end()
            yield slice(*value.span(value.lastgroup or 0))


def _is_pair(name: str, to: str, value: re.Match[str]) -> bool:
    """Tell whether a value is a credential; after a colon, a message may go on instead: `token: unexpected …`."""
    is_message = name == "token" or (_PLAIN.fullmatch(value.group()) and len(value.group()) < STRONG_WORD)
    return _is_secret(value.group(value.lastgroup or 0)) and ("=" in to or to[0] in "\\\"'" or not is_message)


def redact_file(path: Path) -> None:
    """Take credentials out of a text file, in one step; a file that isn't there is no matter."""
    if not path.is_file():
        return
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    clean = redacted(text)
    if clean != text:
        new = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        new.touch(mode=0o600)
        new.write_bytes(clean.encode("utf-8", "surrogateescape"))
        new.replace(path)


class _RedactedOutput(io.TextIOWrapper):
    """A stream that takes credentials out of what is written to it."""

    def write(self, text: str) -> int:
        """Write a text without credentials."""
        super().write(redacted(text))
        return len(text)


def redact_output() -> None:
    """Take credentials out of what this process prints from now on, tracebacks included."""
    sys.stdout, sys.stderr = _without_secrets(sys.stdout), _without_secrets(sys.stderr)


def _without_secrets(stream: TextIO) -> TextIO:
    if isinstance(stream, _RedactedOutput) or not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    return _RedactedOutput(
        stream.buffer,
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
