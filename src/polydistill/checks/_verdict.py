"""What checks of the judge's verdicts have in common."""

from collections.abc import Sequence
from typing import ClassVar, Self

from polydistill.checks._base import Check, Context
from polydistill.params import FilterParams
from polydistill.records import Sample


class VerdictCheck(Check):
    """Finds texts with one decision of the judge, where each was to be judged (self-revision).

    Attributes:
        decision: The decision; None for a verdict that could not be read.
    """

    decision: ClassVar[str | None]

    def __init__(self, *, self_revision: bool) -> None:
        self.self_revision = self_revision

    @classmethod
    def open(cls, params: FilterParams, context: Context) -> Self:
        """Return the check, which finds nothing where there was to be no judge."""
        return cls(self_revision=context.self_revision)

    def find(self, samples: Sequence[Sample]) -> dict[int, str]:
        """Look for the decision; the detail is the judge's reason, or why there is no verdict."""
        return {
            i: s.verdict_reason for i, s in enumerate(samples) if self.self_revision and s.decision == self.decision
        }
