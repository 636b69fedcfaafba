"""How Sphinx makes the site of docs/: `make docs`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from sphinx.application import Sphinx

project = "Assay"
author = "The founders of Assay"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["images"]
html_theme = "furo"
html_title = "Assay"
html_copy_source = False
html_show_sphinx = False
default_role = "code"
myst_heading_anchors = 3
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True

REPOSITORY: Final = Path(__file__).parent.parent
BESIDE: Final = ("architecture", "changelog", "contributing", "security")
"""Pages that lie beside docs/, under their names in capitals, and are in the site under these."""
LINK_BESIDE: Final = re.compile(rf"\]\((?:\.\./)*({'|'.join(BESIDE).upper()})\.md\)")


def take_in_pages(_app: Sphinx, name: str, source: list[str]) -> None:
    """Take in the pages that lie beside docs/, and let links lead to where the site has them."""
    if name in BESIDE:
        source[0] = (REPOSITORY / f"{name.upper()}.md").read_text().replace("](docs/", "](")
    up = "../" * name.count("/")
    source[0] = LINK_BESIDE.sub(lambda found: f"]({up}{found[1].lower()}.md)", source[0])


def keep_trees(  # Sphinx calls it with all of these
    _app: Sphinx, _what: str, _name: str, _thing: object, _options: object, lines: list[str]
) -> None:
    """Show a tree in a docstring as it is drawn."""
    drawn = [index for index, line in enumerate(lines) if "├──" in line or "└──" in line]
    if drawn:
        tree = lines[drawn[0] - 1 : drawn[-1] + 1]
        lines[drawn[0] - 1 : drawn[-1] + 1] = ["::", "", *(f"    {line}" for line in tree)]


def setup(app: Sphinx) -> None:
    """Tell Sphinx of them."""
    app.connect("source-read", take_in_pages)
    app.connect("autodoc-process-docstring", keep_trees)
