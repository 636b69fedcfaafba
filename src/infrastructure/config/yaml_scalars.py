"""What a plain YAML scalar means: the core schema of YAML 1.2, without the spellings that people misread.

Source: YAML 1.2.2, section 10.3.2, "Tag Resolution".
"""

from __future__ import annotations

import re
from typing import Final

from infrastructure.redaction import redacted

MAX_INT: Final = 2**53 - 1
"""The largest whole number that JSON readers keep exactly (RFC 8785), and so the largest allowed here."""

FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Control characters, surrogates and the other characters that YAML keeps out of a file."""

_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_DECIMAL: Final = re.compile(r"[-+]?[0-9]+")
_BASED: Final = re.compile(r"0(?:o[0-7]+|x[0-9a-fA-F]+)")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


def describe_character(character: str) -> str:
    """Return a forbidden character as messages name it, such as `U+0000`."""
    return f"the character U+{ord(character):04X}"


def check_characters(text: str) -> None:
    """Raise ValueError if a text holds a control character or half of a surrogate pair."""
    if found := FORBIDDEN.search(text):
        raise ValueError(f"{describe_character(found.group())} is not allowed in a configuration")


def resolve_scalar(text: str) -> str | int | float | bool | None:
    """Return the value of a plain scalar; raise ValueError for a number that can't be kept or is ambiguous."""
    if text in _WORDS:
        return _WORDS[text]
    if _DECIMAL.fullmatch(text) or _BASED.fullmatch(text):
        return _resolve_int(text)
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"{text} is not a finite number; write a finite one, or '{text}' for the text")
    if found := _FLOAT.fullmatch(text):
        return _resolve_float(text, mantissa=found.group(1))
    return text


def _resolve_int(text: str) -> int:
    digits = text.lstrip("+-")
    if _BASED.fullmatch(text):
        if len(text) > 20:
            raise ValueError(
                f"{shorten(text)} is too large; allowed: whole numbers up to 2^53 - 1, or a text in quotes"
            )
        value = int(text, 0)
    elif digits.startswith("0") and len(digits) > 1:
        plain = digits.lstrip("0") or "0"
        raise ValueError(
            f"{shorten(text)} begins with 0, which some readers take as octal; "
            f"write {shorten(plain)} or '{shorten(text)}'"
        )
    else:
        value = int(text) if len(digits) <= 20 else MAX_INT + 1
    if abs(value) > MAX_INT:
        raise ValueError(f"{shorten(text)} is too large; allowed: whole numbers up to 2^53 - 1, or a text in quotes")
    return value


def _resolve_float(text: str, mantissa: str) -> float:
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        raise ValueError(f"{shorten(text)} is too large; allowed: numbers up to 1.79e308, or a text in quotes")
    if value == 0 and mantissa.strip("0."):
        raise ValueError(f"{shorten(text)} is too small to tell from 0; write 0.0, or a larger number")
    return value


def shorten(text: str, width: int = 60) -> str:
    """Return a text cut to a width that fits a message, without credentials, which a cut could make unknowable."""
    text = redacted(text)
    return text if len(text) <= width else f"{text[: width - 1]}…"
