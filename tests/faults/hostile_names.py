"""Names that nobody in good faith would give, by a seed: each is a text that some layer below might trip over."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Iterator
from itertools import chain
from typing import Final

PLAIN: Final = (
    "wheat",
    "rye",
    "café",
    "Ångström",
    "наука",
    "麦",
    "קמח",
    "e\u0301pi",
    "한글",
    "x",
    "CON",
    "nul.txt",
    "outside",
)
TRAVERSALS: Final = (
    *("..", "../..", "../../etc/passwd", "/etc/passwd", "//etc", "./x", "x/../../y", "....//", "..;/", "~", "~root/x"),
    *("..\\..\\x", "\\\\server\\share", "C:\\x", "C:x", "//./pipe/x", "file:///etc/passwd", "%2e%2e%2f", "%252e%252e/"),
    *(
        "..%c0%af",
        "．．／x",
        "‥/x",
        "∕etc",
        "⁄etc",
        "．．＼x",
        "outside/x",
        "outside/../x",
        "a/outside",
        "package:../x",
    ),
    *("package:os//etc", "blake3:" + "0" * 64, ".git/config", ".locks/x", "-rf", "--help", "@x", "models:/x/1"),
)
UNSEEN: Final = (
    *("\0", "\n", "\r", "\t", "\x1b[2J", "\x7f", "\x85", "\u2028", "\u2029", "\u200b", "\u200d", "\u202e", "\u2066"),
    *("\ufeff", "\u00ad", "\ud800", "\udfff", "\udc80", "\ue000", "\uffff", "\U000e0041", "\u00a0", "\u3000", "\u0301"),
)
QUOTES: Final = (
    *("'", '"', "`", "''", "\\'", '\\"', "' or '1'='1", "' and tags.`x` = 'y", "` = 'x' and tags.`y", "'; --", "\\"),
    *('" or "1"="1', "%", "_", "/*", "${env:HOME}", "{trial}", "{env.__class__}", "{backbone:>999999999}", "{0}", "}"),
)
AROUND: Final = (
    " ",
    ".",
    "..",
    "/",
    "//",
    "-",
    "_",
    ":",
    ";",
    "|",
    "*",
    "?",
    "<",
    ">",
    "&",
    "$",
    "#",
    "!",
    ",",
    "+",
    "=",
)
SPECIAL: Final = (
    "",
    " ",
    ".",
    "..",
    "/",
    "\\",
    "CON",
    "aux",
    "NUL",
    "COM1",
    "lpt1.txt",
    "null",
    "true",
    "1e-3",
    "010",
    "~",
)
LONG: Final = ("a" * 61, "a" * 200, "a" * 201, "é" * 250, "x/" * 300, "b" * 5_000, "../" * 2_000)


def hostile_names(count: int, seed: int = 4) -> Iterator[str]:
    """Yield so many different names: the worst by themselves, then mixtures of them, each with its twins."""
    rng = random.Random(seed)
    seen: set[str] = set()
    for name in chain(SPECIAL, TRAVERSALS, QUOTES, UNSEEN, LONG, PLAIN, _mixtures(rng)):
        for twin in _twins(name):
            if twin not in seen:
                seen.add(twin)
                yield twin
                if len(seen) == count:
                    return


def _twins(name: str) -> Iterator[str]:
    """Yield a name and those that look like it: in other forms of Unicode, in other case, with space around it."""
    yield name
    for form in ("NFC", "NFD", "NFKC"):
        yield unicodedata.normalize(form, name)
    yield from (name.upper(), name.lower(), f" {name}", f"{name}.", f"{name} ")


def _mixtures(rng: random.Random) -> Iterator[str]:
    pieces = (PLAIN, PLAIN, TRAVERSALS, UNSEEN, QUOTES, AROUND, AROUND)
    while True:
        yield "".join(rng.choice(rng.choice(pieces)) for _ in range(rng.choice((1, 2, 2, 3, 5))))
