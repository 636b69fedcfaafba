"""How long `assay diff` of two config folders takes as a command, for a change of each field of the configuration.

The floor is a Python process that imports what reads the configuration, pydantic and PyYAML, and does nothing.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from common import Goal, Timing, show, timed, write_results

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.identity_walk import FIELDS, before_and_after
from tests.training.hpo.test_comparison import write_project

ASSAY = [sys.executable, "-m", "training.cli.main", "diff"]
FLOOR = [sys.executable, "-c", "import pydantic, yaml"]


def main() -> None:
    """Measure and print."""
    floor, diff = Timing("python with pydantic and PyYAML", []), Timing("assay diff", [])
    with tempfile.TemporaryDirectory() as folder:
        for model, name in FIELDS:
            root = Path(folder, f"{model.__name__}.{name}")
            pairs = zip(("one", "two"), before_and_after(model, name), strict=True)
            folders = [str(write_project(root / side, model, values)) for side, values in pairs]
            with timed(diff.seconds):
                answer = subprocess.run([*ASSAY, *folders], check=True, capture_output=True, text=True).stdout
            assert " → " in answer
            with timed(floor.seconds):
                subprocess.run(FLOOR, check=True)
    title = f"assay diff, a change of each of {len(FIELDS)} fields"
    show(title, [floor, diff])
    write_results("diff", {title: [floor, diff]}, [Goal("the slowest, in seconds", max(diff.seconds), at_most=1)])


if __name__ == "__main__":
    main()
