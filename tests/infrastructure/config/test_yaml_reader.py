"""The YAML reader: what it understands, what it refuses, and that it always ends soon."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from infrastructure.config.yaml_reader import MAX_BYTES, read_value, read_yaml
from infrastructure.errors import ConfigError

BOMB_SECONDS = 5  # each takes less than 0.5 s on an idle core


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory of a test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(folder: Path, text: str | bytes) -> dict[str, JsonValue]:
    """Return what a file of this content says."""
    path = folder / "a.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(path).values


def faults(folder: Path, text: str | bytes) -> list[str]:
    """Return the faults of a file of this content, each of one line."""
    with pytest.raises(ConfigError) as caught:
        read(folder, text)
    assert all("\n" not in problem for problem in caught.value.problems)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-5", 1e-5),
        ("1e-3", 1e-3),
        ("1E5", 1e5),
        (".5", 0.5),
        ("-1.", -1.0),
        ("1.0", 1.0),
        ("08.5", 8.5),
        ("10", 10),
        ("-7", -7),
        ("0x1F", 31),
        ("0o17", 15),
        ("9007199254740991", 2**53 - 1),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("Off", "Off"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("2001-01-01", "2001-01-01"),
        ("12:30:45", "12:30:45"),
        ("1_000", "1_000"),
        ("'010'", "010"),
        ('"1"', "1"),
        ("!!str 1", "1"),
        ("!!float 1", 1),
        ("{a: [1, x]}", {"a": [1, "x"]}),
        ("Zoë 😀", "Zoë 😀"),
    ],
)
def test_value(folder: Path, written: str, value: JsonValue) -> None:
    """A scalar means what YAML 1.2 says, type and all."""
    got = read(folder, f"k: {written}")["k"]
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("k: 010", "a.yaml:1 k: 010 begins with 0, which some readers take as octal; write 10 or '010'"),
        ("k: .inf", "a.yaml:1 k: .inf is not a finite number; write a finite one, or '.inf' for the text"),
        ("k: -.INF", "a.yaml:1 k: -.INF is not a finite number; write a finite one, or '-.INF' for the text"),
        ("k: .nan", "a.yaml:1 k: .nan is not a finite number; write a finite one, or '.nan' for the text"),
        ("k: 1e400", "a.yaml:1 k: 1e400 is too large; allowed: numbers up to 1.79e308, or a text in quotes"),
        ("k: 1e-400", "a.yaml:1 k: 1e-400 is too small to tell from 0; write 0.0, or a larger number"),
        ("k: 9007199254740992", "too large; allowed: whole numbers up to 2^53 - 1"),
        (f"k: {'9' * 5000}", "too large; allowed: whole numbers up to 2^53 - 1"),
        (f"k: 0x{'f' * 5000}", "too large; allowed: whole numbers up to 2^53 - 1"),
        ("a: 1\nb: 2\na: 3", "a.yaml:3 a: the key is here and on line 1; keep one of them"),
        ("x:\n  a: 1\n  a: 3", "a.yaml:3 x.a: the key is here and on line 2; keep one of them"),
        ("1: x", "a.yaml:1 1: the key is not a text; write '1'"),
        ("true: x", "a.yaml:1 true: the key is not a text; write 'true'"),
        ("? [a]\n: x", "a.yaml:1: a key is a list, a mapping or an alias; allowed: a text"),
        ("<<: {a: 1}", "a.yaml:1: the merge key << is not allowed; write the keys out"),
        (
            "a: &x 1\nb: *x",
            "a.yaml:1 a: anchors and aliases (& and *) are not allowed; write the value out, or in quotes",
        ),
        ("a: !!python/name:os.system x", "is not allowed here; remove it"),
        ("a: !env X", "a.yaml:1 a: the tag '!env' is not allowed here; remove it"),
        ("a: !!set {x}", "the tag 'tag:yaml.org,2002:set' is not allowed here; remove it"),
        ("a: !!int x", "a.yaml:1 a: 'x' is not of the type of its tag 'tag:yaml.org,2002:int'; remove it"),
        ("a: 1\n---\nb: 1", "a.yaml:2: a second document begins here; allowed: one"),
        ("- 1", "a.yaml:1: the file holds no mapping; write lines of `key: value`"),
        ("just text", "a.yaml:1: the file holds no mapping; write lines of `key: value`"),
        ("a: 1\nb: \x00", "a.yaml:2: the character U+0000 is not allowed in a configuration"),
        ("a: 1\nb: \x1b[0m", "a.yaml:2: the character U+001B is not allowed in a configuration"),
        ('a: "\\0"', "a.yaml:1 a: the character U+0000 is not allowed in a configuration"),
        ('a: "\\ud800"', "a.yaml:1 a: the character U+D800 is not allowed in a configuration"),
        ('a: "\\UFFFFFFFF"', "a.yaml:1: this is not YAML"),
        (b"a: 1\nb: \xff", "a.yaml:2: the byte 0xff is not UTF-8; save the file as UTF-8"),
        ("a: 1".encode("utf-16"), "is not UTF-8; save the file as UTF-8"),
        ("a: [1", "a.yaml:1: this is not YAML"),
        ("a:\n\tb: 1", "a.yaml:2: this is not YAML"),
    ],
)
def test_refused(folder: Path, text: str | bytes, problem: str) -> None:
    """What is ambiguous, unsafe or not YAML gives one line that says where and what to write instead."""
    [got] = faults(folder, text)
    assert problem in got


def test_all_faults_at_once(folder: Path) -> None:
    """Faults that don't hide each other are reported together, in the order of the lines."""
    assert faults(folder, "a: 010\nb: [.nan, 2]\na: 3\n") == [
        "a.yaml:1 a: 010 begins with 0, which some readers take as octal; write 10 or '010'",
        "a.yaml:2 b.0: .nan is not a finite number; write a finite one, or '.nan' for the text",
        "a.yaml:3 a: the key is here and on line 1; keep one of them",
    ]


def test_many_faults_are_cut(folder: Path) -> None:
    """A file with a thousand faults doesn't print a thousand lines."""
    problems = faults(folder, "k: 010\n" * 1000)
    assert len(problems) < 60
    assert "too many faults" in problems[-1]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "a: " + "[" * 100_000,
        "{" * 100_000,
        "[\n" * 100_000,
        "- " * 100_000,
        "? " * 100_000,
        "- a\n" * 100_001,
        "x: [" + "a," * 100_001 + "]",
        "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{c}: &{c} [{','.join(['*a'] * 9)}]\n" for c in "bcdefghi"),
        "".join(f"k{i}: &k{i}\n  <<: [*k{i - 1}, *k{i - 1}]\n" for i in range(1, 1000)),
        "#" * (MAX_BYTES + 1),
        "a: " + "&" * 100_000,
        "a: 1\n" * 150_000,
    ],
    ids=lambda text: text[:8],
)
def test_bomb(folder: Path, text: str) -> None:
    """A file made to hang or crash a reader is refused soon, in a few lines."""
    start = time.perf_counter()
    assert faults(folder, text)
    assert time.perf_counter() - start < BOMB_SECONDS


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "{}", "\ufeff", "null"])
def test_empty(folder: Path, text: str) -> None:
    """A file that says nothing is an empty mapping."""
    assert read(folder, text) == {}


def test_missing_file(folder: Path) -> None:
    """A file that isn't there is named, with what to do."""
    with pytest.raises(ConfigError, match=r"^b\.yaml: no such file; create it, or run `assay init`"):
        read_yaml(folder / "b.yaml")
    with pytest.raises(ConfigError, match="no such file"):
        read_yaml(folder)


def test_lines(folder: Path) -> None:
    """Every key and item has its line; one that isn't there has that of the section around it."""
    (folder / "a.yaml").write_text("# x\na:\n  b: [1,\n    2]\r\nc: {d: 1}\n")
    document = read_yaml(folder / "a.yaml")
    assert document.line(("a",)) == 2
    assert document.line(("a", "b", 0)) == 3
    assert document.line(("a", "b", 1)) == 4
    assert document.line(("c", "d")) == 5
    assert document.line(("c", "missing", "deeper")) == 5
    assert document.line(("missing",)) == 2


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-5", 1e-5),
        ("a: b", "a: b"),
        ("x #1", "x #1"),
        ("@x", "@x"),
        ("- 1", "- 1"),
        (" [1, 'a'] ", [1, "a"]),
        ('"1"', "1"),
        ("", None),
    ],
)
def test_read_value(written: str, value: JsonValue) -> None:
    """A value alone is a plain word as it stands, or a text in quotes, a list or a mapping."""
    assert read_value(written, "here") == value


@pytest.mark.parametrize("written", ["[1", "010", "[&a 1]", "\x00", "'a' b", "\udcff", "[" * 10_000])
def test_read_value_refused(written: str) -> None:
    """A value that can't be read says where it came from."""
    with pytest.raises(ConfigError, match=r"\Ahere( [0.]+)?: [^\n]+\Z"):
        read_value(written, "here")


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=60),
        st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.lists(
            st.sampled_from(
                [*"[]{}:,-?&*!|>'\"%#@`\\~<\n\t ", "\\x", "a", "1", "<<", ": ", "- ", "0", "!!", "...", "---"]
            ),
            max_size=30,
        ).map(lambda parts: "".join(parts).encode()),
    )
)
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Whatever a file holds, the answer is a mapping or a ConfigError."""
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(content)
    try:
        assert isinstance(read_yaml(path).values, dict)
    except ConfigError as error:
        assert error.problems  # noqa: PT017 - either outcome is right
