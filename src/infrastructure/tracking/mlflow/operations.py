"""What a study does to its runs, one change after another, as it lies in the journal.

A run that isn't in the store yet is called by its writer: `writer:` and the value of its tag `code.writer`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict

from infrastructure.redaction import redacted, redacted_fields
from infrastructure.tracking.mlflow.runs import MetricPoint, RunContent, RunStatus

Text = Annotated[str, AfterValidator(redacted)]
Fields = Annotated[dict[str, str], AfterValidator(redacted_fields)]

WRITER: Final = "writer:"


class Operation(BaseModel):
    """One change of a run, without credentials: it lies on disk until it is sent.

    `time` is in milliseconds since 1970, and makes sending it twice the same as once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["create", "reopen", "write", "end", "text"]
    run: str
    time: int
    experiment_id: str = ""
    name: Text = ""
    parent: str = ""
    params: Fields = {}
    metrics: list[tuple[str, float, int]] = []
    tags: Fields = {}
    status: RunStatus = "FINISHED"
    done: bool = False
    text: Text = ""

    @property
    def content(self) -> RunContent:
        """What is written to the run."""
        return RunContent(self.params, [MetricPoint(*metric) for metric in self.metrics], self.tags)

    def with_earlier(self, earlier: Operation) -> Operation:
        """Return this operation with the params and tags of an earlier one of the same run added."""
        params, tags = {**earlier.params, **self.params}, {**earlier.tags, **self.tags}
        return self.model_copy(update={"params": params, "tags": tags})


def merged(operations: Iterable[Operation]) -> list[Operation]:
    """Put off what is only written to a run until its next operation, so that fewer calls do the same.

    Metrics aren't put off: they are measured at the time of their own operation.
    """
    whole: list[Operation] = []
    put_off: dict[str, Operation] = {}
    for operation in operations:
        earlier = put_off.pop(operation.run, None)
        together = operation
        if earlier is not None and operation.kind in ("write", "end"):
            together = operation.with_earlier(earlier)
        elif earlier is not None:
            whole.append(earlier)
        if together.kind == "write" and not together.metrics:
            put_off[together.run] = together
        else:
            whole.append(together)
    return [*whole, *put_off.values()]
