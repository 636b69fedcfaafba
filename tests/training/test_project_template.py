"""What `assay init` writes: a valid configuration and a data set that is the same everywhere."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from infrastructure.errors import ConfigError
from training.cli import init
from training.hpo.execution.project import load_and_check
from training.project_template import TEMPLATES, create_project
from training.resume_data import LABELS, write_passages, write_resume_data


def rows(path: Path) -> list[tuple[str, list[tuple[int, int, str]]]]:
    """Return the texts of a file with their spans."""
    read = [json.loads(line) for line in path.read_text().splitlines()]
    return [(row["text"], [tuple(span) for span in row["annotations"]]) for row in read]


FILES: dict[str, dict[str, int | None]] = {
    "resume-ner": {"data/train.jsonl": 240, "data/test.jsonl": 80},
    "text-classification": {"data/train.jsonl": 300, "data/test.jsonl": 100},
    "tabular": {"data/train.csv": 456, "data/test.csv": 115, "pipeline.py": None},
    "function": {"data/train.csv": 354, "data/test.csv": 90, "fit.py": None},
}
"""By template: what it has beside its configuration, with the lines of its data, a table's header included."""


@pytest.mark.parametrize("template", TEMPLATES)
def test_project_is_complete(tmp_path: Path, template: str) -> None:
    """A new project has its configuration and data, and the configuration is sound and named for the template."""
    folder = tmp_path / "a" / "demo"
    written = create_project(folder, template)
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == sorted(written)
    configs = {f"config/{name}.yaml" for name in ("data", "hpo", "train", "mlflow", "naming", "paths")}
    assert {path.relative_to(folder).as_posix() for path in written} == {*configs, ".amlignore", *FILES[template]}
    for name, lines in FILES[template].items():
        assert lines is None or len((folder / name).read_text().splitlines()) == lines
    project = load_and_check(folder / "config", [])
    assert project.root_dir == folder
    names = (project.mlflow.experiment_name, project.mlflow.registered_model_name, project.naming.project)
    assert {*names, project.hpo.study_name} == {template}


def test_command_offers_all_templates() -> None:
    """The command names the templates that there are."""
    assert list(init.TEMPLATES) == list(TEMPLATES)


def test_folder_in_use_is_refused(tmp_path: Path) -> None:
    """Nothing is written over: a folder with a file, and a file, are refused; an empty folder will do."""
    (tmp_path / "empty").mkdir()
    assert create_project(tmp_path / "empty")
    with pytest.raises(ConfigError, match="is not empty; give the name of a new or an empty folder"):
        create_project(tmp_path / "empty")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file; give the name of a new or an empty folder"):
        create_project(tmp_path / "file")


def test_unknown_template(tmp_path: Path) -> None:
    """A template that doesn't exist gives the nearest that does."""
    with pytest.raises(ConfigError, match="template 'resume_ner' is unknown; did you mean 'resume-ner'"):
        create_project(tmp_path / "x", "resume_ner")
    assert not (tmp_path / "x").exists()


def test_data_is_the_same_in_every_process(tmp_path: Path) -> None:
    """The bytes depend on the seed, not on the hash seed of the process; another seed gives other texts."""
    digests = set()
    for hash_seed in ("1", "2"):
        folder = tmp_path / hash_seed
        code = (
            "import sys; from pathlib import Path; from training.resume_data import write_resume_data; "
            "write_resume_data(Path(sys.argv[1]), {'train': 30, 'test': 10}, 5)"
        )
        environ = {**os.environ, "PYTHONHASHSEED": hash_seed}
        subprocess.run([sys.executable, "-c", code, str(folder)], check=True, env=environ)
        content = (folder / "train.jsonl").read_bytes() + (folder / "test.jsonl").read_bytes()
        digests.add(hashlib.sha256(content).hexdigest())
    assert len(digests) == 1
    write_resume_data(tmp_path / "other", {"train": 30}, 6)
    assert (tmp_path / "other" / "train.jsonl").read_bytes() != (tmp_path / "1" / "train.jsonl").read_bytes()


def test_spans_are_clean(tmp_path: Path) -> None:
    """Spans are in order, apart, of known labels and without blanks at their ends; every label is common."""
    [train] = write_resume_data(tmp_path, {"train": 240}, 7)
    counts = dict.fromkeys(LABELS, 0)
    for text, spans in rows(train):
        assert 100 < len(text) < 500
        end = 0
        for start, stop, label in spans:
            assert end <= start < stop <= len(text)
            assert text[start:stop] == text[start:stop].strip()
            counts[label] += 1
            end = stop
    assert min(counts.values()) > 60


def test_equal_words_outside_a_span_are_not_labelled_words(tmp_path: Path) -> None:
    """No e-mail address, phone number or name of the applicant stands outside a span."""
    [train] = write_resume_data(tmp_path, {"train": 240}, 7)
    for text, spans in rows(train):
        rest = list(text)
        for start, stop, _ in spans:
            rest[start:stop] = " " * (stop - start)
        for start, stop, label in spans:
            if label in {"NAME", "EMAIL", "PHONE", "LOCATION", "EDUCATION"}:
                assert text[start:stop] not in "".join(rest)


def test_passages_are_of_all_sections(tmp_path: Path) -> None:
    """Each section has its share of the passages, and no passage is of two."""
    [train] = write_passages(tmp_path, {"train": 300}, 7)
    found = [json.loads(line) for line in train.read_text().splitlines()]
    counts = Counter(row["label"] for row in found)
    assert set(counts) == {"contact", "experience", "education", "skills"}
    assert min(counts.values()) > 50
    assert len({row["text"].lower() for row in found}) == 300


def test_splits_share_no_text(tmp_path: Path) -> None:
    """No text is in both splits, or twice in one, not even in other letters' case."""
    paths = write_resume_data(tmp_path, {"train": 240, "test": 80}, 7)
    texts = [text.lower() for path in paths for text, _ in rows(path)]
    assert len(set(texts)) == 320


def test_wrong_split(tmp_path: Path) -> None:
    """A split of another name is refused."""
    with pytest.raises(ValueError, match="unknown split 'dev'; allowed: train, test"):
        write_resume_data(tmp_path, {"dev": 1}, 0)
