"""What of Assay's own requirements is installed, and in which versions."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Final

from packaging.requirements import Requirement

DISTRIBUTION: Final = "assay"


@dataclass(frozen=True)
class Installed:
    """A package that Assay needs, always or for an extra; `version` is None if it isn't there."""

    name: str
    wanted: str
    version: str | None
    extra: str = ""

    @property
    def fits(self) -> bool:
        """Whether the version is one that Assay works with."""
        return self.version is not None and Requirement(f"{self.name}{self.wanted}").specifier.contains(
            self.version, prereleases=True
        )


def installed_packages(*extras: str) -> list[Installed]:
    """Return what Assay needs always, and what these extras need beside it."""
    found = []
    for text in requires(DISTRIBUTION) or []:
        requirement = Requirement(text)
        wanted_by = (extra for extra in ("", *extras) if _applies(requirement, extra))
        if (extra := next(wanted_by, None)) is not None:
            found.append(Installed(requirement.name, str(requirement.specifier), _version(requirement.name), extra))
    return found


def _applies(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
