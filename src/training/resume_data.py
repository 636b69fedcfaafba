"""Data sets of new projects: made-up résumés with labelled spans, and passages of them with the section they are from.

They are the same for the same seed and Faker version.
"""

from __future__ import annotations

import json
import random
import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from faker import Faker

LABELS: Final = ("NAME", "EMAIL", "PHONE", "LOCATION", "DESIGNATION", "EDUCATION", "SKILL")

_SPLITS: Final = ("train", "test")
_ATTEMPTS_PER_ROW: Final = 20

_TITLES: Final = (
    "Data Engineer", "Software Developer", "Product Manager", "Registered Nurse", "Mechanical Engineer", "Accountant",
    "UX Designer", "Sales Representative", "Research Scientist", "Business Analyst", "Chemistry Teacher", "Architect",
    "Civil Engineer", "Marketing Specialist", "Database Administrator", "Financial Controller", "Pharmacist",
    "Network Technician", "Copywriter", "Project Coordinator", "Paralegal", "Warehouse Supervisor", "Statistician",
)  # fmt: skip
_RANKS: Final = ("", "", "", "Senior ", "Junior ", "Lead ", "Principal ", "Assistant ")
_DEGREES: Final = (
    "B.Sc. in Physics", "BSc Computer Science", "Bachelor of Arts in History", "M.Sc. in Statistics", "MBA",
    "Master of Engineering", "PhD in Chemistry", "B.A. Economics", "Diploma in Nursing", "Bachelor of Commerce",
    "M.A. in Linguistics", "Associate Degree in Accounting", "Ph.D. Biology", "B.Tech Electronics", "LLB",
)  # fmt: skip
_SKILLS: Final = (
    "Python", "SQL", "Excel", "project planning", "Kubernetes", "Java", "AutoCAD", "Photoshop", "payroll", "Tableau",
    "machine learning", "public speaking", "C++", "Salesforce", "budgeting", "negotiation", "Docker", "SAP", "Figma",
    "triage", "welding", "copy editing", "Spark", "data modelling", "SolidWorks", "Linux", "Jira", "bookkeeping",
    "phlebotomy", "Terraform", "React", "market research", "Git", "contract law", "statistics", "customer service",
)  # fmt: skip

# A word in capitals becomes a labelled span; one in small letters is filled in without a label.
_HEADERS: Final = (
    "{NAME}\n{DESIGNATION}\n{LOCATION}\nEmail: {EMAIL}\nPhone: {PHONE}",
    "{NAME} | {DESIGNATION} | {LOCATION} | {EMAIL} | {PHONE}",
    "Curriculum vitae of {NAME}, {LOCATION}. Contact: {EMAIL}, tel. {PHONE}.",
    "Name: {NAME}\nAddress: {number} {street}, {LOCATION}\nMobile: {PHONE}\nE-mail: {EMAIL}",
    "RESUME - {NAME} - {PHONE} - {EMAIL}",
    "{EMAIL} / {PHONE}\n{NAME}, {DESIGNATION}",
    "Applicant no. {number}: {NAME} ({LOCATION}), reachable under {PHONE}.",
    "My name is {NAME} and I live in {LOCATION}. Write to {EMAIL}.",
)
_EXPERIENCE: Final = (
    "{DESIGNATION} at {company}, {month} {year} - present.",
    "Experience:\n{year}-{year} {DESIGNATION}, {company}\n{year}-{year} {DESIGNATION}, {company}",
    "Worked for {company} in {LOCATION} as {DESIGNATION} since {year}.",
    "{number} years with {company}; promoted to {DESIGNATION} in {month} {year}.",
    "Currently {DESIGNATION} with {company}, leading a team of {number}.",
    "{company} ({month} {year} to {month} {year}): {DESIGNATION}. Cut costs by {number}%.",
    "Left {company} in {year} after {number} months.",
)
_EDUCATION: Final = (
    "Education: {EDUCATION}, {year}",
    "Graduated in {year}: {EDUCATION}.",
    "{year} {EDUCATION} (grade {number})",
    "EDUCATION\n- {EDUCATION}\n- {EDUCATION}",
    "I hold a {EDUCATION} and like to learn.",
)
_SKILL_LINES: Final = (
    "Skills: {SKILL}, {SKILL}, {SKILL}",
    "Key skills | {SKILL} | {SKILL}",
    "Daily work with {SKILL} and {SKILL}; some {SKILL}.",
    "Tools:\n* {SKILL}\n* {SKILL}",
    "{number} years of {SKILL}, certified in {SKILL} ({year}).",
)
_SECTIONS: Final = {
    "contact": _HEADERS,
    "experience": _EXPERIENCE,
    "education": _EDUCATION,
    "skills": _SKILL_LINES,
}
_FILLERS: Final = (
    "Available from {month} {year}.",
    "References on request.",
    "Driving licence since {year}, willing to travel.",
    "Member of the {company} alumni club.",
)
_PHONE_FORMATS: Final = (
    "(###) ###-####",
    "###-###-####",
    "+1 ### ### ####",
    "+44 20 #### ####",
    "###.###.####",
    "0### ######",
)
_OF: Final = (", ", " from ", " - ")
_COMPANY_KINDS: Final = ("Ltd", "Inc", "Group", "LLC", "and Sons", "Holdings")
_SLOT: Final = re.compile(r"\{([A-Za-z]+)\}")

Span = tuple[int, int, str]


class Row(Protocol):
    """A text and what is to be learned of it."""

    @property
    def text(self) -> str:
        """The text."""
        ...

    def to_json(self) -> str:
        """Return the row as one line of JSON."""
        ...


@dataclass(frozen=True)
class Passage:
    """A passage of a résumé, and the section that it is from."""

    text: str
    label: str

    def to_json(self) -> str:
        """Return the row as one line of JSON, such as `{"text": "MBA, 2011", "label": "education"}`."""
        return json.dumps({"text": self.text, "label": self.label})


@dataclass(frozen=True)
class LabelledText:
    """A text and its spans: start and end in characters, the end not included, and the label."""

    text: str
    spans: tuple[Span, ...]

    def to_json(self) -> str:
        """Return the row as one line of JSON, such as `{"text": "Ann", "annotations": [[0, 3, "NAME"]]}`."""
        return json.dumps({"text": self.text, "annotations": [list(span) for span in self.spans]})


def write_resume_data(folder: Path, sizes: Mapping[str, int], seed: int) -> list[Path]:
    """Write `train.jsonl` and `test.jsonl` with as many rows as `sizes` says, no text twice; return their paths.

    The bytes depend on the sizes, the seed and the version of Faker alone. Raises ValueError for a split of
    another name, or when the templates can't give so many different texts.
    """
    return _write_splits(folder, sizes, _ResumeWriter(seed).write)


def write_passages(folder: Path, sizes: Mapping[str, int], seed: int) -> list[Path]:
    """Do what `write_resume_data` does with passages, each labelled with the section that it is from."""
    return _write_splits(folder, sizes, _ResumeWriter(seed).write_passage)


def _write_splits(folder: Path, sizes: Mapping[str, int], write: Callable[[], Row]) -> list[Path]:
    if unknown := sorted(set(sizes) - set(_SPLITS)):
        raise ValueError(f"unknown split {unknown[0]!r}; allowed: {', '.join(_SPLITS)}")
    seen: set[str] = set()
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for split in _SPLITS:
        if split in sizes:
            rows = _different_texts(write, sizes[split], seen)
            path = folder / f"{split}.jsonl"
            path.write_text("".join(f"{row.to_json()}\n" for row in rows), encoding="ascii", newline="\n")
            paths.append(path)
    return paths


def _different_texts(write: Callable[[], Row], count: int, seen: set[str]) -> list[Row]:
    rows: list[Row] = []
    for _ in range(count * _ATTEMPTS_PER_ROW):
        if len(rows) == count:
            break
        row = write()
        if row.text.lower() not in seen:
            seen.add(row.text.lower())
            rows.append(row)
    if len(rows) < count:
        raise ValueError(f"the templates gave only {len(rows)} different texts of {count}; ask for fewer")
    return rows


class _ResumeWriter:
    """Writes one résumé after another, of one applicant each."""

    def __init__(self, seed: int) -> None:
        self._faker = Faker("en_US")
        self._faker.seed_instance(seed)
        self._random = random.Random(seed)  # noqa: S311 - made-up data, not a secret
        faker, pick = self._faker, self._pick
        self._makers: dict[str, Callable[[], object]] = {
            "PHONE": lambda: self._digits(pick(_PHONE_FORMATS)),
            "LOCATION": self._location,
            "DESIGNATION": lambda: pick(_RANKS) + pick(_TITLES),
            "EDUCATION": lambda: f"{pick(_DEGREES)}{pick(_OF)}{self._university()}",
            "SKILL": lambda: pick(_SKILLS),
            "company": lambda: f"{faker.last_name()} {pick(_COMPANY_KINDS)}",
            "street": lambda: f"{faker.last_name()} {faker.street_suffix()}",
            "month": faker.month_name,
            "year": lambda: self._random.randint(1994, 2024),
            "number": lambda: self._random.randint(2, 40),
        }

    def write(self) -> LabelledText:
        """Return the next résumé: a header, then two or three of its other parts in any order."""
        parts = [self._pick(lines) for lines in (_EXPERIENCE, _EDUCATION, _SKILL_LINES)]
        self._random.shuffle(parts)
        if self._random.random() < 0.4:
            parts[-1] = self._pick(_FILLERS)
        separator = self._random.choice(("\n", "\n", " ", "\n\n"))
        return self._fill(separator.join([self._pick(_HEADERS), *parts]))

    def write_passage(self) -> Passage:
        """Return the next passage, of any section."""
        section = self._pick(tuple(_SECTIONS))
        return Passage(self._fill(self._pick(_SECTIONS[section])).text, section)

    def _fill(self, template: str) -> LabelledText:
        name = f"{self._faker.first_name()} {self._faker.last_name()}"
        style = self._random.random()
        text = ""
        spans: list[Span] = []
        end = 0
        for slot in _SLOT.finditer(template):
            text += template[end : slot.start()]
            end = slot.end()
            kind = slot.group(1)
            value = name if kind == "NAME" else self._value(kind, name)
            if kind == "NAME" and 0.15 <= style < 0.25:
                value = value.upper()
            if kind.isupper():
                spans.append((len(text), len(text) + len(value), kind))
            text += value
        text += template[end:]
        return LabelledText(text.lower() if style < 0.15 else text, tuple(spans))

    def _value(self, kind: str, name: str) -> str:
        if kind == "EMAIL":
            return self._email(name)
        return str(self._makers[kind]())

    def _location(self) -> str:
        city = str(self._faker.city())
        return f"{city}, {self._faker.state_abbr()}" if self._chance() else city

    def _email(self, name: str) -> str:
        first, last = name.lower().split(" ", maxsplit=1)
        last = "".join(letter for letter in last if letter in string.ascii_lowercase)
        local = self._pick((f"{first}.{last}", f"{first[0]}{last}", f"{last}_{first}", f"{first}{self._digits('##')}"))
        return f"{local}@{self._faker.free_email_domain() if self._chance() else self._faker.domain_name()}"

    def _university(self) -> str:
        last = self._faker.last_name()
        return self._pick((f"{last} University", f"University of {self._faker.state()}", f"{last} College"))

    def _digits(self, pattern: str) -> str:
        return "".join(str(self._random.randint(1, 9)) if sign == "#" else sign for sign in pattern)

    def _chance(self) -> bool:
        return self._random.random() < 0.5

    def _pick(self, options: tuple[str, ...]) -> str:
        return self._random.choice(options)
